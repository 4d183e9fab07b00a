//! A log of a version before the manifest is taken over when everything fits together, and refused when
//! something does not.

use std::{fs, path::Path, sync::Arc};

use offhook_engine::*;

use super::{TestWorker, now};
use crate::log::{Log, LogOptions, OpenError, store::Store};

const COUNT: u64 = 40;

fn open(path: &Path) -> Result<Arc<Log>, OpenError> {
    let rules = Arc::new(RuleBook::everything(ChannelRules::default()));
    Log::open(LogOptions::new(path), rules, now()).map(Arc::new)
}

/// A log as the version before the manifest left it: no manifest, no owners, the other witness.
fn older() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    {
        let mut worker = TestWorker::new(&open(directory.path()).unwrap());
        for n in 0..COUNT {
            worker.publish_data(
                &format!("channel {}", n % 4),
                "x".into(),
                Some(&n.to_string()),
            );
            worker.published().unwrap();
        }
    }
    let store = Store::open(&LogOptions::new(directory.path())).unwrap();
    store.disown().unwrap();
    let batch = store.newest().unwrap().batch;
    drop(store);
    fs::remove_file(directory.path().join("manifest")).unwrap();
    let mut witness = batch.to_be_bytes().to_vec();
    witness.extend_from_slice(&(!batch).to_be_bytes());
    fs::write(directory.path().join("witness"), witness).unwrap();
    for keyspace in fs::read_dir(directory.path().join("store/keyspaces"))
        .unwrap()
        .flatten()
    {
        fs::remove_file(keyspace.path().join("owner")).unwrap();
    }
    directory
}

fn is_whole(log: &Arc<Log>) {
    let mut worker = TestWorker::new(log);
    for n in 0..4 {
        assert_eq!(worker.follow(&format!("channel {n}")).offset, COUNT / 4);
    }
    worker.publish_data("channel 0", "x".into(), Some("0"));
    assert!(worker.published().unwrap().1, "keys are there");
}

#[test]
fn a_consistent_log_without_a_manifest_is_accepted_and_gets_one() {
    let directory = older();
    let log = open(directory.path()).unwrap();
    assert!(
        log.warnings()
            .iter()
            .any(|text| text.contains("taken over")),
        "{:?}",
        log.warnings()
    );
    is_whole(&log);
    drop(log);
    assert!(directory.path().join("manifest").exists());
    let log = open(directory.path()).unwrap();
    assert!(log.warnings().is_empty());
    is_whole(&log);
}

fn refused(path: &Path) -> String {
    match open(path) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("served"),
    }
}

#[test]
fn an_incomplete_log_without_a_manifest_is_refused_and_not_changed() {
    for keyspace in 0..=5 {
        let directory = older();
        let current = directory
            .path()
            .join(format!("store/keyspaces/{keyspace}/current"));
        let aside = directory.path().join("aside");
        fs::rename(&current, &aside).unwrap();
        let text = refused(directory.path());
        assert!(
            text.contains(&format!("store/keyspaces/{keyspace}/current is missing")),
            "{text}"
        );
        fs::rename(&aside, &current).unwrap();
        is_whole(&open(directory.path()).unwrap());
    }
}

#[test]
fn a_log_without_a_manifest_that_is_older_than_its_witness_is_refused() {
    let directory = older();
    let path = directory.path().join("witness");
    let batch = 1_000_000_u64;
    let witness = [batch.to_be_bytes(), (!batch).to_be_bytes()].concat();
    fs::write(&path, witness).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("acknowledged was 1000000"), "{text}");
    // A file that is not a witness of that version is ignored.
    fs::write(&path, [0; 16]).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("manifest is missing"), "{text}");
}

#[test]
fn a_log_of_this_version_without_its_manifest_is_not_treated_as_an_older_version() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    fs::remove_file(directory.path().join("manifest")).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("manifest is missing"), "{text}");
    // Nor with a witness of the older kind.
    let batch = 1_u64;
    let witness = [batch.to_be_bytes(), (!batch).to_be_bytes()].concat();
    fs::write(directory.path().join("witness"), witness).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("the store is of this version"), "{text}");
}

#[test]
fn a_channel_without_its_newest_publication_is_inconsistent() {
    let directory = older();
    let store = Store::open(&LogOptions::new(directory.path())).unwrap();
    let mut group = Arc::new(store).group();
    group.remove(0, 1..=COUNT);
    let newest = crate::log::store::Newest {
        batch: 1_000_000,
        sequence: 1_000_000,
    };
    group.commit(newest).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("channel 0 has no publication 1"), "{text}");
}
