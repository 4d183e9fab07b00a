//! Retention by count, bytes and age, over every broker; and that disk space is freed.

use std::{os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};

use offhook_brokers::{Broker, Log, LogOptions};
use offhook_engine::*;

use crate::test_worker::{START_MS, TestWorker, at, draft, kept, memory, open_log};

fn every_broker(history: &History, body: impl Fn(&Arc<dyn Broker>)) {
    let rules = ChannelRules {
        history: history.clone(),
        ..ChannelRules::default()
    };
    let rules = RuleBook::everything(rules);
    body(&memory(rules.clone()));
    let directory = tempfile::tempdir().unwrap();
    body(&open_log(directory.path(), rules));
}

const UNBOUNDED: History = History {
    count: u64::MAX / 2,
    bytes: u64::MAX / 2,
    age: None,
};

#[test]
fn retention_by_count_keeps_exactly_the_newest() {
    every_broker(
        &History {
            count: 37,
            ..UNBOUNDED
        },
        |broker| {
            let mut worker = TestWorker::new(broker);
            for n in 1..=200 {
                worker.publish("a", &n.to_string());
                let (stream, _) = worker.history("a", ReadFrom::Start, 1);
                assert_eq!(stream.first, (n + 1_u64).saturating_sub(37).max(1));
            }
            let offsets: Vec<_> = worker.all("a").iter().map(|p| p.position.offset).collect();
            assert_eq!(offsets, (164..=200).collect::<Vec<_>>());
        },
    );
}

#[test]
fn retention_by_bytes_keeps_at_most_the_limit_and_not_much_less() {
    let weight = draft("a", "0123456789", None).weight() as u64;
    every_broker(
        &History {
            bytes: weight * 160,
            ..UNBOUNDED
        },
        |broker| {
            let mut worker = TestWorker::new(broker);
            for _ in 0..1_000 {
                worker.publish("a", "0123456789");
            }
            let kept = worker.all("a");
            assert!((140..=160).contains(&kept.len()), "{}", kept.len());
            assert_eq!(kept.last().unwrap().position.offset, 1_000);
            let (stream, _) = worker.history("a", ReadFrom::Start, 1);
            assert_eq!(stream.trimmed, Trimmed::BySize);
        },
    );
}

#[test]
fn retention_by_bytes_keeps_about_the_limit_with_uneven_sizes() {
    // Publications of all sizes, each far below the limit: what is removed is subtracted from the
    // count, or else everything sealed would be removed.
    every_broker(
        &History {
            bytes: 40_007,
            ..UNBOUNDED
        },
        |broker| {
            let mut worker = TestWorker::new(broker);
            let mut offset = 0;
            for n in 0..900_u32 {
                let data = "x".repeat(1 + (n as usize * 37) % 211);
                offset = worker.publish("a", &data).offset;
                if n < 400 || n % 50 > 0 {
                    continue;
                }
                let kept = worker.all("a");
                let bytes: usize = kept.iter().map(|p| p.weight()).sum();
                // To a sixteenth of the limit.
                assert!((35_000..=42_600).contains(&bytes), "{bytes} bytes at {n}");
                assert_eq!(kept.last().unwrap().position.offset, offset);
            }
            assert_eq!(offset, 900);
        },
    );
}

#[test]
fn removal_by_age_is_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let age = Some(Duration::from_secs(60));
    let rules = ChannelRules {
        history: History { age, ..UNBOUNDED },
        ..ChannelRules::default()
    };
    let open = || open_log(directory.path(), RuleBook::everything(rules.clone()));
    let broker = open();
    let mut worker = TestWorker::new(&broker);
    for second in 0..=100 {
        let mut draft = draft("a", "x", None);
        draft.time_ms = START_MS + second * 1000;
        let id = worker.send(draft);
        worker.answer(id);
    }
    broker.tick(at(100_000));
    worker.writer_barrier();
    let (before, _) = worker.history("a", ReadFrom::Start, 1);
    drop((worker, broker));
    let (after, _) = TestWorker::new(&open()).history("a", ReadFrom::Start, 1);
    assert_eq!((after.first, after.trimmed), (before.first, Trimmed::ByAge));
    assert!(after.first > 30);
}

#[test]
fn removal_by_age_is_reported_as_a_gap_by_age() {
    let age = Some(Duration::from_secs(60));
    every_broker(&History { age, ..UNBOUNDED }, |broker| {
        let mut worker = TestWorker::new(broker);
        for second in 0..=100 {
            let mut draft = draft("a", "x", None);
            draft.time_ms = START_MS + second * 1000;
            let id = worker.send(draft);
            worker.answer(id);
        }
        broker.tick(at(100_000));
        worker.writer_barrier();
        let (stream, page) = worker.history("a", ReadFrom::Start, 1);
        let oldest = page[0].time_ms - START_MS;
        assert!(
            (36_000..=40_000).contains(&oldest),
            "to a sixteenth of the age: {oldest}"
        );
        assert_eq!(stream.trimmed, Trimmed::ByAge);
        broker.tick(at(200_000));
        worker.writer_barrier();
        let (stream, page) = worker.history("a", ReadFrom::Start, 1);
        assert_eq!(
            (stream.first, stream.head.offset, page.len()),
            (102, 101, 0)
        );
        assert_eq!(worker.publish("a", "next").offset, 102);
    });
}

