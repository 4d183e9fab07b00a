//! Large states are read in parts, between which other reads go on, and as they were at one moment.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use offhook_engine::*;

use super::{Fsyncs, READ_GATE, TestWorker, channel, now};
use crate::log::{Log, LogOptions, states::VALUES};

/// A log whose reads wait at their nth part.
fn open(path: &std::path::Path, held_at: usize, held: &Arc<Fsyncs>) -> Arc<Log> {
    let (held, parts) = (Arc::clone(held), AtomicUsize::new(0));
    READ_GATE.set(Some(Arc::new(move || {
        if parts.fetch_add(1, Ordering::SeqCst) + 1 == held_at {
            held.pass();
        }
    })));
    let rules = ChannelRules {
        state: State {
            count: 100_000,
            bytes: 1 << 30,
            age: None,
        },
        ..ChannelRules::default()
    };
    let rules = Arc::new(RuleBook::everything(rules));
    Arc::new(Log::open(LogOptions::new(path), rules, now()).unwrap())
}

/// The values that need so many parts.
fn values_of(parts: usize) -> usize {
    (parts - 1) * VALUES + 1
}

impl TestWorker {
    fn set(&mut self, name: &str, key: usize, data: &str) {
        let id = self.id();
        let draft = Draft {
            channel: channel(name),
            data: data.to_owned().into(),
            format: Format::Text,
            tags: Tags::new([(CONFLATION_TAG, &*format!("{key:06}"))]).unwrap(),
            publisher: None,
            key: None,
            time_ms: 1,
        };
        self.submit(BrokerRequest::Publish { id, draft });
    }

    /// Gives a channel so many values; the last of the answers is awaited.
    fn fill(&mut self, name: &str, count: usize) {
        for key in 0..count {
            self.set(name, key, "old");
        }
        for _ in 0..count {
            self.published().unwrap();
        }
    }

    fn ask_for_state(&mut self, name: &str) {
        let id = self.id();
        let channel = channel(name);
        self.submit(BrokerRequest::State { id, channel });
    }

    fn ask_for_some_history(&mut self, name: &str) {
        let id = self.id();
        self.submit(BrokerRequest::History {
            id,
            channel: channel(name),
            from: ReadFrom::Start,
            limit: ReadLimit {
                count: 1,
                bytes: 1 << 20,
            },
        });
    }
}

#[test]
fn a_large_state_does_not_block_other_reads() {
    let directory = tempfile::tempdir().unwrap();
    let held = Arc::new(Fsyncs::default());
    let log = open(directory.path(), 1, &held);
    let mut worker = TestWorker::new(&log);
    worker.fill("a", values_of(6));
    held.hold();
    worker.ask_for_state("a");
    held.wait_for_one();
    for _ in 0..4 {
        worker.ask_for_some_history("a");
    }
    held.let_go();
    for n in 0..4 {
        let next = worker.next();
        assert!(matches!(next, BrokerEvent::History { .. }), "{n}");
    }
    let BrokerEvent::State { values, .. } = worker.next() else {
        panic!("the state comes after what was asked for while it was read")
    };
    assert_eq!(values.len(), values_of(6));
}

#[test]
fn the_states_of_a_filter_do_not_block_other_reads_if_one_is_large() {
    let directory = tempfile::tempdir().unwrap();
    let held = Arc::new(Fsyncs::default());
    let log = open(directory.path(), 1, &held);
    let mut worker = TestWorker::new(&log);
    worker.fill("a", values_of(6));
    worker.fill("b", 2);
    // A read of history occupies the reader until all others are queued.
    held.hold();
    worker.ask_for_some_history("b");
    held.wait_for_one();
    let id = worker.id();
    worker.submit(BrokerRequest::Values {
        id,
        filter: Filter::new("#").unwrap(),
        after: None,
        limit: ReadLimit {
            count: 100_000,
            bytes: 1 << 30,
        },
    });
    for _ in 0..4 {
        worker.ask_for_some_history("a");
    }
    held.let_go();
    for n in 0..5 {
        let next = worker.next();
        assert!(matches!(next, BrokerEvent::History { .. }), "{n}");
    }
    let BrokerEvent::Values { values, next, .. } = worker.next() else {
        panic!("the states come after what was asked for while they were read")
    };
    assert_eq!((values.len(), next), (values_of(6) + 2, None));
    let channels = values.chunk_by(|one, other| one.channel == other.channel);
    assert_eq!(channels.count(), 2, "by whole channels");
}

#[test]
fn a_state_that_is_read_in_parts_is_that_of_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let held = Arc::new(Fsyncs::default());
    let log = open(directory.path(), 2, &held);
    let mut worker = TestWorker::new(&log);
    let mut reader = TestWorker::new(&log);
    let count = values_of(3);
    worker.fill("a", count);
    held.hold();
    reader.ask_for_state("a");
    held.wait_for_one();
    // One part was read, two were not: a value of each is replaced, one is removed, and one is new.
    worker.set("a", 0, "new");
    worker.set("a", count - 1, "new");
    worker.set("a", count - 2, "");
    worker.set("a", count, "new");
    for _ in 0..4 {
        worker.published().unwrap();
    }
    held.let_go();
    let BrokerEvent::State { stream, values, .. } = reader.next() else {
        panic!()
    };
    assert_eq!(stream.head.offset, count as u64);
    assert_eq!(values.len(), count);
    assert!(values.iter().all(|value| &*value.data == b"old"));
    assert!(values.is_sorted_by_key(|value| value.position.offset));
    reader.ask_for_state("a");
    let BrokerEvent::State { stream, values, .. } = reader.next() else {
        panic!()
    };
    assert_eq!(stream.head.offset, count as u64 + 4);
    let new = values.iter().filter(|value| &*value.data == b"new");
    assert_eq!((values.len(), new.count()), (count, 3));
}
