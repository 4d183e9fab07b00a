//! A log knows which files it consists of: a missing or swapped file, or one of another log, is
//! refused by name, and nothing is deleted meanwhile.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use offhook_brokers::{Broker, Log, LogOptions, OpenError};

use crate::test_worker::{TestWorker, at, draft, kept, open_log};

const KEYSPACES: [&str; 6] = ["0", "1", "2", "3", "4", "5"];

fn open(path: &Path) -> Result<Arc<dyn Broker>, OpenError> {
    let options = LogOptions::new(path);
    let log = Log::open(options, Arc::new(kept(1_000_000)), at(5_000))?;
    Ok(Arc::new(log))
}

fn publish(path: &Path, count: u32) {
    let mut worker = TestWorker::new(&open_log(path, kept(1_000_000)));
    for n in 0..count {
        worker.publish_keyed("a", &n.to_string(), Some(&format!("key {n}")));
    }
}

fn written() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), 60);
    directory
}

fn refused(path: &Path) -> String {
    match open(path) {
        Err(error) => error.to_string(),
        Ok(broker) => panic!(
            "served, with {} of 60 publications",
            TestWorker::new(&broker).texts("a").len()
        ),
    }
}

fn is_whole(path: &Path) {
    let mut worker = TestWorker::new(&open(path).unwrap());
    assert_eq!(worker.texts("a").len(), 60);
    let (_, duplicate) = worker.publish_keyed("a", "again", Some("key 7"));
    assert!(duplicate, "idempotency keys are there, too");
}

/// Takes a part of the log away, checks that it is refused by name, and puts it back.
fn is_missed(path: &Path, part: &str) {
    let (part, aside) = (path.join(part), path.with_extension("aside"));
    fs::rename(&part, &aside).unwrap();
    let text = refused(path);
    let name = part.strip_prefix(path).unwrap().display().to_string();
    assert!(text.contains(&name), "{name}: {text}");
    assert!(text.contains("is missing"), "{name}: {text}");
    assert!(
        text.contains("restore the directory from a backup"),
        "{text}"
    );
    assert!(!text.contains("permission"), "{text}");
    fs::rename(&aside, &part).unwrap();
}

#[test]
fn without_the_current_file_of_any_keyspace_the_log_is_refused_and_nothing_is_deleted() {
    let directory = written();
    for keyspace in KEYSPACES {
        is_missed(
            directory.path(),
            &format!("store/keyspaces/{keyspace}/current"),
        );
    }
    is_whole(directory.path());
}

#[test]
fn without_the_folder_of_any_keyspace_the_log_is_refused_and_nothing_is_deleted() {
    let directory = written();
    for keyspace in KEYSPACES {
        let (part, aside) = (
            directory.path().join("store/keyspaces").join(keyspace),
            directory.path().join("aside"),
        );
        fs::rename(&part, &aside).unwrap();
        let text = refused(directory.path());
        let file = format!("store/keyspaces/{keyspace}/current is missing");
        assert!(text.contains(&file), "{text}");
        fs::rename(&aside, &part).unwrap();
    }
    is_whole(directory.path());
}

#[test]
fn without_the_store_or_a_version_of_a_keyspace_the_log_is_refused() {
    let directory = written();
    let keyspace = directory.path().join("store/keyspaces/1");
    let version = fs::read_dir(&keyspace)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .find(|name| name.starts_with('v'))
        .unwrap();
    is_missed(directory.path(), &format!("store/keyspaces/1/{version}"));
    is_missed(directory.path(), "store/keyspaces/1/owner");
    let (store, aside) = (
        directory.path().join("store"),
        directory.path().join("aside"),
    );
    fs::rename(&store, &aside).unwrap();
    assert!(refused(directory.path()).contains("store/version is missing"));
    fs::rename(&aside, &store).unwrap();
    is_whole(directory.path());
}

#[test]
fn a_log_with_a_missing_or_changed_manifest_is_not_treated_as_empty() {
    let directory = written();
    is_missed(directory.path(), "manifest");
    let manifest = directory.path().join("manifest");
    let good = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, good.replace("journal ", "journal 1")).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("manifest: its checksum"), "{text}");
    fs::write(&manifest, good).unwrap();
    is_whole(directory.path());
}

#[test]
fn a_missing_or_wrong_version_file_is_reported_as_such() {
    let directory = written();
    is_missed(directory.path(), "store/version");
    let version = directory.path().join("store/version");
    fs::write(&version, b"FJL\x07").unwrap();
    let text = refused(directory.path());
    assert!(text.contains("store/version is not of this"), "{text}");
    fs::write(&version, b"FJL\x03").unwrap();
    is_whole(directory.path());
}

fn journals(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path.join("store")).unwrap().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    found.sort();
    found
}

#[test]
fn without_its_journal_the_log_is_refused_and_the_error_names_the_setting_that_accepts_it() {
    let directory = written();
    let journal = journals(directory.path()).pop().unwrap();
    let aside = directory.path().join("aside");
    fs::rename(&journal, &aside).unwrap();
    let text = refused(directory.path());
    assert!(text.contains(".jnl is missing"), "{text}");
    assert!(text.contains("storage.accept_loss = true"), "{text}");
    fs::rename(&aside, &journal).unwrap();
    is_whole(directory.path());
}

