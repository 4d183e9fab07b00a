//! The memory of a broker is limited, whatever its clients do, and is freed when they leave.

use std::{path::Path, sync::Arc, time::Duration};

use offhook_brokers::{Broker, Budget, Health, Log, LogOptions, Memory};
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, channel, draft, kept};

/// Ticks in which everything was looked at, twice.
const ROUNDS: u64 = 20;

fn memory(bytes: usize, rules: RuleBook) -> Arc<dyn Broker> {
    let budget = Budget {
        memory_bytes: bytes,
        ..Budget::default()
    };
    Arc::new(Memory::within(budget, Arc::new(rules), at(0)))
}

fn log(path: &Path, budget: Budget, rules: RuleBook) -> Arc<dyn Broker> {
    let mut options = LogOptions::new(path);
    options.budget = budget;
    Arc::new(Log::open(options, Arc::new(rules), at(0)).unwrap())
}

fn every_broker(bytes: usize, body: impl Fn(&Arc<dyn Broker>)) {
    body(&memory(bytes, kept(100)));
    let directory = tempfile::tempdir().unwrap();
    let budget = Budget {
        memory_bytes: bytes,
        ..Budget::default()
    };
    body(&log(directory.path(), budget, kept(100)));
}

fn tick(broker: &Arc<dyn Broker>, worker: &mut TestWorker, from_s: u64) {
    for second in from_s..from_s + ROUNDS {
        broker.tick(at(second * 1_000));
        worker.writer_barrier();
    }
}

fn no_answer(event: &BrokerEvent) -> ! {
    panic!("{event:?}")
}

impl TestWorker {
    fn try_follow(&mut self, name: &str) -> Result<StreamState, BrokerFailure> {
        let id = self.id();
        let channel = channel(name);
        self.submit(BrokerRequest::Follow { id, channel });
        match self.answer(id) {
            BrokerEvent::Followed { stream, .. } => Ok(stream),
            BrokerEvent::Failed { failure, .. } => Err(failure),
            other => no_answer(&other),
        }
    }

    fn unfollow(&self, name: &str) {
        let channel = channel(name);
        self.submit(BrokerRequest::Unfollow { channel });
    }

    fn try_publish(&mut self, draft: Draft) -> Result<Position, BrokerFailure> {
        let id = self.send(draft);
        match self.answer(id) {
            BrokerEvent::Published { position, .. } => Ok(position),
            BrokerEvent::Failed { failure, .. } => Err(failure),
            other => no_answer(&other),
        }
    }
}

#[test]
fn unsubscribed_channel_names_free_their_memory() {
    every_broker(1 << 30, |broker| {
        let mut worker = TestWorker::new(broker);
        worker.writer_barrier();
        let before = broker.held();
        for n in 0..5_000 {
            worker.follow(&format!("flow/{n}"));
            worker.follow(&format!("kept/{n}"));
        }
        let during = broker.held();
        assert!(
            during.memory_bytes > before.memory_bytes + 10_000 * 500,
            "{during:?}"
        );
        for n in 0..5_000 {
            worker.unfollow(&format!("flow/{n}"));
            worker.unfollow(&format!("kept/{n}"));
        }
        // Each tick checks an eighth of the remaining streams.
        for round in 0..6 {
            tick(broker, &mut worker, 1 + round * ROUNDS);
        }
        let after = broker.held();
        assert_eq!(after.memory_bytes, before.memory_bytes);
        assert_eq!(after.open_channels, before.open_channels);
    });
}

#[test]
fn reading_the_history_of_unknown_channels_uses_no_memory() {
    every_broker(1 << 30, |broker| {
        let mut worker = TestWorker::new(broker);
        worker.writer_barrier();
        let before = broker.held();
        for n in 0..3_000 {
            let name = format!("nowhere/{n}");
            let (stream, page) = worker.history(&name, ReadFrom::Start, 10);
            assert_eq!((stream.head.offset, page.len()), (0, 0));
        }
        assert_eq!(
            broker.held().memory_bytes,
            before.memory_bytes,
            "without a tick"
        );
    });
}

#[test]
fn a_channel_read_before_its_first_publication_is_followed_without_a_hole() {
    every_broker(1 << 30, |broker| {
        let (mut worker, mut follower) = (TestWorker::new(broker), TestWorker::new(broker));
        worker.history("new", ReadFrom::Start, 10);
        follower.follow("new");
        worker.history("new", ReadFrom::Start, 10);
        worker.publish("new", "first");
        let BrokerEvent::Publication(first) = follower.next() else {
            panic!()
        };
        assert_eq!((first.position.offset, &*first.data), (1, &b"first"[..]));
        assert_eq!(worker.texts("new"), ["first"]);
    });
}