#[test]
fn a_reader_at_a_trimmed_position_is_told_the_oldest_retained_one() {
    every_broker(
        &History {
            count: 5,
            ..UNBOUNDED
        },
        |broker| {
            let mut worker = TestWorker::new(broker);
            for _ in 0..20 {
                worker.publish("a", "x");
            }
            let after = |offset, head: Position| Position { offset, ..head };
            let head = worker.follow("a").head;
            let (stream, start, page) = worker.read("a", ReadFrom::After(after(3, head)), 2);
            assert_eq!((stream.first, page[0].position.offset), (16, 16));
            assert_eq!(start.resolution, Resolution::Continuous);
            assert_eq!(
                (start.agreed, start.after),
                (after(3, head), after(15, head))
            );
        },
    );
}

#[test]
fn trimmed_publications_stay_trimmed_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=5_u64 {
        let mut worker = TestWorker::new(&open_log(directory.path(), kept(50)));
        for n in 0..70 {
            worker.publish("a", &n.to_string());
        }
        let head = round * 70;
        let (stream, _) = worker.history("a", ReadFrom::Start, 1);
        assert_eq!((stream.first, stream.head.offset), (head - 49, head));
        assert_eq!(worker.all("a").len(), 50);
    }
}

#[test]
fn old_publications_are_removed_from_unused_channels() {
    let directory = tempfile::tempdir().unwrap();
    let age = Some(Duration::from_secs(60));
    let rules = ChannelRules {
        history: History { age, ..UNBOUNDED },
        ..ChannelRules::default()
    };
    let open = || open_log(directory.path(), RuleBook::everything(rules.clone()));
    TestWorker::new(&open()).publish("a", "x");
    let broker = open();
    let mut worker = TestWorker::new(&broker);
    // The reader finds it, and the writer removes it.
    for _ in 0..100_000 {
        broker.tick(at(61_000));
        worker.writer_barrier();
        if worker.history("a", ReadFrom::Start, 1).0.first == 2 {
            break;
        }
    }
    drop((worker, broker));
    let (stream, _) = TestWorker::new(&open()).history("a", ReadFrom::Start, 1);
    assert_eq!((stream.first, stream.head.offset), (2, 1));
}

#[test]
fn disk_usage_is_bounded_while_far_more_than_is_retained_is_published() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open_log(directory.path(), kept(500));
    let mut worker = TestWorker::new(&broker);
    let data = "x".repeat(4096);
    let mut sent = Vec::new();
    for n in 0..60_000 {
        sent.push(worker.send(draft(&format!("channel {}", n % 4), &data, None)));
        if sent.len() == 512 {
            for id in sent.drain(..) {
                assert!(matches!(worker.answer(id), BrokerEvent::Published { .. }));
            }
        }
    }
    // 8 MB are retained of 245 written, plus journals of 128 MB, a memtable of 16 MB and what waits
    // for compaction.
    let used = used(directory.path()) >> 20;
    println!("245 MB written, 8 MB retained, {used} MB on disk");
    assert!(used < 220, "{used} MB on disk");
}

/// Bytes on disk: journals are allocated sparsely.
fn used(path: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).unwrap() {
        // The store removes files while they are counted.
        let Ok(entry) = entry else { continue };
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        bytes += if metadata.is_dir() {
            used(&entry.path())
        } else {
            metadata.blocks() * 512
        };
    }
    bytes
}

const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;
const MONTH_MS: u64 = 30 * 24 * 3600 * 1000;

/// A moment on a wall clock that is wrong by so much.
fn wrong(ms: u64, by_ms: i64) -> Now {
    let Now { instant, unix_ms } = at(ms);
    let unix_ms = unix_ms.saturating_add_signed(by_ms);
    Now { instant, unix_ms }
}

impl TestWorker {
    /// Publishes with the time that the wall clock shows.
    fn publish_at(&mut self, name: &str, now: Now) {
        let mut draft = draft(name, "x", None);
        draft.time_ms = now.unix_ms;
        let id = self.send(draft);
        self.answer(id);
    }

    /// Ticks once, and some times more so that every channel is looked at.
    fn tick_until(&mut self, now: Now, name: &str, kept: usize) {
        for _ in 0..100_000 {
            let broker = Arc::clone(&self.broker);
            broker.tick(now);
            self.writer_barrier();
            if self.history(name, ReadFrom::Start, 10).1.len() == kept {
                return;
            }
        }
        panic!("there are not {kept}");
    }
}