/// More than a journal holds, so that one is complete and another is begun.
fn fill_a_journal(path: &Path) {
    let mut worker = TestWorker::new(&open_log(path, kept(1_000_000)));
    let data = "x".repeat(64 << 10);
    while journals(path).len() < 3 {
        let ids: Vec<_> = (0..64)
            .map(|_| worker.send(draft("b", &data, None)))
            .collect();
        for id in ids {
            worker.answer(id);
        }
        worker.broker.tick(at(1_000));
        worker.barrier();
    }
    // Small data are not flushed, and are in the oldest journal alone.
    worker.broker.tick(at(2_000));
    worker.barrier();
}

#[test]
fn without_an_older_journal_that_is_still_needed_the_log_is_refused() {
    let directory = written();
    fill_a_journal(directory.path());
    let all = journals(directory.path());
    let aside = directory.path().join("aside");
    for journal in &all {
        fs::rename(journal, &aside).unwrap();
        let text = refused(directory.path());
        assert!(text.contains(".jnl is missing"), "{journal:?}: {text}");
        fs::rename(&aside, journal).unwrap();
    }
    is_whole(directory.path());
}

#[test]
fn without_its_witness_the_log_is_refused() {
    let directory = written();
    let (witness, aside) = (
        directory.path().join("witness"),
        directory.path().join("aside"),
    );
    fs::rename(&witness, &aside).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("`witness` is missing"), "{text}");
    fs::rename(&aside, &witness).unwrap();
    is_whole(directory.path());
}

#[test]
fn journal_and_witness_swapped_do_not_start_an_empty_log() {
    let directory = written();
    let journal = journals(directory.path()).pop().unwrap();
    let (witness, aside) = (
        directory.path().join("witness"),
        directory.path().join("aside"),
    );
    fs::rename(&journal, &aside).unwrap();
    fs::rename(&witness, &journal).unwrap();
    fs::rename(&aside, &witness).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("`witness`"), "{text}");
    fs::rename(&witness, &aside).unwrap();
    fs::rename(&journal, &witness).unwrap();
    fs::rename(&aside, &journal).unwrap();
    is_whole(directory.path());
}

#[test]
fn parts_of_another_log_are_refused() {
    let (ours, other) = (written(), written());
    let aside = ours.path().join("aside");
    for part in [
        "witness",
        "store",
        "store/keyspaces/1",
        "store/keyspaces/3",
        "store/keyspaces/0",
    ] {
        let (here, there) = (ours.path().join(part), other.path().join(part));
        fs::rename(&here, &aside).unwrap();
        fs::rename(&there, &here).unwrap();
        let text = refused(ours.path());
        assert!(text.contains("do not belong together"), "{part}: {text}");
        fs::rename(&here, &there).unwrap();
        fs::rename(&aside, &here).unwrap();
    }
    is_whole(ours.path());
    is_whole(other.path());
}

#[test]
fn a_journal_of_another_log_is_refused() {
    let (ours, other) = (written(), written());
    let journal = journals(ours.path()).pop().unwrap();
    fs::copy(journals(other.path()).pop().unwrap(), &journal).unwrap();
    let text = refused(ours.path());
    assert!(text.contains("do not belong together"), "{text}");
}

#[test]
fn an_older_witness_with_a_newer_store_is_refused() {
    let directory = written();
    let witness = directory.path().join("witness");
    let older = fs::read(&witness).unwrap();
    publish(directory.path(), 1);
    let newer = fs::read(&witness).unwrap();
    fs::write(&witness, &older).unwrap();
    let text = refused(directory.path());
    assert!(text.contains("older than the rest"), "{text}");
    fs::write(&witness, &newer).unwrap();
    is_whole(directory.path());
}

#[test]
fn a_log_interrupted_while_it_was_created_is_created_again() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), 0);
    let manifest = directory.path().join("manifest");
    let died = "offhook log 1\nid 0\nstate beginning\nepoch 0\nbatch 0\njournal 0\n";
    let check = died.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    fs::write(&manifest, format!("{died}check {check:016x}\n")).unwrap();
    publish(directory.path(), 60);
    is_whole(directory.path());
}

fn modes(path: &Path, found: &mut Vec<(PathBuf, u32)>) {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    found.push((path.to_owned(), mode(path)));
    for entry in fs::read_dir(path).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            modes(&entry.path(), found);
        } else {
            found.push((entry.path(), mode(&entry.path())));
        }
    }
}

#[test]
fn a_log_is_readable_only_by_its_owner_and_wider_permissions_are_corrected_with_a_warning() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new/log");
    publish(&directory, 60);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&parent.path().join("new")), 0o700);

    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let log = Log::open(LogOptions::new(&directory), Arc::new(kept(100)), at(5_000)).unwrap();
    assert!(log.warnings()[0].contains("others could read the log"));
    drop(log);
    let log = Log::open(LogOptions::new(&directory), Arc::new(kept(100)), at(6_000)).unwrap();
    let mut found = Vec::new();
    modes(&directory, &mut found);
    for (path, mode) in found {
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
    assert!(log.warnings().is_empty(), "{:?}", log.warnings());
}
