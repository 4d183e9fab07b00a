//! Numbers of channels and of publications whose record is older than what is on disk, or damaged.

use std::{path::Path, sync::Arc};

use super::{Fsyncs, TestWorker, open};
use crate::log::{LogOptions, store::Store};

/// Writes entries of the keyspace `node` of a closed log.
fn write(path: &Path, entries: &[(&str, &[u8])]) {
    let store = Store::open(&LogOptions::new(path)).unwrap();
    let [.., node] = store.keyspaces();
    for (key, value) in entries {
        node.insert(*key, *value).unwrap();
    }
}

/// Publishes one message in each of these channels.
fn publish_in(path: &Path, names: &[&str]) {
    let mut worker = TestWorker::new(&open(path, &Arc::new(Fsyncs::default())));
    for name in names {
        worker.publish(name);
        worker.published().unwrap();
    }
}

#[test]
fn a_new_channel_never_gets_a_number_in_use_even_if_the_count_is_older_or_unreadable() {
    for count in [&1_u64.to_be_bytes()[..], &0_u64.to_be_bytes(), b"damaged"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        publish_in(path, &["a", "b", "secret"]);
        write(path, &[("channels", count)]);
        publish_in(path, &["new", "newer"]);
        let log = open(path, &Arc::new(Fsyncs::default()));
        let mut worker = TestWorker::new(&log);
        for name in ["a", "b", "secret", "new", "newer"] {
            assert_eq!(worker.history(name), 1, "{name} after {count:?}");
        }
    }
}

#[test]
fn a_log_in_which_an_earlier_version_recorded_no_sequence_number_goes_on_after_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    publish_in(path, &["a", "b"]);
    publish_in(path, &["c"]);
    let before = {
        let store = Store::open(&LogOptions::new(path)).unwrap();
        store.newest().unwrap()
    };
    let batch = before.batch.to_be_bytes();
    let entry = [batch, [0; 8]].concat();
    write(path, &[("batch", &entry[..])]);
    let store = Store::open(&LogOptions::new(path)).unwrap();
    let newest = store.sequence_at(2, 1).unwrap().unwrap();
    assert!(newest > 0);
    let numbers = store.numbers(false).unwrap();
    assert_eq!((numbers.sequence, numbers.channels), (newest, 3));
}
