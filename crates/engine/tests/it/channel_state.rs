//! State: the newest publication of each value, then what follows.

use std::sync::Arc;

use offhook_engine::*;

use crate::world::{OUTBOX, World, channel, client::Wire, rules, tight_limits};

/// A channel with two values that were changed often, and no subscriber.
fn with_values() -> World {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    for (text, value) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "c")] {
        world.publish_with(1, "state/g", text, None, value);
    }
    world.publish_with(1, "state/g", "", None, "c");
    world.settle();
    world
}

fn texts(values: &[Arc<Publication>]) -> Vec<&[u8]> {
    values.iter().map(|value| &*value.data).collect()
}

#[test]
fn a_subscription_since_state_gets_the_newest_values_and_then_later_publications() {
    let mut world = with_values();
    world.subscribe(0, "state/g", Since::State);
    world.publish_with(1, "state/g", "6", None, "b");
    world.settle();
    world.publish_with(1, "state/g", "7", None, "b");
    world.settle();
    let came = came(&world);
    let expected = [
        "subscribed",
        "value 3",
        "value 6",
        "gap state to 6",
        "live",
        "7",
    ];
    assert_eq!(came, expected);
    assert!(world.clients[0].to("state/g").live);
}

/// What the first client received of the channel, in order.
fn came(world: &World) -> Vec<String> {
    let text = |wire: &Wire| match wire {
        Wire::Publication(_, publication, handed) => {
            let text = String::from_utf8_lossy(&publication.data);
            let value = if handed.state { "value " } else { "" };
            Some(format!("{value}{text}"))
        }
        Wire::Notice(Notice::Gap { reason, to, .. }) => {
            Some(format!("gap {} to {}", reason.name(), to.offset))
        }
        Wire::Notice(Notice::Live { .. }) => Some("live".to_owned()),
        Wire::Notice(Notice::CatchingUp { .. }) => Some("catching up".to_owned()),
        Wire::Notice(Notice::Reply {
            reply: Reply::Subscribed { .. },
            ..
        }) => Some("subscribed".to_owned()),
        _ => None,
    };
    world.clients[0].read.iter().filter_map(text).collect()
}

#[test]
fn an_empty_state_is_a_gap_followed_by_later_publications() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    world.subscribe(0, "state/g", Since::State);
    world.settle();
    world.publish_with(1, "state/g", "1", None, "a");
    world.settle();
    assert_eq!(came(&world), ["subscribed", "gap state to 0", "live", "1"]);
}

#[test]
fn a_large_state_is_sent_as_the_outbox_has_room_and_is_consistent() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    for n in 0..20 {
        world.publish_with(1, "state/g", &n.to_string(), None, &n.to_string());
    }
    world.settle();
    world.subscribe(0, "state/g", Since::State);
    world.settle_broker();
    // It has read nothing yet, and what was delivered fits its outbox.
    assert!(world.clients[0].outbox_bytes() <= OUTBOX + 200);
    world.publish_with(1, "state/g", "changed", None, "19");
    world.settle_broker();
    world.settle();
    let mut expected = vec!["subscribed".to_owned()];
    expected.extend((0..20).map(|n| format!("value {n}")));
    expected.extend(["gap state to 20", "changed", "live"].map(str::to_owned));
    let mut came = came(&world);
    // Without history a subscriber that fell behind reads the state again, which loses nothing.
    came.retain(|what| what != "catching up");
    assert_eq!(came, expected);
}

#[test]
fn a_session_disconnected_during_the_state_gets_all_of_it_again() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    for n in 0..20 {
        world.publish_with(1, "state/g", &n.to_string(), None, &n.to_string());
    }
    world.settle();
    world.subscribe(0, "state/g", Since::State);
    world.settle_broker();
    world.issue_token(0);
    world.read(0, usize::MAX);
    world.cut(0);
    world.connect(0, 0, true);
    world.settle();
    let came = came(&world);
    let begun = came.iter().rposition(|what| what == "subscribed").unwrap();
    assert_eq!(came.len() - begun, 23, "{came:?}");
    assert!(world.clients[0].to("state/g").live);
}

