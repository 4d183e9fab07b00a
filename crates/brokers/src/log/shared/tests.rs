#![expect(clippy::wildcard_enum_match_arm, reason = "a test matches one variant")]

mod waiting;

use std::time::Duration;

use offhook_engine::*;

use super::*;
use crate::{
    Mailbox,
    lineage::Lineage,
    log::{
        read_queue::Task,
        tests::written::{self, channel, draft, now},
    },
};

/// What the threads of a log share, without the threads, and a worker.
struct Alone {
    shared: Shared,
    worker: WorkerId,
    mailbox: Arc<Mailbox>,
}

/// With room for this many bytes of channels.
fn with_memory(bytes: usize) -> Alone {
    let rules = RuleBook::new()
        .with(
            "flow/*",
            ChannelRules {
                history: History::NONE,
                ..ChannelRules::default()
            },
        )
        .with("a*", ChannelRules::default());
    let shared = written::shared(rules, bytes);
    let mailbox = Arc::new(Mailbox::new(1 << 20, || {}));
    let worker = shared.hub.attach(Arc::clone(&mailbox));
    Alone {
        shared,
        worker,
        mailbox,
    }
}

fn alone() -> Alone {
    with_memory(1 << 30)
}

fn view(head: u64) -> View {
    let mut lineage = Lineage::empty();
    if head > 0 {
        Arc::make_mut(&mut lineage).publish(Epoch(5), 1);
    }
    View {
        number: 3,
        stream: StreamState {
            head: Position::new(5, head),
            first: 1,
            trimmed: Trimmed::default(),
        },
        lineage,
        used_ms: 0,
    }
}

fn follow(id: u64, name: &str) -> BrokerRequest {
    BrokerRequest::Follow {
        id: RequestId(id),
        channel: channel(name),
    }
}

fn unfollow(name: &str) -> BrokerRequest {
    BrokerRequest::Unfollow {
        channel: channel(name),
    }
}

const LIMIT: ReadLimit = ReadLimit { count: 1, bytes: 1 };

fn history(id: u64, name: &str, from: ReadFrom) -> BrokerRequest {
    BrokerRequest::History {
        id: RequestId(id),
        channel: channel(name),
        from,
        limit: LIMIT,
    }
}

impl Alone {
    fn submit(&self, request: BrokerRequest) {
        let left = self
            .shared
            .submit_all(self.worker, &mut std::iter::once(request));
        assert_eq!(left, []);
    }

    /// The failures among the answers, with their requests; nothing else may be among them.
    fn failures(&self) -> Vec<(u64, BrokerFailure)> {
        let failed = |event| match event {
            BrokerEvent::Failed { id, failure } => (id.0, failure),
            other => panic!("{other:?}"),
        };
        self.mailbox.take().into_iter().map(failed).collect()
    }

    /// The requests to follow that were answered.
    fn followed(&self) -> Vec<u64> {
        let answered = |event| match event {
            BrokerEvent::Followed { id, .. } => id.0,
            other => panic!("{other:?}"),
        };
        self.mailbox.take().into_iter().map(answered).collect()
    }

    fn is_followed(&self, name: &str) -> bool {
        !self.shared.hub.bus().followers(&channel(name)).is_empty()
    }

    fn loaded(&self, name: &str, view: Result<View, BrokerFailure>, reopened: u64) {
        let loaded = Loaded {
            channel: channel(name),
            view,
            reopened,
        };
        self.shared.loaded([loaded].into_iter());
    }

    /// What the reader would do next.
    fn next(&self) -> String {
        self.shared.reads.close();
        match self.shared.reads.take() {
            None => "nothing".to_owned(),
            Some(Task::Load(loads)) => format!("{loads:?}"),
            Some(Task::Read(job)) => format!("read {} {}", job.id.0, job.backward),
            Some(Task::State(job)) => format!("state {}", job.id.0),
            Some(Task::Filter(job)) => format!("filter {}", job.id.0),
            Some(Task::Values(job)) => format!("values {}", job.id.0),
            Some(Task::StateLoad(_)) => "a state".to_owned(),
        }
    }
}

