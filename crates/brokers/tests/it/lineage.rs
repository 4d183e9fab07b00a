//! Positions over restarts, restored copies and lost writes: valid up to where their epoch ended.

use std::{fs, path::Path, sync::Arc};

use offhook_brokers::{Broker, Durability, Log, LogOptions};
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, every_broker, kept, open_log};

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn publish(worker: &mut TestWorker, name: &str, what: &str, count: u64) -> Position {
    let mut last = worker.follow(name).head;
    for n in 0..count {
        last = worker.publish(name, &format!("{what} {n}"));
    }
    last
}

fn start_after(worker: &mut TestWorker, name: &str, position: Position) -> ReadStart {
    worker.read(name, ReadFrom::After(position), 1).1
}

#[test]
fn every_publication_names_its_predecessor_and_sequences_increase_over_all_channels() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        for name in ["a", "b", "flow/c"] {
            worker.follow(name);
        }
        for n in 0..12 {
            worker.publish(["a", "b", "flow/c"][n % 3], "x");
        }
        let mut last = std::collections::HashMap::new();
        let mut sequence = 0;
        for event in worker.rest() {
            let BrokerEvent::Publication(publication) = event else {
                panic!("{event:?}")
            };
            let before = last.insert(publication.channel.clone(), publication.position);
            let expected = before.unwrap_or(Position {
                offset: 0,
                ..publication.position
            });
            assert_eq!(publication.previous, expected);
            assert!(publication.sequence > sequence);
            sequence = publication.sequence;
        }
        assert_eq!(last.len(), 3);
        let read: Vec<_> = worker.all("a").iter().map(|p| p.sequence).collect();
        assert!(read.is_sorted_by(|a, b| a < b), "{read:?}");
    });
}

#[test]
fn a_position_with_an_unknown_epoch_is_followed_by_everything_retained() {
    every_broker(&kept(5), |broker| {
        let mut worker = TestWorker::new(broker);
        let head = publish(&mut worker, "a", "x", 8);
        let other = Position::new(head.epoch.0 + 77, 7);
        let (_, start, page) = worker.read("a", ReadFrom::After(other), 100);
        assert_eq!(start.resolution, Resolution::UnknownEpoch);
        assert_eq!((start.agreed.offset, start.after.offset), (0, 3));
        assert_eq!(page.len(), 5);
    });
}

#[test]
fn a_position_ahead_of_the_head_is_answered_with_the_head() {
    every_broker(&kept(5), |broker| {
        let mut worker = TestWorker::new(broker);
        let head = publish(&mut worker, "a", "x", 8);
        let ahead = Position { offset: 9, ..head };
        let (_, start, page) = worker.read("a", ReadFrom::After(ahead), 100);
        assert_eq!(start.resolution, Resolution::AheadOfHead);
        assert_eq!((start.agreed, start.after), (head, head));
        assert!(page.is_empty());
    });
}

#[test]
fn after_a_clean_restart_every_position_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let mut positions = Vec::new();
    for life in 0..4 {
        let mut worker = TestWorker::new(&open_log(directory.path(), kept(100)));
        positions.push(worker.follow("a").head);
        for _ in 0..5 {
            // Every second life publishes nothing.
            if life % 2 == 0 {
                positions.push(worker.publish("a", "x"));
            }
        }
        let head = worker.follow("a").head;
        assert_eq!(head, *positions.last().unwrap());
        for position in &positions {
            let start = start_after(&mut worker, "a", *position);
            assert_eq!(start, ReadStart::at(*position));
        }
        assert_eq!(worker.all("a").len() as u64, head.offset);
    }
}

#[test]
fn an_epoch_without_publications_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let first = publish(
        &mut TestWorker::new(&open_log(directory.path(), kept(100))),
        "a",
        "x",
        3,
    );
    // This life publishes only in another channel, and so its epoch is known.
    let quiet = TestWorker::new(&open_log(directory.path(), kept(100))).publish("b", "x");
    let mut worker = TestWorker::new(&open_log(directory.path(), kept(100)));
    publish(&mut worker, "a", "y", 3);
    let place = |offset| Position { offset, ..quiet };
    let start = start_after(&mut worker, "a", place(3));
    assert_eq!(start, ReadStart::at(first), "as the stream calls it");
    let start = start_after(&mut worker, "a", place(4));
    assert_eq!(start.resolution, Resolution::Diverged);
    assert_eq!(start.agreed, first);
}