/// With a clock that was corrected by a month, the history of a week was gone after hours, or stayed for
/// a month.
#[test]
fn a_wall_clock_that_is_corrected_lets_history_neither_go_early_nor_stay() {
    let age = Some(Duration::from_millis(WEEK_MS));
    let hour = 3_600_000;
    for by in [MONTH_MS as i64, -(MONTH_MS as i64)] {
        every_broker(&History { age, ..UNBOUNDED }, |broker| {
            let mut worker = TestWorker::new(broker);
            worker.publish_at("a", at(0));
            broker.tick(wrong(1_000, by));
            worker.writer_barrier();
            worker.publish_at("a", wrong(1_500, by));
            // A day in which the broker would have believed a whole month.
            for ticks in 1..=24 {
                broker.tick(wrong(ticks * hour, by));
                worker.writer_barrier();
            }
            assert_eq!(worker.all("a").len(), 2);
            // The rest of the week but a minute, and a minute more than a week.
            broker.tick(wrong(WEEK_MS - 60_000, by));
            worker.writer_barrier();
            assert_eq!(worker.all("a").len(), 2);
            worker.tick_until(wrong(WEEK_MS + 60_000, by), "a", 0);
        });
    }
}

#[test]
fn history_of_before_a_step_of_the_clock_has_its_age_also_after_a_restart() {
    let age = Some(Duration::from_millis(WEEK_MS));
    let rules = RuleBook::everything(ChannelRules {
        history: History { age, ..UNBOUNDED },
        ..ChannelRules::default()
    });
    for by in [MONTH_MS as i64, -(MONTH_MS as i64)] {
        let directory = tempfile::tempdir().unwrap();
        {
            let broker = open_log(directory.path(), rules.clone());
            let mut worker = TestWorker::new(&broker);
            worker.publish_at("a", at(0));
            broker.tick(wrong(1_000, by));
            worker.writer_barrier();
        }
        let open = |now| -> Arc<dyn Broker> {
            let options = LogOptions::new(directory.path());
            Arc::new(Log::open(options, Arc::new(rules.clone()), now).unwrap())
        };
        let broker = open(wrong(10_000, by));
        let mut worker = TestWorker::new(&broker);
        broker.tick(wrong(WEEK_MS - 60_000, by));
        worker.writer_barrier();
        assert_eq!(worker.all("a").len(), 1, "{by}");
        worker.tick_until(wrong(WEEK_MS + 60_000, by), "a", 0);
    }
}

#[test]
fn values_of_a_state_have_their_age_whatever_becomes_of_the_clock() {
    let rules = RuleBook::everything(ChannelRules {
        state: State {
            count: 10,
            bytes: 1 << 20,
            age: Some(Duration::from_millis(WEEK_MS)),
        },
        ..ChannelRules::default()
    });
    let values = |worker: &mut TestWorker| {
        let id = worker.id();
        let channel = crate::test_worker::channel("a");
        worker.submit(BrokerRequest::State { id, channel });
        match worker.answer(id) {
            BrokerEvent::State { values, .. } => values.len(),
            other => panic!("{other:?}"),
        }
    };
    for by in [MONTH_MS as i64, -(MONTH_MS as i64)] {
        let directory = tempfile::tempdir().unwrap();
        for broker in [
            memory(rules.clone()),
            open_log(directory.path(), rules.clone()),
        ] {
            let mut worker = TestWorker::new(&broker);
            let mut draft = draft("a", "x", None);
            draft.tags = Tags::new([(CONFLATION_TAG, "k")]).unwrap();
            let id = worker.send(draft);
            worker.answer(id);
            broker.tick(wrong(1_000, by));
            broker.tick(wrong(WEEK_MS - 60_000, by));
            worker.writer_barrier();
            assert_eq!(values(&mut worker), 1, "{by}");
            for _ in 0..20 {
                broker.tick(wrong(WEEK_MS + 60_000, by));
                worker.writer_barrier();
            }
            assert_eq!(values(&mut worker), 0, "{by}");
        }
    }
}

/// A clock that is wrong for a moment took a week's history of every channel, and all keys.
#[test]
fn a_wall_clock_that_steps_forward_removes_neither_history_nor_keys() {
    let age = Some(Duration::from_secs(7 * 24 * 3600));
    every_broker(&History { age, ..UNBOUNDED }, |broker| {
        let mut worker = TestWorker::new(broker);
        worker.publish_keyed("a", "x", Some("k"));
        for second in 1..30 {
            let mut told = at(second * 1_000);
            told.unix_ms += MONTH_MS;
            broker.tick(told);
            worker.writer_barrier();
        }
        assert_eq!(worker.texts("a"), ["x"]);
        assert!(
            worker.publish_keyed("a", "x", Some("k")).1,
            "its key is known"
        );
        broker.tick(at(31_000));
        worker.writer_barrier();
        assert_eq!(worker.texts("a"), ["x"]);
        // A week that really passes takes it away.
        let day = 24 * 3600 * 1000;
        for _ in 0..100_000 {
            broker.tick(at(31_000 + 8 * day));
            worker.writer_barrier();
            if worker.history("a", ReadFrom::Start, 1).1.is_empty() {
                return;
            }
        }
        panic!("it is still there");
    });
}