#[test]
fn a_stream_without_publications_or_followers_takes_no_memory() {
    let alone = alone();
    let known = |name| alone.shared.hub.bus().durable.contains_key(&channel(name));
    alone.submit(history(1, "a", ReadFrom::Start));
    alone.loaded("a", Ok(view(0)), 0);
    assert!(!known("a"));
    alone.submit(follow(2, "ab"));
    alone.loaded("ab", Ok(view(0)), 0);
    assert!(known("ab"));
    alone.submit(history(3, "ab", ReadFrom::Start));
    assert!(known("ab"));
    alone.submit(unfollow("ab"));
    assert!(!known("ab"));
}

#[test]
fn following_or_reading_a_channel_marks_it_as_used() {
    let requests = [
        follow(1, "a"),
        history(1, "a", ReadFrom::Start),
        BrokerRequest::State {
            id: RequestId(1),
            channel: channel("a"),
        },
    ];
    for request in requests {
        let alone = alone();
        alone
            .shared
            .open(&mut alone.shared.hub.bus(), &channel("a"), view(1));
        let used = || match &alone.shared.hub.bus().durable[&channel("a")] {
            Durable::Open(view) => view.used_ms,
            Durable::Loading(_) => panic!("it is loading"),
        };
        let now = now();
        assert_eq!(used(), now.unix_ms);
        let unix_ms = now.unix_ms + 5;
        alone.shared.hub.bus().set_now(Now { unix_ms, ..now });
        alone.submit(request);
        assert_eq!(used(), unix_ms);
    }
}

#[test]
fn reads_go_to_the_reader_and_are_refused_if_too_many_wait() {
    let alone = alone();
    alone
        .shared
        .open(&mut alone.shared.hub.bus(), &channel("a"), view(9));
    let state = |id| BrokerRequest::State {
        id: RequestId(id),
        channel: channel("a"),
    };
    let filter = Filter::new("#").unwrap();
    let by_filter = |id| BrokerRequest::FilterHistory {
        id: RequestId(id),
        filter: filter.clone(),
        after: Position::new(5, 0),
        limit: LIMIT,
    };
    let values = |id| BrokerRequest::Values {
        id: RequestId(id),
        filter: filter.clone(),
        after: None,
        limit: LIMIT,
    };
    alone.submit(history(1, "a", ReadFrom::Start));
    assert_eq!(alone.next(), "read 1 false");
    alone.submit(history(2, "a", ReadFrom::Before(Position::new(5, 9))));
    assert_eq!(alone.next(), "read 2 true");
    alone.submit(state(3));
    assert_eq!(alone.next(), "state 3");
    alone.submit(by_filter(4));
    assert_eq!(alone.next(), "filter 4");
    alone.submit(values(5));
    assert_eq!(alone.next(), "values 5");
    assert!(alone.mailbox.take().is_empty());
    let most = 4096;
    let kinds: [&dyn Fn(u64) -> BrokerRequest; 4] = [
        &|id| history(id, "a", ReadFrom::Start),
        &state,
        &by_filter,
        &values,
    ];
    for of_kind in kinds {
        for id in 1..=most + 1 {
            alone.submit(of_kind(id));
        }
        assert_eq!(alone.failures(), [(most + 1, BrokerFailure::Busy)]);
    }
}

#[test]
fn a_view_says_what_is_retained_now() {
    let alone = alone();
    let bus = || alone.shared.hub.bus();
    let now = |name| alone.shared.retained_now(&channel(name));
    assert_eq!(now("a"), None);
    alone.submit(follow(1, "a"));
    assert_eq!(now("a"), None, "it is being loaded");
    let history = History {
        count: 4,
        bytes: u64::MAX,
        age: None,
    };
    let mut retained = Retained::new(3);
    let time = (1, 1);
    for offset in 1..=9 {
        retained.push(offset, 1, time, &history);
    }
    let opened = alone.shared.view(&retained, &history);
    assert_eq!((opened.number, opened.used_ms), (3, 0));
    assert_eq!((opened.stream.head.offset, opened.stream.first), (9, 6));
    alone.shared.open(&mut bus(), &channel("a"), view(9));
    alone.shared.trimmed(&channel("a"), &retained, &history);
    let first = |name| now(name).map(|stream| stream.first);
    assert_eq!(first("a"), Some(6));
    // The writer is ahead of what followers know: nothing after their head is trimmed for them.
    alone.shared.open(&mut bus(), &channel("a"), view(3));
    alone.shared.trimmed(&channel("a"), &retained, &history);
    assert_eq!(first("a"), Some(4));
    let by_age = History {
        age: Some(Duration::from_millis(1)),
        ..history
    };
    retained.trim(&by_age, 1_000);
    alone.shared.trimmed(&channel("a"), &retained, &by_age);
    assert_eq!(now("a").unwrap().trimmed, Trimmed::ByAge);
    alone
        .shared
        .trimmed(&channel("unknown"), &retained, &history);
    assert_eq!(now("unknown"), None);
}

