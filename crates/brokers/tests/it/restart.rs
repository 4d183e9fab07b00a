//! What a restart of the log keeps: everything.

use offhook_brokers::{Log, LogOptions, OpenError};
use offhook_engine::*;
use std::sync::Arc;

use crate::test_worker::{TestWorker, at, kept, open_log};

#[test]
fn epochs_offsets_history_and_keys_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut before = Vec::new();
    for round in 0..4 {
        let broker = open_log(directory.path(), kept(100));
        let mut worker = TestWorker::new(&broker);
        assert_eq!(worker.all("a"), before);
        assert_eq!(worker.publish_keyed("a", "0", Some("first")).1, round > 0);
        for n in 0..5 {
            worker.publish("a", &format!("{round}.{n}"));
        }
        before = worker.all("a");
    }
    let offsets: Vec<_> = before.iter().map(|p| p.position.offset).collect();
    assert_eq!(offsets, (1..=21).collect::<Vec<_>>());
    let epochs: Vec<_> = before.iter().map(|p| p.position.epoch.0).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    let starts = before.iter().filter(|p| !p.follows_in_epoch()).count();
    assert_eq!(starts, 3, "each restart began an epoch");
}

#[test]
fn the_position_of_a_channel_without_publications_is_valid_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let follow = || TestWorker::new(&open_log(directory.path(), kept(100))).follow("a");
    assert_eq!(follow(), follow());
}

#[test]
fn many_channels_stay_separate_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let mut worker = TestWorker::new(&open_log(directory.path(), kept(100)));
        for n in 0..50 {
            worker.publish(&format!("channel {n}"), &format!("{n} in {round}"));
        }
    }
    let mut worker = TestWorker::new(&open_log(directory.path(), kept(100)));
    for n in 0..50 {
        let texts = worker.texts(&format!("channel {n}"));
        assert_eq!(texts, [format!("{n} in 0"), format!("{n} in 1")]);
    }
}

#[test]
fn channels_without_history_start_anew_and_store_nothing_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut epochs = Vec::new();
    for start in [0, 1] {
        let options = LogOptions::new(directory.path());
        let log = Log::open(options, Arc::new(kept(100)), at(start)).unwrap();
        let broker: Arc<dyn offhook_brokers::Broker> = Arc::new(log);
        let mut worker = TestWorker::new(&broker);
        let position = worker.publish("flow/a", "x");
        assert_eq!(position.offset, 1);
        epochs.push(position.epoch);
    }
    assert_ne!(epochs[0], epochs[1]);
}

#[test]
fn opening_a_log_in_use_by_another_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open_log(directory.path(), kept(100));
    let second = Log::open(
        LogOptions::new(directory.path()),
        Arc::new(kept(100)),
        at(0),
    );
    let error = second.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("another process uses this log"));
}

#[test]
fn publications_queued_before_the_log_is_dropped_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open_log(directory.path(), kept(10_000));
    let mut worker = TestWorker::new(&broker);
    for n in 0..1_000 {
        worker.send(crate::test_worker::draft("a", &n.to_string(), None));
    }
    drop((worker, broker));
    let mut worker = TestWorker::new(&open_log(directory.path(), kept(10_000)));
    assert_eq!(worker.texts("a").len(), 1_000);
}

#[test]
fn a_log_with_relaxed_durability_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let mut options = LogOptions::new(directory.path());
        options.durability = offhook_brokers::Durability::Os;
        let log = Log::open(options, Arc::new(kept(100)), at(0)).unwrap();
        let broker: Arc<dyn offhook_brokers::Broker> = Arc::new(log);
        TestWorker::new(&broker)
    };
    open().publish("a", "x");
    assert_eq!(open().texts("a"), ["x"]);
}

#[test]
fn a_publication_for_which_the_queue_has_no_room_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = LogOptions::new(directory.path());
    options.queue_count = 0;
    let log = Log::open(options, Arc::new(kept(100)), at(0)).unwrap();
    let broker: Arc<dyn offhook_brokers::Broker> = Arc::new(log);
    let mut worker = TestWorker::new(&broker);
    let id = worker.id();
    let draft = crate::test_worker::draft("a", "x", None);
    let publish = BrokerRequest::Publish { id, draft };
    let left = broker.submit(worker.worker_id, publish.clone());
    assert_eq!(left, Some(publish));
}
