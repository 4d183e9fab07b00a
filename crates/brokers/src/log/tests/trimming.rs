//! How much of a long channel goes with one batch, and that all of it goes.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use offhook_engine::*;

use super::{GATE, TestWorker, now};
use crate::log::{
    Log, LogOptions,
    store::{Size, Store},
    writer::A_BATCH,
};

const KEPT: u64 = 32_000;

fn open(path: &Path, sizes: &Arc<Mutex<Vec<Size>>>) -> Arc<Log> {
    let history = History {
        count: KEPT,
        bytes: u64::MAX,
        age: None,
    };
    open_with(path, sizes, history)
}

fn open_with(path: &Path, sizes: &Arc<Mutex<Vec<Size>>>, history: History) -> Arc<Log> {
    let sizes = Arc::clone(sizes);
    GATE.set(Some(Arc::new(move |size| sizes.lock().unwrap().push(size))));
    let rules = ChannelRules {
        history,
        ..ChannelRules::default()
    };
    let rules = Arc::new(RuleBook::everything(rules));
    Arc::new(Log::open(LogOptions::new(path), rules, now()).unwrap())
}

/// Publications of all channels that are on the disk.
fn on_disk(path: &Path) -> usize {
    let store = Store::open_quietly(&LogOptions::new(path)).unwrap();
    assert!(store.removals().unwrap().is_empty(), "something is left");
    let mut count = 0;
    let count_one = |_: &[u8], _: &[u8]| {
        count += 1;
        true
    };
    store.read(0, 0, count_one).unwrap();
    count
}

#[test]
fn a_large_bucket_is_removed_in_small_steps_and_completely() {
    let directory = tempfile::tempdir().unwrap();
    let sizes = Arc::default();
    let log = open(directory.path(), &sizes);
    let mut worker = TestWorker::new(&log);
    // A bucket holds 2,000: the first of them goes when all are full.
    let publish = |worker: &mut TestWorker, count: u64| {
        for _ in 0..count / 500 {
            for _ in 0..500 {
                worker.publish("a");
            }
            for _ in 0..500 {
                worker.published().unwrap();
            }
        }
    };
    publish(&mut worker, KEPT + 2_000);
    // One at a time: the removals happen alongside them.
    for _ in 0..10 {
        worker.publish("a");
        worker.published().unwrap();
    }
    let sizes = sizes.lock().unwrap().clone();
    let removed: u64 = sizes.iter().map(|size| size.removed).sum();
    assert_eq!(removed, 2_000, "all of it went");
    for size in sizes {
        assert!(size.removed <= A_BATCH + 2 * size.published, "{size:?}");
    }
    drop((worker, log));
    assert_eq!(on_disk(directory.path()) as u64, KEPT + 10);
}

#[test]
fn an_unfinished_removal_continues_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    {
        let log = open(directory.path(), &Arc::default());
        let mut worker = TestWorker::new(&log);
        for _ in 0..(KEPT + 2_000) / 500 - 1 {
            for _ in 0..500 {
                worker.publish("a");
            }
            for _ in 0..500 {
                worker.published().unwrap();
            }
        }
        // One after the other: the bucket is sealed by the last, whose batch removes a part of the
        // oldest.
        for _ in 0..500 {
            worker.publish("a");
            worker.published().unwrap();
        }
    }
    let store = Store::open_quietly(&LogOptions::new(directory.path())).unwrap();
    let left = store.removals().unwrap();
    assert_eq!(left.len(), 1, "the rest is known: {left:?}");
    drop(store);
    let sizes: Arc<Mutex<Vec<Size>>> = Arc::default();
    let log = open(directory.path(), &sizes);
    let ticks = 2_000_u64.div_ceil(A_BATCH) + 1;
    let mut worker = TestWorker::new(&log);
    for _ in 0..ticks {
        crate::Broker::tick(&*log, now());
        // Waits for the tick before.
        let id = worker.id();
        let (channel, consumer) = (super::channel("b"), Key::new("none").unwrap());
        worker.submit(BrokerRequest::Ack {
            id,
            channel,
            scope: "".into(),
            consumer,
            position: None,
        });
        assert!(matches!(worker.next(), BrokerEvent::Acked { .. }));
    }
    drop((worker, log));
    for size in sizes.lock().unwrap().iter() {
        assert!(size.removed <= A_BATCH, "{size:?}");
    }
    assert_eq!(on_disk(directory.path()) as u64, KEPT);
}

/// Before, what was in no bucket yet was judged by its age alone.
#[test]
fn less_history_is_applied_to_channels_that_nobody_uses() {
    let long = History {
        count: 10_000,
        bytes: 4 << 20,
        // The publications of these tests are those of 1970.
        age: Some(Duration::from_secs(100 * 365 * 24 * 60 * 60)),
    };
    let fewer = History {
        count: 10,
        ..long.clone()
    };
    let smaller = History {
        bytes: 1_000,
        ..long.clone()
    };
    let ageless = History {
        age: None,
        ..fewer.clone()
    };
    for shorter in [fewer, smaller, ageless] {
        let directory = tempfile::tempdir().unwrap();
        {
            let log = open_with(directory.path(), &Arc::default(), long.clone());
            let mut worker = TestWorker::new(&log);
            for _ in 0..150 {
                worker.publish("a");
                worker.published().unwrap();
            }
        }
        let sizes = Arc::<Mutex<Vec<Size>>>::default();
        let log = open_with(directory.path(), &sizes, shorter.clone());
        let mut worker = TestWorker::new(&log);
        let removed = || {
            let sizes = sizes.lock().unwrap();
            sizes.iter().map(|size| size.removed).sum::<u64>()
        };
        for _ in 0..100_000 {
            if removed() >= 130 {
                break;
            }
            crate::Broker::tick(&*log, now());
            let id = worker.id();
            worker.submit(BrokerRequest::Ack {
                id,
                channel: super::channel("b"),
                scope: "".into(),
                consumer: Key::new("none").unwrap(),
                position: None,
            });
            assert!(matches!(worker.next(), BrokerEvent::Acked { .. }));
        }
        drop((worker, log));
        let left = on_disk(directory.path());
        assert!(left <= 20, "{left} are left with {shorter:?}");
    }
}