#[test]
fn receipts_are_counted_only_for_a_position_of_the_stream() {
    let alone = alone();
    let asked = |id, name, epoch, offset| {
        alone.submit(BrokerRequest::Receipts {
            id: RequestId(id),
            channel: channel(name),
            position: Position::new(epoch, offset),
        });
        alone.mailbox.take()
    };
    alone
        .shared
        .open(&mut alone.shared.hub.bus(), &channel("a"), view(9));
    for (epoch, offset) in [(5, 10), (6, 1)] {
        let failure = BrokerFailure::UnknownPosition;
        let failed = BrokerEvent::Failed {
            id: RequestId(1),
            failure,
        };
        assert_eq!(asked(1, "a", epoch, offset), [failed]);
    }
    for (name, offset) in [("a", 9), ("not loaded", 10)] {
        let told = asked(2, name, 5, offset);
        assert!(matches!(&*told, [BrokerEvent::Receipts { .. }]), "{told:?}");
    }
}

#[test]
fn a_refused_request_is_answered_if_it_has_an_id() {
    let alone = alone();
    let (id, name) = (RequestId(1), channel("a"));
    let filter = Filter::new("#").unwrap();
    let session = SessionId::from_bytes([1; 16]);
    let position = Position::new(5, 1);
    let answered = [
        BrokerRequest::Publish {
            id,
            draft: draft("a", "x", 1),
        },
        follow(1, "a"),
        history(1, "a", ReadFrom::Start),
        BrokerRequest::Members {
            id,
            channel: name.clone(),
            limit: 1,
        },
        BrokerRequest::Ack {
            id,
            channel: name.clone(),
            scope: "".into(),
            consumer: Key::new("one").unwrap(),
            position: None,
        },
        BrokerRequest::Receipts {
            id,
            channel: name.clone(),
            position,
        },
        BrokerRequest::FollowFilter {
            id,
            filter: filter.clone(),
        },
        BrokerRequest::FilterHistory {
            id,
            filter: filter.clone(),
            after: position,
            limit: LIMIT,
        },
        BrokerRequest::State {
            id,
            channel: name.clone(),
        },
        BrokerRequest::Values {
            id,
            filter: filter.clone(),
            after: None,
            limit: LIMIT,
        },
        BrokerRequest::LoadSession { id, session },
        BrokerRequest::SaveSession {
            id: Some(id),
            session,
            bytes: "x".into(),
            expiry: Duration::ZERO,
        },
    ];
    let refuse = |request: &BrokerRequest| {
        let mut bus = alone.shared.hub.bus();
        refuse(&mut bus, alone.worker, request, BrokerFailure::Busy);
    };
    for request in &answered {
        refuse(request);
        assert_eq!(alone.failures(), [(1, BrokerFailure::Busy)], "{request:?}");
    }
    let unanswered = [
        BrokerRequest::SaveSession {
            id: None,
            session,
            bytes: "x".into(),
            expiry: Duration::ZERO,
        },
        BrokerRequest::DropSession { session },
        BrokerRequest::UnfollowFilter { filter },
        BrokerRequest::Renew {
            lease: Duration::ZERO,
        },
    ];
    for request in &unanswered {
        refuse(request);
        assert_eq!(alone.failures(), [], "{request:?}");
    }
    // To stop following something always succeeds.
    alone.shared.hub.bus().follow(alone.worker, name);
    refuse(&unfollow("a"));
    assert!(!alone.is_followed("a"));
}

#[test]
fn channels_without_history_are_in_memory_unless_they_have_a_state() {
    let rules = |count, state| ChannelRules {
        history: History {
            count,
            ..History::default()
        },
        state: State {
            count: state,
            ..State::default()
        },
        ..ChannelRules::default()
    };
    let on_disk =
        [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(count, state)| is_on_disk(&rules(count, state)));
    assert_eq!(on_disk, [false, true, true, true]);
    let alone = alone();
    alone.submit(follow(1, "flow/a"));
    assert_eq!(alone.followed(), [1]);
    assert_eq!(alone.next(), "nothing");
}