#[test]
fn a_state_is_read_in_pages() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    for n in 0..5 {
        world.publish_with(1, "state/g", &n.to_string(), None, &n.to_string());
    }
    world.settle();
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let channel = channel("state/g");
        let state = Command::State {
            channel,
            after,
            limit: 2,
        };
        world.command(0, state);
        world.settle();
        let replies = world.clients[0].replies();
        let Some(Reply::State { values, more, .. }) = replies.last() else {
            panic!("{replies:?}")
        };
        pages.push(values.len());
        after = values.last().map(|last| last.position);
        if !more {
            break;
        }
    }
    assert_eq!(pages, [2, 2, 1]);
}

#[test]
fn the_state_can_be_read_with_permission_to_read_the_channel() {
    let mut world = with_values();
    for name in ["state/g", "kept/a"] {
        let channel = channel(name);
        let (after, limit) = (None, 100);
        world.command(
            0,
            Command::State {
                channel,
                after,
                limit,
            },
        );
    }
    world.settle();
    let replies = world.clients[0].replies();
    let state = replies.iter().find_map(|reply| match reply {
        Reply::State {
            values, head, more, ..
        } => Some((texts(values), head.offset, *more)),
        _ => None,
    });
    let newest: Vec<&[u8]> = vec![b"2", b"3"];
    assert_eq!(state, Some((newest, 5, false)));
    let refused = |r: &&&Reply| matches!(r, Reply::Refused(r) if r.code == ErrorCode::NoState);
    assert_eq!(replies.iter().filter(refused).count(), 1);
}

#[test]
fn a_subscription_since_state_is_refused_in_a_channel_without_state() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::State);
    let filter = Filter::new("state/+").unwrap();
    world.command(0, Command::Subscribe(Subscribe::new(filter, Since::State)));
    world.settle();
    let replies = world.clients[0].replies();
    let refused = replies.iter().filter_map(|reply| match reply {
        Reply::Refused(refusal) => Some(refusal.code),
        _ => None,
    });
    let codes: Vec<_> = refused.collect();
    assert_eq!(codes, [ErrorCode::NoState, ErrorCode::BadRequest]);
}

#[test]
fn a_slow_connection_falls_back_to_the_state_if_the_rule_says_so() {
    let mut world = with_values();
    world.subscribe(0, "state/g", Since::Now);
    world.settle();
    for n in 0..50 {
        world.publish_with(1, "state/g", &n.to_string(), None, &(n % 2).to_string());
        world.broker_works(0, 9);
        world.deliver(0, 9);
        world.read(1, 9);
        assert!(world.clients[0].outbox_bytes() <= OUTBOX + 200);
    }
    world.settle();
    let came = came(&world);
    let at = |what: &str| came.iter().position(|came| came.starts_with(what));
    let told = at("catching up").unwrap();
    let (value, gap, live) = (
        at("value").unwrap(),
        at("gap").unwrap(),
        at("live").unwrap(),
    );
    assert!(told < value && value < gap && gap < live, "{came:?}");
    assert!(
        world.clients[0]
            .gaps()
            .iter()
            .all(|reason| *reason == GapReason::State)
    );
}

#[test]
fn a_state_that_cannot_be_read_now_is_read_later() {
    let mut world = with_values();
    world.subscribe(0, "state/g", Since::State);
    world.broker_works(0, 1);
    world.deliver(0, 1);
    world.broker.failure = Some(BrokerFailure::StorageFailed);
    world.settle();
    assert!(!world.clients[0].to("state/g").live);
    world.broker.failure = None;
    world.settle();
    assert!(world.clients[0].to("state/g").live);
}

