use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use offhook_engine::{
    Activity, Arrival, ChannelName, Engine, ErrorCode, Format, Identity, Limits, Position,
    Progress, Refusal, RuleBook, SessionId, Since, Subscribe, SubscriptionName, Tags,
};

use super::*;
use crate::worker::now;

const KEEP: Duration = Duration::from_secs(60);

fn recorder(bytes: usize) -> Recorder {
    let settings = config::Recorder {
        bytes,
        keep: KEEP,
        entries: 4,
    };
    Recorder::new(&settings, 1)
}

/// Ids of connections. Only an engine creates them.
fn connections(count: u8) -> Vec<ConnectionId> {
    let book = Arc::new(RuleBook::everything(offhook_engine::ChannelRules::default()));
    let mut engine = Engine::new(Limits::default(), book, now());
    let ids = (0..count).map(|n| {
        let arrival = Arrival::new(
            SessionId::from_bytes([n; 16]),
            Arc::new(Identity::user("a")),
        );
        engine.handle_connection_opened(arrival, now()).unwrap()
    });
    ids.collect()
}

fn chat() -> ChannelName {
    ChannelName::new("chat").unwrap()
}

fn publish(key: &str) -> Command {
    Command::Publish {
        channel: chat(),
        data: Bytes::from_static(b"1"),
        format: Format::Json,
        tags: Tags::default(),
        key: Some(Key::new(key).unwrap()),
    }
}

fn refused(id: u64) -> Notice {
    Notice::Reply {
        id: Some(CommandId(id)),
        reply: Reply::Refused(Refusal::new(ErrorCode::Forbidden, "you may not")),
    }
}

fn gap(from: u64) -> Notice {
    Notice::Gap {
        subscription: SubscriptionName::from(chat()),
        from: Position::new(1, from),
        to: Position::new(1, from + 1),
        reason: offhook_engine::GapReason::Dropped,
        agreed: None,
    }
}

fn leaver(n: u8) -> Leaver {
    Leaver {
        number: Some(n.into()),
        session: SessionId::from_bytes([n; 16]),
        user: "ann".into(),
        progress: Vec::new(),
        has_more: false,
    }
}

#[test]
fn a_connection_without_problems_uses_no_memory() {
    let mut recorder = recorder(1 << 20);
    let one = connections(1)[0];
    let subscribe = Command::Subscribe(Subscribe::new(chat(), Since::Now));
    recorder.received(one, CommandId(1), &subscribe, 5);
    let subscribed = Notice::Reply {
        id: Some(CommandId(1)),
        reply: Reply::Subscribed {
            subscription: SubscriptionName::from(chat()),
            position: Position::new(1, 0),
            live: true,
            by_server: false,
            acknowledged: false,
        },
    };
    recorder.decided(one, &subscribed, 5);
    recorder.received(one, CommandId(2), &Command::Ping, 6);
    assert_eq!((recorder.used, recorder.open.len()), (0, 0));
    assert_eq!(recorder.pending.len(), 0);
}

#[test]
fn a_refusal_is_recorded_together_with_what_was_requested() {
    let mut recorder = recorder(1 << 20);
    let one = connections(1)[0];
    let subscribe = Command::Subscribe(Subscribe::new(chat(), Since::Now));
    recorder.received(one, CommandId(1), &subscribe, 5);
    recorder.decided(one, &refused(1), 6);
    let recorded = recorder.of(one);
    let [entry] = recorded.decisions.as_slice() else {
        panic!("{recorded:?}");
    };
    let What::Refused { verb, target, why } = &entry.what else {
        panic!("{entry:?}");
    };
    assert_eq!((*verb, target), ("subscribe", &Some(chat().into())));
    assert_eq!((why.code, entry.at_ms), ("forbidden", 6));
}

#[test]
fn the_newest_decisions_stay_and_the_same_one_is_counted() {
    let mut recorder = recorder(1 << 20);
    let one = connections(1)[0];
    for from in 0..6 {
        recorder.decided(one, &gap(from), from);
    }
    let recorded = recorder.of(one);
    assert_eq!((recorded.decisions.len(), recorded.dropped), (4, 2));
    for n in 0..100 {
        let behind = Notice::CatchingUp {
            subscription: SubscriptionName::from(chat()),
            position: Position::new(1, n),
        };
        recorder.decided(one, &behind, 10 + n);
        let live = Notice::Live {
            subscription: SubscriptionName::from(chat()),
            position: Position::new(1, n),
        };
        recorder.decided(one, &live, 10 + n);
    }
    let recorded = recorder.of(one);
    // Two of four gaps are left: a connection that falls behind repeatedly displaces no other
    // entries.
    assert_eq!((recorded.decisions.len(), recorded.dropped), (4, 4));
    assert_eq!(recorded.decisions[2].times, 100);
    assert_eq!(recorded.decisions[3].times, 100);
}