#[test]
fn a_restored_backup_causes_a_gap_of_exactly_the_missing_publications() {
    let directory = tempfile::tempdir().unwrap();
    let (live, backup) = (directory.path().join("live"), directory.path().join("copy"));
    let kept_60 = publish(
        &mut TestWorker::new(&open_log(&live, kept(1000))),
        "a",
        "one",
        60,
    );
    copy(&live, &backup);
    // A restart that the copy does not know, and 30 more publications.
    let at_90 = publish(
        &mut TestWorker::new(&open_log(&live, kept(1000))),
        "a",
        "one",
        30,
    );
    let restored = open_log(&backup, kept(1000));
    let mut worker = TestWorker::new(&restored);
    publish(&mut worker, "a", "other", 60);
    // The epoch of the 30 is unknown here: nothing is known to be shared.
    let start = start_after(&mut worker, "a", at_90);
    assert_eq!(start.resolution, Resolution::UnknownEpoch);
    // A reader that was at 60 can continue from there.
    let start = start_after(&mut worker, "a", kept_60);
    assert_eq!(start, ReadStart::at(kept_60));
}

#[test]
fn after_restoring_a_backup_of_the_same_epoch_a_later_position_is_told_where_the_streams_diverged()
{
    let directory = tempfile::tempdir().unwrap();
    let (live, backup) = (directory.path().join("live"), directory.path().join("copy"));
    let mut worker = TestWorker::new(&open_log(&live, kept(1000)));
    let at_60 = publish(&mut worker, "a", "one", 60);
    // As a snapshot of the file system copies a server that keeps running.
    copy(&live, &backup);
    let at_90 = publish(&mut worker, "a", "one", 30);
    assert_eq!(at_60.epoch, at_90.epoch);
    drop(worker);
    let mut worker = TestWorker::new(&open_log(&backup, kept(1000)));
    let other = publish(&mut worker, "a", "other", 60);
    let (_, start, page) = worker.read("a", ReadFrom::After(at_90), 1000);
    assert_eq!(start.resolution, Resolution::Diverged);
    assert_eq!((start.agreed, start.after), (at_60, at_60));
    assert_eq!(page.len(), 60);
    assert_eq!((page[0].previous, page[59].position), (at_60, other));
    assert_eq!(page[0].data, "other 0");
    // Backward it ends where both streams agree.
    let (_, start, page) = worker.read("a", ReadFrom::Before(at_90), 10);
    assert_eq!(start.resolution, Resolution::Diverged);
    assert_eq!((start.agreed, page[9].position), (at_60, at_60));
    assert_eq!(page[0].previous, start.after);
}

#[test]
fn two_restores_of_one_copy_start_different_epochs_even_after_the_clock_stepped_back() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    publish(
        &mut TestWorker::new(&open_log(&original, kept(10))),
        "a",
        "x",
        1,
    );
    let mut epochs = std::collections::BTreeSet::new();
    for n in 0..8 {
        let restored = directory.path().join(n.to_string());
        copy(&original, &restored);
        let mut before = at(0);
        before.unix_ms -= 3_600_000;
        let log = Log::open(LogOptions::new(&restored), Arc::new(kept(10)), before).unwrap();
        let broker: Arc<dyn Broker> = Arc::new(log);
        let position = TestWorker::new(&broker).publish("a", "y");
        assert!(position.epoch.0 < 1 << 53, "JavaScript reads it exactly");
        epochs.insert(position.epoch.0);
    }
    assert_eq!(epochs.len(), 8);
}

#[test]
fn with_relaxed_durability_a_power_cut_is_reported_as_a_divergence() {
    let directory = tempfile::tempdir().unwrap();
    let (live, survived) = (directory.path().join("live"), directory.path().join("left"));
    let open = |path: &Path| -> Arc<dyn Broker> {
        let mut options = LogOptions::new(path);
        options.durability = Durability::Os;
        Arc::new(Log::open(options, Arc::new(kept(100)), at(0)).unwrap())
    };
    let mut worker = TestWorker::new(&open(&live));
    let synced = publish(&mut worker, "a", "x", 10);
    // What the disk holds after a power failure: neither the journal's end nor the witness.
    copy(&live, &survived);
    let acknowledged = publish(&mut worker, "a", "x", 10);
    drop(worker);
    let mut worker = TestWorker::new(&open(&survived));
    publish(&mut worker, "a", "other", 10);
    let start = start_after(&mut worker, "a", acknowledged);
    assert_eq!(start.resolution, Resolution::Diverged);
    assert_eq!(start.agreed, synced);
}

#[test]
fn epochs_trimmed_long_ago_are_discarded_and_their_positions_are_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let mut ends = Vec::new();
    for _ in 0..40 {
        let mut worker = TestWorker::new(&open_log(directory.path(), kept(2)));
        ends.push(publish(&mut worker, "a", "x", 2));
    }
    let mut worker = TestWorker::new(&open_log(directory.path(), kept(2)));
    let resolved: Vec<_> = ends
        .iter()
        .map(|end| start_after(&mut worker, "a", *end).resolution)
        .collect();
    let known = resolved.iter().position(|r| *r == Resolution::Continuous);
    assert!((10..30).contains(&known.unwrap()), "{known:?}");
    assert!(
        resolved[known.unwrap()..]
            .iter()
            .all(|r| *r == Resolution::Continuous)
    );
    assert_eq!(resolved[0], Resolution::UnknownEpoch);
    assert_eq!(worker.all("a").len(), 2);
}