#[test]
fn the_states_of_all_channels_that_match_a_filter_are_read_as_far_as_permitted() {
    let state = |subscribe| ChannelRules {
        state: State {
            count: 100,
            ..State::default()
        },
        history: History::NONE,
        subscribe,
        ..ChannelRules::default()
    };
    let book = RuleBook::new()
        .with("state/open/*", state(Access::Everyone))
        .with("state/secret/*", state(Access::Granted))
        .with("state/asked/*", state(Access::Asked));
    let limits = Limits {
        page_count: 100,
        ..tight_limits()
    };
    let mut world = World::with(1, 2, &limits, book);
    let ann = Identity::user("ann").with("state/secret/a", Verbs::SUBSCRIBE);
    world.clients[0].identity = Arc::new(ann);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    for name in ["open/a", "secret/a", "secret/b", "asked/a"] {
        world.publish_with(1, &format!("state/{name}"), name, None, "k");
    }
    world.settle();
    let read = |after| Command::Values {
        filter: Filter::new("state/#").unwrap(),
        after,
        limit: 100,
    };
    world.command(0, read(None));
    world.settle();
    let replies = world.clients[0].replies();
    let Some(Reply::Values { values, next, .. }) = replies.last() else {
        panic!("{replies:?}")
    };
    assert_eq!(texts(values), [b"open/a".as_slice(), b"secret/a"]);
    assert_eq!(*next, None);
    world.command(0, read(Some(channel("state/open/a"))));
    world.settle();
    let replies = world.clients[0].replies();
    let Some(Reply::Values { values, .. }) = replies.last() else {
        panic!("{replies:?}")
    };
    assert_eq!(texts(values), [b"secret/a".as_slice()]);
}

#[test]
fn a_page_of_a_state_is_limited_in_bytes_and_has_at_least_one_value() {
    for (fits, pages) in [(2, vec![2, 2, 1]), (0, vec![1, 1, 1, 1, 1])] {
        let weight = 128 + 10 + 3 + 1;
        let limits = Limits {
            page_count: 100,
            page_bytes: fits * weight,
            ..tight_limits()
        };
        let mut world = World::with(1, 2, &limits, rules());
        for client in 0..2 {
            world.connect(client, 0, false);
        }
        for n in 0..5 {
            world.publish_with(1, "state/g", "ten bytes!", None, &n.to_string());
        }
        world.settle();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            world.command(
                0,
                Command::State {
                    channel: channel("state/g"),
                    after,
                    limit: 100,
                },
            );
            world.settle();
            let replies = world.clients[0].replies();
            let Some(Reply::State { values, more, .. }) = replies.last() else {
                panic!("{replies:?}")
            };
            found.push(values.len());
            after = values.last().map(|last| last.position);
            if !more {
                break;
            }
        }
        assert_eq!(found, pages);
    }
}

#[test]
fn a_token_does_not_contain_a_subscription_whose_state_is_not_delivered_completely() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    for n in 0..20 {
        world.publish_with(1, "state/g", &n.to_string(), None, &n.to_string());
    }
    world.settle();
    world.subscribe(0, "state/g", Since::State);
    world.settle_broker();
    let (_, connection) = world.clients[0].connection.unwrap();
    let subscriptions = |world: &World| {
        let snapshot = world.workers[0].snapshot(connection, world.now);
        snapshot.unwrap().subscriptions.len()
    };
    assert_eq!(subscriptions(&world), 0);
    world.settle();
    assert_eq!(subscriptions(&world), 1);
}

#[test]
fn subscriptions_that_need_the_state_at_the_same_time_cause_one_read_of_it() {
    let mut world = World::new(1, 3);
    for client in 0..3 {
        world.connect(client, 0, false);
    }
    world.publish_with(2, "state/g", "1", None, "a");
    world.settle();
    world.subscribe(0, "state/g", Since::State);
    world.subscribe(1, "state/g", Since::State);
    // The channel is followed, and then both subscriptions begin.
    world.broker_works(0, 1);
    world.deliver(0, 1);
    let reads = |request: &&BrokerRequest| matches!(request, BrokerRequest::State { .. });
    assert_eq!(world.broker.requests[0].iter().filter(reads).count(), 1);
}