#[test]
fn any_number_of_connections_stays_within_the_memory() {
    let limit = 16 << 10;
    let mut recorder = recorder(limit);
    let all = connections(200);
    for (n, one) in (0..).zip(&all) {
        for command in 0..20 {
            recorder.received(*one, CommandId(command), &publish(&"k".repeat(100)), n);
            recorder.decided(*one, &refused(command), n);
        }
        recorder.decided(*one, &gap(1), n);
        assert!(recorder.used <= limit, "{}", recorder.used);
        assert!(recorder.order.len() <= 2 * recorder.open.len() + PENDING + 1);
    }
    assert!(recorder.forgotten_ms() > 0);
    for (n, one) in (0..).zip(&all) {
        recorder.ended(*one, false, leaver(n), 1_000);
        assert!(recorder.used <= limit);
    }
    assert!(recorder.open.is_empty());
    recorder.expire(1_000 + 60_000);
    assert_eq!((recorder.used, recorder.ended.len()), (0, 0));
}

#[test]
fn records_expire_in_time_after_the_clock_was_set_back() {
    let mut recorder = recorder(1 << 20);
    let all = connections(2);
    recorder.ended(all[0], false, leaver(0), 1_000_000);
    recorder.ended(all[1], false, leaver(1), 1_000);
    recorder.expire(1_000 + 60_000);
    let left: Vec<_> = recorder.ended_ones().map(|ended| ended.at_ms).collect();
    assert_eq!(left, [1_000_000]);
    recorder.expire(1_000_000 + 60_000);
    assert_eq!((recorder.used, recorder.ended.len()), (0, 0));
}

#[test]
fn records_of_ended_connections_are_discarded_before_those_of_open_ones() {
    let mut recorder = recorder(8 << 10);
    let all = connections(3);
    recorder.decided(all[0], &gap(1), 1);
    recorder.decided(all[1], &gap(1), 1);
    recorder.ended(all[1], true, leaver(1), 2);
    let mut n = 3;
    while recorder.ended.len() == 1 {
        recorder.received(all[2], CommandId(n), &publish(&"k".repeat(128)), n);
        recorder.decided(all[2], &refused(n), n);
        recorder.decided(all[2], &gap(n), n);
        recorder.bytes = recorder.bytes.min(recorder.used);
        n += 1;
    }
    assert_eq!(recorder.of(all[0]).decisions.len(), 1);
    assert_eq!(recorder.forgotten_ms(), 2);
}

#[test]
fn a_publication_is_found_by_its_key_with_its_outcome() {
    let mut recorder = recorder(1 << 20);
    let all = connections(2);
    recorder.received(all[0], CommandId(1), &publish("a"), 1);
    recorder.received(all[1], CommandId(1), &publish("b"), 2);
    let published = Notice::Reply {
        id: Some(CommandId(1)),
        reply: Reply::Published {
            position: Position::new(1, 7),
            duplicate: false,
        },
    };
    recorder.decided(all[1], &published, 3);
    recorder.ended(all[1], true, leaver(1), 4);
    let outcome = |key: &str| {
        let entry = recorder.published("chat", &Key::new(key).unwrap())?;
        let What::Published { outcome, .. } = entry.what else {
            return None;
        };
        Some(outcome)
    };
    assert_eq!(outcome("a"), Some(Outcome::Pending));
    let position = Position::new(1, 7);
    let duplicate = false;
    assert_eq!(
        outcome("b"),
        Some(Outcome::Published {
            position,
            duplicate
        })
    );
    assert_eq!(outcome("c"), None);
}

#[test]
fn long_names_of_a_connection_that_has_ended_are_counted() {
    let mut recorder = recorder(1 << 20);
    let one = connections(1)[0];
    let name = |n: usize| ChannelName::new(&format!("{n:0>200}")).unwrap();
    for n in 0..4 {
        let subscribe = Command::Subscribe(Subscribe::new(name(n), Since::Now));
        recorder.received(one, CommandId(n as u64), &subscribe, 1);
        recorder.decided(one, &refused(n as u64), 1);
    }
    let refused = recorder.used;
    assert!(refused >= 4 * 200, "{refused}");
    let progress = |n| Progress {
        subscription: SubscriptionName::from(name(n)),
        activity: Activity::Live,
        began_after: 0,
        whole_after: 0,
        handed_out: None,
        received: 0,
        echo: true,
        shared: false,
        may_read: true,
    };
    let all: Vec<_> = (0..AT_THE_END).map(progress).collect();
    let texts = AT_THE_END * 200 + 500 + 100;
    let places = AT_THE_END * size_of::<Progress>();
    let words = LastWords {
        code: Some(1000),
        reason: "r".repeat(100).into(),
    };
    recorder.transport_ended(one, words);
    let leaver = Leaver {
        user: "u".repeat(500).into(),
        progress: all,
        ..leaver(1)
    };
    recorder.ended(one, true, leaver, 2);
    assert!(
        recorder.used >= refused + places + texts,
        "{}",
        recorder.used
    );
    recorder.expire(2 + 60_000);
    assert_eq!(recorder.used, 0);
}
