use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    sync::Arc,
};

use super::*;
use crate::log::{
    LogView, OpenError,
    tests::written::{channel, fill, open_log},
};

/// Longer than anything in a test takes.
const NEVER: Duration = Duration::from_secs(60);

/// A log with a channel of so many publications, which no process uses.
fn written(count: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fill(&Arc::new(open_log(directory.path()).store), "a", 0, count);
    directory
}

/// How many publications a log has.
fn count(log: &Path) -> u64 {
    let view = LogView::open(log).unwrap();
    let mut count = 0;
    assert!(view.read(&channel("a"), 0, |_| {
        count += 1;
        true
    }));
    count
}

fn snapshots(log: &Path) -> usize {
    fs::read_dir(log.join(SNAPSHOTS)).unwrap().count()
}

/// A request for a snapshot, and its directory.
fn asked(log: &Path) -> (Snapshot, PathBuf) {
    let snapshot = Snapshot::ask(log).unwrap();
    let path = snapshot.path().to_owned();
    (snapshot, path)
}

#[test]
fn a_log_that_no_process_uses_is_copied_by_the_requester_and_the_snapshot_is_removed_with_it() {
    let log = written(3);
    let (one, two) = (
        Snapshot::take(log.path(), Duration::ZERO).unwrap(),
        Snapshot::take(log.path(), Duration::ZERO).unwrap(),
    );
    assert_ne!(one.path(), two.path());
    assert_eq!((count(one.path()), count(two.path())), (3, 3));
    let mode = fs::metadata(one.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // Opening a snapshot changes nothing in the log.
    assert_eq!(count(log.path()), 3);
    drop(one);
    assert_eq!(snapshots(log.path()), 1);
    drop(two);
    assert_eq!(snapshots(log.path()), 0);
}

#[test]
fn the_process_that_uses_a_log_answers_a_request_once() {
    let log = written(2);
    let _lock = opening::lock(log.path()).unwrap();
    let snapshot = thread::scope(|scope| {
        let taken = scope.spawn(|| Snapshot::take(log.path(), NEVER));
        while !taken.is_finished() {
            answer_requests(log.path());
            thread::yield_now();
        }
        taken.join().unwrap().unwrap()
    });
    assert_eq!(count(snapshot.path()), 2);
    // Another one is made while the first is in use, which stays as it is.
    fs::remove_file(snapshot.path().join(witness::FILE)).unwrap();
    let (_other, path) = asked(log.path());
    answer_requests(log.path());
    assert!(path.join(READY).exists() && path.join(witness::FILE).exists());
    assert!(!snapshot.path().join(witness::FILE).exists());
    // A directory without a request is not a snapshot.
    let stranger = log.path().join(SNAPSHOTS).join("stranger");
    fs::create_dir(&stranger).unwrap();
    answer_requests(log.path());
    assert!(stranger.exists());
    assert_eq!(snapshots(log.path()), 3);
}

#[test]
fn snapshots_of_requesters_that_are_gone_are_removed() {
    let log = written(1);
    for is_answered in [false, true] {
        let (snapshot, path) = asked(log.path());
        if is_answered {
            answer_requests(log.path());
        }
        // As if its process had been killed: the lock is gone, and the files are not.
        snapshot._request.unlock().unwrap();
        answer_requests(log.path());
        assert!(!path.exists(), "{is_answered}");
    }
}

#[test]
fn a_request_without_an_answer_fails_when_patience_ends_and_leaves_nothing() {
    let log = written(1);
    let _lock = opening::lock(log.path()).unwrap();
    let failed = Snapshot::take(log.path(), Duration::from_millis(1)).unwrap_err();
    assert!(matches!(&failed, SnapshotError::NoAnswer(path) if path == log.path()));
    let text = failed.to_string();
    assert!(
        text.starts_with(&log.path().display().to_string()),
        "{text}"
    );
    assert!(
        text.contains("the process that uses the log gave no answer"),
        "{text}"
    );
    assert!(text.contains("Stop it, and try again"), "{text}");
    assert_eq!(snapshots(log.path()), 0);
}

#[test]
fn a_directory_without_a_log_has_no_snapshot() {
    let nothing = tempfile::tempdir().unwrap();
    let failed = Snapshot::take(nothing.path(), NEVER).unwrap_err();
    assert!(matches!(&failed, SnapshotError::NoLog(path) if path == nothing.path()));
    let text = failed.to_string();
    assert!(
        text.contains("there is no log here; name a data directory"),
        "{text}"
    );
    assert_eq!(fs::read_dir(nothing.path()).unwrap().count(), 0);
    let open = SnapshotError::Log(OpenError::missing(Path::new("there"), "this"));
    assert!(
        open.to_string()
            .contains("there: the log is incomplete: this is missing")
    );
}

/// Why no snapshot can be made after this change to a log.
fn fails(change: impl FnOnce(&Path)) -> String {
    let log = written(1);
    change(log.path());
    let failed = Snapshot::take(log.path(), NEVER).unwrap_err();
    assert!(matches!(&failed, SnapshotError::Failed(..)), "{failed:?}");
    assert_eq!(snapshots(log.path()), 0, "nothing is left");
    let text = failed.to_string();
    let todo = "; check permissions and free space";
    assert!(text.ends_with(todo), "{text}");
    text
}

#[test]
fn a_log_that_cannot_be_copied_is_reported_with_the_reason() {
    let text = fails(|log| fs::remove_file(log.join(witness::FILE)).unwrap());
    assert!(text.contains("the log cannot be copied: "), "{text}");
    assert!(text.contains("witness: No such file"), "{text}");
    let keyspace = |log: &Path| store_of(log).join(KEYSPACES).join("1");
    let text = fails(|log| fs::write(keyspace(log).join("current"), "short").unwrap());
    assert!(text.contains("the log cannot be copied: "), "{text}");
    assert!(text.contains("current: it is too short"), "{text}");
    // A version that never appears is taken for one that changes all the time.
    let text = fails(|log| {
        let current = [7_u8; 25];
        fs::write(keyspace(log).join("current"), current).unwrap();
    });
    assert!(text.contains("the log changes too fast"), "{text}");
}

#[test]
fn a_request_that_failed_is_not_tried_again() {
    let log = written(1);
    let witness = log.path().join(witness::FILE);
    let aside = log.path().join("aside");
    fs::rename(&witness, &aside).unwrap();
    let (_request, path) = asked(log.path());
    answer_requests(log.path());
    let why = fs::read_to_string(path.join(FAILED)).unwrap();
    assert!(why.contains("No such file"), "{why}");
    fs::rename(&aside, &witness).unwrap();
    answer_requests(log.path());
    assert!(!path.join(READY).exists());
}

/// The number of a file on its disk.
fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn what_never_changes_is_linked_and_the_rest_is_copied() {
    let log = written(1);
    let store = Arc::new(open_log(log.path()).store);
    for keyspace in store.keyspaces() {
        keyspace.rotate_memtable_and_wait().unwrap();
    }
    drop(store);
    let from = store_of(log.path());
    let (older, newer) = (*journals(log.path()).unwrap().first().unwrap(), 70_u64);
    fs::write(from.join(format!("{newer}.jnl")), "the newest").unwrap();
    let (_request, path) = asked(log.path());
    answer_requests(log.path());
    assert!(path.join(READY).exists());
    let to = store_of(&path);
    let same = |name: &str| inode(&from.join(name)) == inode(&to.join(name));
    assert!(!same(&format!("{newer}.jnl")) && !same("version"));
    assert!(!same("keyspaces/1/current") && !same("keyspaces/1/owner"));
    let tables = fs::read_dir(from.join("keyspaces/1/tables")).unwrap();
    let names: Vec<_> = tables.map(|table| table.unwrap().file_name()).collect();
    assert!(!names.is_empty());
    for name in names {
        let name = format!("keyspaces/1/tables/{}", name.display());
        assert!(same(&name), "{name}");
    }
    let journal = from.join(format!("{older}.jnl"));
    let link = to.join(format!("{older}.link"));
    assert_eq!(inode(&journal), inode(&link));
    // The requester copies journals, because opening the snapshot shortens them.
    copy_links(&path).unwrap();
    assert!(!link.exists());
    let copy = to.join(format!("{older}.jnl"));
    assert_ne!(inode(&journal), inode(&copy));
    assert!(fs::read(&journal).unwrap() == fs::read(&copy).unwrap());
    assert!(fs::read(to.join(format!("{newer}.jnl"))).unwrap() == b"the newest");
}

/// Before, the second attempt wrote into the files that the first had linked: journals and tables of
/// the log were empty afterwards.
#[test]
fn a_snapshot_that_is_made_again_changes_nothing_in_the_log() {
    let log = written(3);
    let newer = store_of(log.path()).join("70.jnl");
    fs::write(&newer, "the newest").unwrap();
    let before = contents(&store_of(log.path()));
    let (_request, path) = asked(log.path());
    for attempt in 1..=2 {
        make(log.path(), &path).unwrap();
        let after = contents(&store_of(log.path()));
        assert!(before == after, "attempt {attempt}");
    }
    assert_eq!(
        fs::read(store_of(&path).join("70.jnl")).unwrap(),
        b"the newest"
    );
}

/// All files of a directory.
fn contents(path: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut all = std::collections::BTreeMap::new();
    for entry in fs::read_dir(path).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(contents(&path)),
            false => drop(all.insert(path.clone(), fs::read(path).unwrap())),
        }
    }
    all
}

