//! States of sessions: kept for a limited time while nobody is connected.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use offhook_brokers::{Broker, Log, LogOptions};
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, every_broker, kept, open_log};

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

impl TestWorker {
    fn save(&self, n: u8, bytes: impl Into<Bytes>, seconds: u64) {
        self.submit(BrokerRequest::SaveSession {
            id: None,
            session: session(n),
            bytes: bytes.into(),
            expiry: Duration::from_secs(seconds),
        });
    }

    fn load(&mut self, n: u8) -> Option<Bytes> {
        let id = self.id();
        let session = session(n);
        self.submit(BrokerRequest::LoadSession { id, session });
        match self.answer(id) {
            BrokerEvent::Session { bytes, .. } => bytes,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_session_is_loaded_as_last_saved_until_it_is_dropped() {
    every_broker(&kept(10), |broker| {
        let mut worker = TestWorker::new(broker);
        assert_eq!(worker.load(1), None);
        worker.save(1, "one", 60);
        worker.save(2, "other", 60);
        worker.save(1, "one more", 60);
        assert_eq!(worker.load(1).unwrap(), "one more");
        let session = session(1);
        worker.submit(BrokerRequest::DropSession { session });
        worker.submit(BrokerRequest::DropSession { session });
        assert_eq!(worker.load(1), None);
        assert_eq!(worker.load(2).unwrap(), "other");
    });
}

#[test]
fn a_session_expires_and_saving_it_restarts_its_time() {
    every_broker(&kept(10), |broker| {
        let mut worker = TestWorker::new(broker);
        worker.save(1, "short", 60);
        worker.save(2, "renewed", 60);
        broker.tick(at(30_000));
        worker.save(2, "renewed", 60);
        broker.tick(at(59_999));
        assert!(worker.load(1).is_some());
        broker.tick(at(60_000));
        assert_eq!(worker.load(1), None);
        assert!(worker.load(2).is_some());
        broker.tick(at(90_000));
        assert_eq!(worker.load(2), None);
    });
}

#[test]
fn above_the_limit_in_bytes_the_sessions_that_expire_first_are_discarded() {
    every_broker(&kept(10), |broker| {
        let mut worker = TestWorker::new(broker);
        let large = Bytes::from(vec![b'x'; 1 << 20]);
        for n in 0..80 {
            worker.save(n, large.clone(), 1000 + u64::from(n));
        }
        let kept = (0..80).filter(|n| worker.load(*n).is_some()).count();
        assert!((60..=64).contains(&kept), "{kept}");
        assert_eq!(worker.load(0), None);
        assert!(worker.load(79).is_some());
        // The space of the removed ones is free again.
        worker.save(80, large, 5000);
        assert!(worker.load(80).is_some());
    });
}

#[test]
fn sessions_their_expiry_and_their_removal_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    {
        let broker = open_log(directory.path(), kept(10));
        let worker = TestWorker::new(&broker);
        worker.save(1, "kept", 60);
        worker.save(2, "dropped", 60);
        worker.save(3, "short", 1);
    }
    {
        let broker = open_log(directory.path(), kept(10));
        let mut worker = TestWorker::new(&broker);
        assert_eq!(worker.load(2).unwrap(), "dropped");
        let session = session(2);
        worker.submit(BrokerRequest::DropSession { session });
        broker.tick(at(1_000));
        assert_eq!(worker.load(3), None);
    }
    let mut worker = TestWorker::new(&open_log(directory.path(), kept(10)));
    assert_eq!(worker.load(1).unwrap(), "kept");
    assert_eq!((worker.load(2), worker.load(3)), (None, None));
}

#[test]
fn a_session_is_written_with_the_next_publication_and_survives_a_kill_after_that() {
    let directory = tempfile::tempdir().unwrap();
    let (live, killed) = (
        directory.path().join("live"),
        directory.path().join("killed"),
    );
    let mut worker = TestWorker::new(&open_log(&live, kept(10)));
    worker.save(1, "state", 60);
    worker.publish("a", "x");
    // The state on disk if the process were killed now.
    crate::lineage::copy(&live, &killed);
    drop(worker);
    let mut worker = TestWorker::new(&open_log(&killed, kept(10)));
    assert_eq!(worker.load(1).unwrap(), "state");
}

#[test]
fn saving_a_session_is_acknowledged_once_it_is_on_disk_without_other_writes() {
    every_broker(&kept(10), |broker| {
        let mut worker = TestWorker::new(broker);
        let id = worker.id();
        worker.submit(BrokerRequest::SaveSession {
            id: Some(id),
            session: session(1),
            bytes: "note".into(),
            expiry: Duration::from_secs(60),
        });
        let answer = worker.answer(id);
        assert!(
            matches!(answer, BrokerEvent::SessionSaved { .. }),
            "{answer:?}"
        );
        assert_eq!(worker.load(1).unwrap(), "note");
    });
}

/// A moment after the wall clock was stepped forward by some hours.
fn stepped(ms: u64, hours: u64) -> Now {
    let Now { instant, unix_ms } = at(ms);
    Now {
        instant,
        unix_ms: unix_ms + hours * 3600 * 1000,
    }
}

#[test]
fn a_session_saved_after_the_clock_was_corrected_survives_a_restart() {
    const MONTH: u64 = 30 * 24;
    let directory = tempfile::tempdir().unwrap();
    {
        let broker = open_log(directory.path(), kept(10));
        let worker = TestWorker::new(&broker);
        broker.tick(stepped(2_000, MONTH));
        worker.save(1, "eight days", 8 * 24 * 3600);
    }
    let options = LogOptions::new(directory.path());
    let log = Log::open(options, Arc::new(kept(10)), stepped(5_000, MONTH)).unwrap();
    let broker: Arc<dyn Broker> = Arc::new(log);
    let mut worker = TestWorker::new(&broker);
    assert_eq!(worker.load(1).unwrap(), "eight days");
    // It is not kept for longer, either.
    broker.tick(stepped(15_000_000, MONTH + 8 * 24 + 1));
    assert_eq!(worker.load(1), None);
}

#[test]
fn keys_and_sessions_age_at_their_own_speed_while_the_clock_catches_up() {
    let hour = ChannelRules {
        key_window: Duration::from_secs(3600),
        history: History::NONE,
        ..ChannelRules::default()
    };
    let mut disk = hour.clone();
    disk.history = History::default();
    let rules = RuleBook::new().with("flow/*", hour).with("*", disk);
    every_broker(&rules, |broker| {
        let mut worker = TestWorker::new(broker);
        // The machine slept for eight hours.
        broker.tick(stepped(1_000, 8));
        worker.save(1, "an hour", 3600);
        for name in ["a", "flow/a"] {
            assert!(!worker.publish_keyed(name, "x", Some("k")).1);
        }
        for second in 2..=76 {
            broker.tick(stepped(second * 1_000, 8));
        }
        for name in ["a", "flow/a"] {
            assert!(worker.publish_keyed(name, "x", Some("k")).1, "{name}");
        }
        assert_eq!(worker.load(1).unwrap(), "an hour");
    });
}