#[test]
fn keys_of_publications_without_history_stay_within_the_budget_and_the_newest_are_kept() {
    const BUDGET: usize = 256 << 10;
    every_broker(BUDGET, |broker| {
        let mut worker = TestWorker::new(broker);
        for n in 0..20_000 {
            worker.publish_keyed("flow/a", "x", Some(&format!("key {n}")));
            assert!(broker.held().memory_bytes <= BUDGET);
        }
        let (_, duplicate) = worker.publish_keyed("flow/a", "x", Some("key 19999"));
        assert!(duplicate, "the newest is known");
        let (_, duplicate) = worker.publish_keyed("flow/a", "x", Some("key 0"));
        assert!(!duplicate, "the oldest made room");
    });
}

#[test]
fn above_the_budget_new_channels_are_refused_and_existing_ones_continue() {
    const BUDGET: usize = 256 << 10;
    every_broker(BUDGET, |broker| {
        let mut worker = TestWorker::new(broker);
        let mut followed = 0;
        let refused = loop {
            match worker.try_follow(&format!("flow/{followed}")) {
                Ok(_) => followed += 1,
                Err(failure) => break failure,
            }
            assert!(followed < 10_000, "nothing was ever refused");
        };
        assert_eq!(refused, BrokerFailure::TooManyChannels);
        assert!(followed > 100, "{followed}");
        let new = worker.try_publish(draft("flow/new", "x", None));
        assert_eq!(new, Err(BrokerFailure::TooManyChannels));
        worker.publish("flow/0", "there");
        let told = worker.next();
        assert!(matches!(told, BrokerEvent::Publication(_)), "{told:?}");

        for n in 1..followed {
            worker.unfollow(&format!("flow/{n}"));
        }
        for second in 1..ROUNDS {
            broker.tick(at(second * 1_000));
        }
        worker.publish("flow/new", "x");
    });
}

#[test]
fn idle_channels_give_up_memory_to_new_ones() {
    const BUDGET: usize = 512 << 10;
    every_broker(BUDGET, |broker| {
        let mut worker = TestWorker::new(broker);
        // One that holds nearly all there is, and is then left alone.
        for n in 0..5_000 {
            worker.publish_keyed("flow/large", "x", Some(&n.to_string()));
        }
        // New channels are accepted up to the budget.
        let mut n = 0;
        while worker.try_follow(&format!("flow/{n}")).is_ok() {
            n += 1;
        }
        assert!(broker.held().memory_bytes >= BUDGET);
        for second in 1..3 * ROUNDS {
            broker.tick(at(second * 1_000));
        }
        assert!(broker.held().memory_bytes < BUDGET);
        worker.follow("flow/new");
        let (_, duplicate) = worker.publish_keyed("flow/large", "x", Some("4999"));
        assert!(duplicate, "its newest keys are still known");
    });
}

#[test]
fn history_in_memory_is_freed_from_the_oldest_end_and_reported_as_a_gap() {
    const BUDGET: usize = 256 << 10;
    let broker = memory(BUDGET, kept(1_000_000));
    let mut worker = TestWorker::new(&broker);
    let data = "x".repeat(1_000);
    for _ in 0..1_000 {
        worker.publish("a", &data);
        assert!(broker.held().memory_bytes <= BUDGET);
    }
    let (stream, page) = worker.history("a", ReadFrom::Start, 1_000);
    assert!(page.len() > 100, "{} are kept", page.len());
    assert_eq!(stream.first, 1_001 - page.len() as u64);
    assert_eq!(stream.trimmed, Trimmed::BySize);
    // A single info that is larger than the budget is delivered, but not stored.
    worker.follow("a");
    worker.publish("a", &"x".repeat(BUDGET));
    assert!(matches!(worker.next(), BrokerEvent::Publication(_)));
    assert!(broker.held().memory_bytes <= BUDGET);
    let (stream, page) = worker.history("a", ReadFrom::Start, 1_000);
    assert_eq!((stream.first, page.len()), (1_002, 0));
}

#[test]
fn the_state_of_a_channel_in_memory_is_freed_last() {
    const BUDGET: usize = 128 << 10;
    let state = State {
        count: 10,
        bytes: 1 << 20,
        age: None,
    };
    let history = History {
        count: 1_000_000,
        bytes: 1 << 30,
        age: None,
    };
    let rules = ChannelRules {
        state,
        history,
        ..ChannelRules::default()
    };
    let broker = memory(BUDGET, RuleBook::everything(rules));
    let mut worker = TestWorker::new(&broker);
    let keyed = |key: &str, data: &str| {
        let mut draft = draft("a", data, None);
        draft.tags = Tags::new([(CONFLATION_TAG, key)]).unwrap();
        draft
    };
    for n in 0..10 {
        worker.try_publish(keyed(&n.to_string(), "value")).unwrap();
    }
    for _ in 0..500 {
        worker.publish("a", &"x".repeat(1_000));
    }
    let id = worker.id();
    let channel = channel("a");
    worker.submit(BrokerRequest::State { id, channel });
    let BrokerEvent::State { values, .. } = worker.answer(id) else {
        panic!()
    };
    assert_eq!(values.len(), 10);
    worker
        .try_publish(keyed("new", &"x".repeat(BUDGET)))
        .unwrap();
    assert!(broker.held().memory_bytes <= BUDGET);
}