#[test]
fn a_file_on_another_file_system_is_copied_and_an_existing_one_never_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let missing = link(&from, &to).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    fs::write(&from, "here").unwrap();
    link(&from, &to).unwrap();
    assert_eq!(inode(&from), inode(&to));
    let refused = link(&from, &to).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&from).unwrap(), b"here");
    let (elsewhere, copy) = (Path::new("/proc/version"), directory.path().join("copy"));
    link(elsewhere, &copy).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), fs::read(elsewhere).unwrap());
}

/// The bytes that the files of a directory take on the disk.
fn taken(path: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(path).unwrap().flatten() {
        bytes += match entry.file_type().unwrap().is_dir() {
            true => taken(&entry.path()),
            false => entry.metadata().unwrap().blocks() * 512,
        };
    }
    bytes
}

#[test]
fn a_snapshot_is_copied_into_an_empty_directory_only() {
    let log = written(4);
    let snapshot = Snapshot::take(log.path(), NEVER).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let copy = parent.path().join("new/copy");
    let bytes = snapshot.copy_to(&copy).unwrap();
    assert!(bytes > 0);
    assert_eq!(bytes, taken(&copy));
    assert!(!copy.join(REQUEST).exists() && !copy.join(READY).exists());
    assert_eq!(count(&copy), 4);
    let refused = snapshot.copy_to(&copy).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    let text = "the directory is not empty; name an empty or new one";
    assert_eq!(refused.to_string(), text);
    let empty = parent.path().join("empty");
    fs::create_dir(&empty).unwrap();
    snapshot.copy_to(&empty).unwrap();
    assert_eq!(count(&empty), 4);
}
