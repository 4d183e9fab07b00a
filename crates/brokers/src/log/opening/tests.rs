use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::log::{
    manifest::LogId,
    tests::written::{now, open_log},
};

fn text<Opened>(result: Result<Opened, OpenError>) -> String {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_log_in_use_is_opened_once_it_is_released() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let lock = lock(path).unwrap();
    let options = LogOptions::new(path);
    // Each attempt withdraws these permissions first.
    let widen = || fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    let is_withdrawn = || fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0;
    let opened = thread::scope(|scope| {
        widen();
        let opened = scope.spawn(|| open(&options, now()));
        let mut attempts = 0;
        while attempts < 2 && !opened.is_finished() {
            if is_withdrawn() {
                attempts += 1;
                widen();
            }
            thread::yield_now();
        }
        drop(lock);
        opened.join().unwrap()
    });
    assert!(opened.is_ok(), "{:?}", opened.err());
    assert_eq!(PATIENCE, Duration::from_secs(1));
}

#[test]
fn a_log_has_one_user_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = lock(directory.path()).unwrap();
    let refused = lock(directory.path()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(first);
    assert!(lock(directory.path()).is_ok());
    let nowhere = lock(&directory.path().join("nowhere")).unwrap_err();
    assert!(matches!(nowhere, OpenError::Io { .. }), "{nowhere}");
}

#[test]
fn a_directory_without_a_manifest_is_empty_or_incomplete() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert_eq!(read_manifest(path).unwrap(), None);
    for part in [store_of(path), path.join(witness::FILE)] {
        fs::create_dir(&part).unwrap();
        let text = text(read_manifest(path));
        assert!(text.contains("manifest is missing"), "{text}");
        assert!(part.exists());
        fs::remove_dir(&part).unwrap();
    }
    // The process died while creating it.
    fs::create_dir_all(store_of(path).join("keyspaces")).unwrap();
    Manifest::beginning().write(path).unwrap();
    assert_eq!(read_manifest(path).unwrap(), None);
    assert!(!store_of(path).exists());
    assert_eq!(read_manifest(path).unwrap(), None, "without a store, too");
    fs::write(store_of(path), "no directory").unwrap();
    assert!(matches!(read_manifest(path), Err(OpenError::Io { .. })));
    fs::remove_file(store_of(path)).unwrap();
    let complete = Manifest {
        state: State::Complete,
        ..Manifest::beginning()
    };
    complete.write(path).unwrap();
    fs::create_dir(store_of(path)).unwrap();
    assert_eq!(read_manifest(path).unwrap(), Some(complete));
    assert!(store_of(path).exists());
    fs::write(path.join(manifest::FILE), "x").unwrap();
    let text = text(read_manifest(path));
    assert!(text.contains("manifest: it is not a manifest"), "{text}");
}

#[test]
fn a_store_must_have_the_newest_acknowledged_batch_unless_its_loss_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let store = open_log(path).store;
    assert_eq!(store.newest().unwrap().batch, 1);
    let testimony = |batch| {
        Some(Testimony {
            log: [0; 16],
            epoch: 1,
            batch,
        })
    };
    let check = |batch, accept_loss| check_batch(path, &store, testimony(batch), accept_loss);
    assert_eq!(check(0, false).unwrap(), 1);
    assert_eq!(check(1, false).unwrap(), 1);
    let refused = text(check(2, false));
    let lost = "the store ends with batch 1, acknowledged was 2";
    assert!(refused.contains(lost), "{refused}");
    assert_eq!(check(2, true).unwrap(), 2);
    assert_eq!(check_batch(path, &store, None, false).unwrap(), 1);
}

#[test]
fn a_witness_of_another_log_is_refused_and_a_missing_or_older_one_may_be_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let manifest = Manifest {
        batch: 5,
        ..Manifest::beginning()
    };
    let read = |accept_loss| read_witness(path, &manifest, accept_loss);
    let missing = text(read(false));
    let expected = "the file `witness` is missing or cannot be read";
    assert!(missing.contains(expected), "{missing}");
    assert_eq!(read(true).unwrap(), None);
    for (batch, is_old) in [(4, true), (5, false), (6, false)] {
        drop(Witness::begin(path, manifest.id, 1, batch).unwrap());
        let accepted = read(true).unwrap().expect("it can be read");
        assert_eq!(accepted.batch, batch);
        match read(false) {
            Ok(found) => assert_eq!((found, is_old), (Some(accepted), false)),
            Err(error) => {
                let text = error.to_string();
                assert!(is_old && text.contains("is older than the rest"), "{text}");
            }
        }
    }
    drop(Witness::begin(path, LogId::fresh(), 1, 6).unwrap());
    for accept_loss in [false, true] {
        let foreign = text(read(accept_loss));
        assert!(foreign.contains("is that of another log"), "{foreign}");
    }
}

#[test]
fn each_start_is_a_batch_and_an_epoch_of_its_own_which_manifest_and_witness_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut before = 0;
    for start in 1..=3 {
        let opened = open_log(path);
        let epoch = opened.epochs.current().0;
        assert!(epoch > before);
        before = epoch;
        assert_eq!(opened.store.newest().unwrap().batch, start);
        let manifest = read_manifest(path).unwrap().unwrap();
        assert_eq!((manifest.epoch, manifest.batch), (epoch, start));
        let testimony = Witness::read(path).unwrap().unwrap();
        assert_eq!((testimony.epoch, testimony.batch), (epoch, start));
        assert_eq!(testimony.log, manifest.id.to_bytes());
    }
}

#[test]
fn journals_with_data_that_no_witness_confirms_are_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    drop(open_log(path));
    let inode = || {
        let journals = inventory::journals(path).unwrap();
        let journal = journals.last().expect("there is one");
        let journal = store_of(path).join(format!("{journal}.jnl"));
        fs::metadata(journal).unwrap().ino()
    };
    let options = LogOptions::new(path);
    let testimony = |batch| {
        Some(Testimony {
            log: [0; 16],
            epoch: 1,
            batch,
        })
    };
    let before = inode();
    drop(open_store(&options, testimony(1)).unwrap());
    assert_eq!(inode(), before, "everything is confirmed");
    let store = open_store(&options, testimony(0)).unwrap();
    assert_ne!(inode(), before);
    assert_eq!(store.newest().unwrap().batch, 1);
}

#[test]
fn an_accepted_loss_is_followed_by_a_batch_after_the_acknowledged_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    drop(open_log(path));
    let manifest = read_manifest(path).unwrap().unwrap();
    drop(Witness::begin(path, manifest.id, manifest.epoch, 9).unwrap());
    let mut options = LogOptions::new(path);
    let refused = text(open(&options, now()));
    assert!(refused.contains("storage.accept_loss = true"), "{refused}");
    options.durability = Durability::Os;
    let opened = open(&options, now()).unwrap();
    assert_eq!(opened.store.newest().unwrap().batch, 10);
    drop(opened);
    // It is settled: nothing is missing from now on.
    options.durability = Durability::Fsync;
    let opened = open(&options, now()).unwrap();
    assert_eq!(opened.store.newest().unwrap().batch, 11);
    drop(opened);
    drop(Witness::begin(path, manifest.id, u64::MAX, 20).unwrap());
    options.accept_loss = true;
    let opened = open(&options, now()).unwrap();
    assert_eq!(opened.store.newest().unwrap().batch, 21);
}