#[test]
fn members_and_consumers_count_against_the_budget_until_they_leave() {
    every_broker(1 << 30, |broker| {
        let mut worker = TestWorker::new(broker);
        worker.submit(BrokerRequest::Renew {
            lease: Duration::from_secs(3_600),
        });
        worker.writer_barrier();
        let before = broker.held().memory_bytes;
        let member = |n: u8| Member {
            session: SessionId::from_bytes([n; 16]),
            user: "ann".into(),
            info: "x".repeat(100).into(),
        };
        for round in 0..2 {
            for n in 0..100 {
                worker.submit(BrokerRequest::Join {
                    channel: channel("flow/a"),
                    member: Arc::new(member(n)),
                    generation: round,
                });
            }
            let held = broker.held().memory_bytes - before;
            assert!((20_000..60_000).contains(&held), "{held}");
        }
        for n in 0..100 {
            worker.submit(BrokerRequest::Leave {
                channel: channel("flow/a"),
                session: member(n).session,
                generation: 1,
                grace: Duration::ZERO,
            });
        }
        assert_eq!(broker.held().memory_bytes, before);

        let head = worker.publish("flow/a", "x");
        let before = broker.held().memory_bytes;
        for n in 0..10 {
            let id = worker.id();
            worker.submit(BrokerRequest::Ack {
                id,
                channel: channel("flow/a"),
                scope: "ann".into(),
                consumer: Key::new(&n.to_string()).unwrap(),
                position: Some(head),
            });
            worker.answer(id);
        }
        let held = broker.held().memory_bytes - before;
        assert!((1_000..3_000).contains(&held), "{held}");
    });
}

#[test]
fn at_the_limit_of_channels_a_log_refuses_new_ones_and_existing_ones_continue() {
    let directory = tempfile::tempdir().unwrap();
    let budget = |channels| Budget {
        channels,
        ..Budget::default()
    };
    {
        let broker = log(directory.path(), budget(3), kept(100));
        let mut worker = TestWorker::new(&broker);
        for n in 0..3 {
            worker.publish(&n.to_string(), "x");
        }
        let refused = worker.try_publish(draft("3", "x", None));
        assert_eq!(refused, Err(BrokerFailure::TooManyChannels));
        assert_eq!(worker.publish("2", "x").offset, 2);
        assert_eq!(broker.held().channels, 3);
        assert_eq!(
            broker.health(),
            Health::Good,
            "a stranger's names are no fault of the log"
        );
    }
    let broker = log(directory.path(), budget(3), kept(100));
    let mut worker = TestWorker::new(&broker);
    let refused = worker.try_publish(draft("3", "x", None));
    assert_eq!(
        refused,
        Err(BrokerFailure::TooManyChannels),
        "after a restart"
    );
    drop((worker, broker));
    let mut worker = TestWorker::new(&log(directory.path(), budget(4), kept(100)));
    assert_eq!(worker.publish("3", "x").offset, 1);
}

#[test]
fn at_its_disk_limit_a_log_refuses_publications_and_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let taken = {
        let broker = log(directory.path(), Budget::default(), kept(100));
        let mut worker = TestWorker::new(&broker);
        worker.publish("a", "x");
        broker.tick(at(1_000));
        worker.writer_barrier();
        broker.held().disk_bytes
    };
    assert!(taken > 0);
    let budget = |bytes| Budget {
        disk_bytes: Some(bytes),
        ..Budget::default()
    };
    let broker = log(directory.path(), budget(1), kept(100));
    let mut worker = TestWorker::new(&broker);
    let refused = worker.try_publish(draft("a", "x", None));
    assert_eq!(refused, Err(BrokerFailure::StorageFull));
    assert_eq!(worker.texts("a"), ["x"]);
    let Health::Failing(text) = broker.health() else {
        panic!("{:?}", broker.health())
    };
    assert!(text.contains("storage.disk_bytes allows"), "{text}");
    drop((worker, broker));
    let broker = log(directory.path(), budget(u64::MAX), kept(100));
    let mut worker = TestWorker::new(&broker);
    worker.publish("a", "y");
    assert_eq!(broker.health(), Health::Good);
}

#[test]
fn members_and_sessions_count_as_held_memory() {
    every_broker(1 << 30, |broker| {
        let mut worker = TestWorker::new(broker);
        worker.writer_barrier();
        let held = || broker.held().memory_bytes;
        let nothing = held();
        worker.submit(BrokerRequest::Join {
            channel: channel("kept/a"),
            member: Arc::new(Member {
                session: SessionId::from_bytes([1; 16]),
                user: "ann".into(),
                info: vec![b'1'; 10_000].into(),
            }),
            generation: 1,
        });
        let member = held() - nothing;
        assert!((10_000..12_000).contains(&member), "{member} bytes");
        worker.submit(BrokerRequest::SaveSession {
            id: None,
            session: SessionId::from_bytes([2; 16]),
            bytes: vec![1; 20_000].into(),
            expiry: Duration::from_secs(60),
        });
        let session = held() - nothing - member;
        assert!((20_000..22_000).contains(&session), "{session} bytes");
    });
}
