use std::sync::Arc;

use super::*;
use crate::log::{
    manifest::State,
    opening::read_manifest,
    tests::written::{fill, open, open_log},
};

/// A log that no process uses, and its manifest.
fn written() -> (tempfile::TempDir, Manifest) {
    let directory = tempfile::tempdir().unwrap();
    fill(&Arc::new(open_log(directory.path()).store), "a", 0, 2);
    let manifest = read_manifest(directory.path()).unwrap().unwrap();
    (directory, manifest)
}

fn text(result: Result<(), OpenError>) -> String {
    result.expect_err("it was accepted").to_string()
}

/// Adds a file to a store as if it were a journal.
fn add_journal(directory: &Path, number: u64) {
    fs::write(store_of(directory).join(format!("{number}.jnl")), "x").unwrap();
}

fn remove_journal(directory: &Path, number: u64) {
    fs::remove_file(store_of(directory).join(format!("{number}.jnl"))).unwrap();
}

#[test]
fn a_log_with_all_its_files_is_accepted_and_what_is_wrong_with_another_is_named() {
    let (directory, manifest) = written();
    let path = directory.path();
    let check = || check_files(path, &manifest, false);
    check().unwrap();
    let replaced = |file: &str, bytes: &[u8]| {
        let file = path.join(file);
        let good = fs::read(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        let text = text(check());
        fs::write(&file, good).unwrap();
        text
    };
    let found = replaced("store/version", b"FJL\x04");
    assert!(
        found.contains("store/version is not of this store's version"),
        "{found}"
    );
    for keyspace in 0..=5 {
        let current = format!("store/keyspaces/{keyspace}/current");
        for length in [0, 7, 24, 26] {
            let found = replaced(&current, &vec![0; length]);
            let wrong = format!("{current} has {length} bytes instead of 25");
            assert!(found.contains(&wrong), "{found}");
        }
        let mut other = fs::read(path.join(&current)).unwrap();
        other[..8].copy_from_slice(&77_u64.to_le_bytes());
        let found = replaced(&current, &other);
        let missing = format!("store/keyspaces/{keyspace}/v77 is missing");
        assert!(found.contains(&missing), "{found}");
        let owner = format!("store/keyspaces/{keyspace}/owner");
        let found = replaced(&owner, b"someone else\n");
        let wrong = format!(
            "{owner} says \"someone else\", not \"{} ",
            manifest.id.to_text()
        );
        assert!(found.contains(&wrong), "{found}");
    }
    let stranger = path.join("store/keyspaces/1.old");
    fs::create_dir(&stranger).unwrap();
    let found = text(check());
    let wrong = "store/keyspaces/1.old is not a part of the log";
    assert!(found.contains(wrong), "{found}");
    fs::remove_dir(&stranger).unwrap();
    // The store's own lock may be missing.
    fs::remove_file(path.join("store/lock")).unwrap();
    check().unwrap();
    assert!(path.join("store/lock").exists());
}

#[test]
fn a_file_that_cannot_be_read_is_not_reported_as_missing() {
    let (directory, manifest) = written();
    let version = directory.path().join("store/version");
    fs::remove_file(&version).unwrap();
    fs::create_dir(&version).unwrap();
    let refused = check_files(directory.path(), &manifest, false);
    assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
}

#[test]
fn journals_are_consecutive_up_to_the_newest_that_was_seen() {
    let (directory, mut manifest) = written();
    let path = directory.path();
    let first = manifest.journal;
    assert_eq!(journals(path).unwrap(), [first].into());
    for other in ["7.copy", "x.jnl", "jnl", "7"] {
        fs::write(store_of(path).join(other), "x").unwrap();
    }
    assert_eq!(journals(path).unwrap(), [first].into());
    let check = |manifest: &Manifest| check_files(path, manifest, false);
    // A newer one was begun after the manifest was written.
    add_journal(path, first + 1);
    check(&manifest).unwrap();
    add_journal(path, first + 3);
    let missing = |number: u64| format!("store/{number}.jnl is missing");
    let found = text(check(&manifest));
    assert!(found.contains(&missing(first + 2)), "{found}");
    check_files(path, &manifest, true).unwrap();
    add_journal(path, first + 2);
    check(&manifest).unwrap();
    // The oldest are removed when they are no longer needed.
    remove_journal(path, first);
    check(&manifest).unwrap();
    manifest.journal = first + 3;
    check(&manifest).unwrap();
    manifest.journal = first + 4;
    let found = text(check(&manifest));
    assert!(found.contains(&missing(first + 4)), "{found}");
    for number in 1..=3 {
        remove_journal(path, first + number);
    }
    let found = text(check(&manifest));
    assert!(found.contains(&missing(first + 4)), "{found}");
}

#[test]
fn a_log_of_an_earlier_version_needs_the_same_files_except_for_the_owners() {
    let (directory, manifest) = written();
    let path = directory.path();
    check_older_files(path).unwrap();
    for keyspace in 0..=5 {
        let folder = format!("store/keyspaces/{keyspace}");
        fs::remove_file(path.join(&folder).join("owner")).unwrap();
        check_older_files(path).unwrap();
        let current = path.join(&folder).join("current");
        let aside = path.join("aside");
        fs::rename(&current, &aside).unwrap();
        let found = text(check_older_files(path));
        assert!(
            found.contains(&format!("{folder}/current is missing")),
            "{found}"
        );
        fs::rename(&aside, &current).unwrap();
    }
    add_journal(path, manifest.journal + 2);
    let found = text(check_older_files(path));
    let missing = format!("store/{}.jnl is missing", manifest.journal + 1);
    assert!(found.contains(&missing), "{found}");
    remove_journal(path, manifest.journal + 2);
    fs::create_dir(path.join("store/keyspaces/x")).unwrap();
    let found = text(check_older_files(path));
    assert!(found.contains("store/keyspaces/x is not a part"), "{found}");
    fs::remove_dir(path.join("store/keyspaces/x")).unwrap();
    fs::write(path.join("store/version"), "x").unwrap();
    assert!(text(check_older_files(path)).contains("store/version is not"));
}

#[test]
fn a_sealed_journal_may_be_gone_once_its_entries_are_in_tables() {
    let (directory, mut manifest) = written();
    let path = directory.path();
    let store = open(path);
    let check = |manifest: &Manifest, accept_loss| check_store(path, manifest, &store, accept_loss);
    check(&manifest, false).unwrap();
    let [log, keys, ..] = store.keyspaces();
    let newest = store.newest_entries();
    // A journal that is on the disk needs no tables.
    manifest.sealed = [(manifest.journal, newest.clone())].into();
    check(&manifest, false).unwrap();
    assert!(!has_lost_journals(path, &manifest).unwrap());
    let (log_mark, keys_mark) = (newest[&log.id()], newest[&keys.id()]);
    manifest.sealed = [(70, [(log.id(), log_mark), (keys.id(), keys_mark)].into())].into();
    assert!(has_lost_journals(path, &manifest).unwrap());
    let missing = "store/70.jnl is missing";
    assert!(text(check(&manifest, false)).contains(missing));
    check(&manifest, true).unwrap();
    log.rotate_memtable_and_wait().unwrap();
    assert!(
        text(check(&manifest, false)).contains(missing),
        "the keys are not flushed"
    );
    keys.rotate_memtable_and_wait().unwrap();
    check(&manifest, false).unwrap();
    // One entry more is missing.
    manifest.sealed = [(70, [(log.id(), log_mark + 1)].into())].into();
    assert!(text(check(&manifest, false)).contains(missing));
    manifest.sealed = [(70, [(log.id(), log_mark - 1)].into())].into();
    check(&manifest, false).unwrap();
}

#[test]
fn keyspaces_with_another_number_or_of_another_log_do_not_belong_to_it() {
    let (directory, manifest) = written();
    let path = directory.path();
    let store = open(path);
    let check = |manifest: &Manifest| check_store(path, manifest, &store, true);
    let mut other = manifest.clone();
    let (number, name) = other.keyspaces.pop_first().unwrap();
    check(&other).unwrap();
    other.keyspaces.insert(number, "renamed".to_owned());
    let found = text(check(&other));
    let wrong = format!("the store has no keyspace {number} called renamed");
    assert!(found.contains(&wrong), "{found}");
    other.keyspaces = manifest.keyspaces.clone();
    other.keyspaces.insert(99, name.clone());
    let found = text(check(&other));
    let wrong = format!("the store has no keyspace 99 called {name}");
    assert!(found.contains(&wrong), "{found}");
    let other = Manifest {
        id: LogId::fresh(),
        ..manifest
    };
    assert!(text(check(&other)).contains("is not of this log"));
    // What the manifest does not list is not looked at.
    let unknown = Manifest {
        keyspaces: BTreeMap::new(),
        ..other
    };
    check(&unknown).unwrap();
}

/// A store in use, and its inventory.
fn in_use() -> (tempfile::TempDir, Arc<Store>, Inventory) {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_log(directory.path());
    (directory, Arc::new(opened.store), opened.inventory)
}

#[test]
fn the_manifest_of_a_store_lists_its_keyspaces_and_journals_and_each_has_an_owner() {
    let (directory, store, inventory) = in_use();
    let path = directory.path();
    let manifest = read_manifest(path).unwrap().unwrap();
    assert_eq!(manifest, inventory.manifest);
    assert_eq!(manifest.keyspaces, keyspaces_of(&store));
    let names: Vec<_> = manifest.keyspaces.values().map(String::as_str).collect();
    assert_eq!(names, ["log", "keys", "cursors", "channels", "node"]);
    assert_eq!(journals(path).unwrap(), [manifest.journal].into());
    for (number, name) in [(0, "meta"), (1, "log"), (5, "node")] {
        let owner = path.join(format!("store/keyspaces/{number}/owner"));
        let line = format!("{} {name}\n", manifest.id.to_text());
        assert_eq!(fs::read_to_string(owner).unwrap(), line);
    }
    // Journals that are gone are forgotten, and owners that are wrong are written again.
    let owner = path.join("store/keyspaces/1/owner");
    fs::write(&owner, "x").unwrap();
    add_journal(path, 70);
    let marks = Marks::from([(1, 1)]);
    let before = Manifest {
        sealed: [(69, marks.clone()), (70, marks.clone())].into(),
        ..manifest
    };
    let inventory = Inventory::begin(path, before, &store).unwrap();
    assert_eq!(inventory.manifest.sealed, [(70, marks)].into());
    assert_eq!(inventory.manifest.journal, 70);
    assert_eq!(read_manifest(path).unwrap().unwrap(), inventory.manifest);
    assert_eq!(inventory.manifest.state, State::Complete);
    assert!(fs::read_to_string(owner).unwrap().ends_with(" log\n"));
}

#[test]
fn a_new_journal_seals_the_one_before_with_the_entries_of_the_look_before() {
    let (directory, store, mut inventory) = in_use();
    let path = directory.path();
    let first = inventory.manifest.journal;
    inventory.look(&store).unwrap();
    let at_first = store.newest_entries();
    fill(&store, "a", 0, 3);
    assert_ne!(store.newest_entries(), at_first);
    let (second, third) = (first + 1, first + 2);
    add_journal(path, second);
    inventory.look(&store).unwrap();
    let written = || read_manifest(path).unwrap().unwrap();
    assert_eq!(written().sealed, [(first, at_first.clone())].into());
    assert_eq!(written().journal, second);
    let at_second = store.newest_entries();
    fill(&store, "b", 1, 3);
    add_journal(path, third);
    inventory.look(&store).unwrap();
    assert_eq!(
        written().sealed,
        [(first, at_first), (second, at_second.clone())].into()
    );
    // Without a change, nothing is written.
    fs::remove_file(path.join("manifest")).unwrap();
    inventory.look(&store).unwrap();
    assert!(!path.join("manifest").exists());
    // What is in tables needs no journal.
    for keyspace in store.keyspaces() {
        keyspace.rotate_memtable_and_wait().unwrap();
    }
    remove_journal(path, second);
    inventory.look(&store).unwrap();
    let sealed: Vec<_> = written().sealed.into_keys().collect();
    assert_eq!(sealed, [first]);
}

#[test]
fn a_journal_that_is_removed_while_it_is_needed_is_reported_with_each_look() {
    let (directory, store, mut inventory) = in_use();
    let path = directory.path();
    let first = inventory.manifest.journal;
    fill(&store, "a", 0, 3);
    inventory.look(&store).unwrap();
    add_journal(path, first + 1);
    inventory.look(&store).unwrap();
    let journal = store_of(path).join(format!("{first}.jnl"));
    let aside = path.join("aside");
    fs::rename(&journal, &aside).unwrap();
    for _ in 0..2 {
        let text = inventory.look(&store).unwrap_err();
        let expected = format!(
            "store/{first}.jnl was removed while the log is in use; back it up now with \
             `offhook log read`, then restore it"
        );
        assert_eq!(text, expected);
    }
    fs::rename(&aside, &journal).unwrap();
    inventory.look(&store).unwrap();
    // The newest one is always needed.
    remove_journal(path, first + 1);
    let text = inventory.look(&store).unwrap_err();
    assert!(
        text.starts_with(&format!("store/{}.jnl was removed", first + 1)),
        "{text}"
    );
    assert_eq!(inventory.manifest.journal, first + 1);
}

#[test]
fn a_manifest_that_cannot_be_written_is_reported_and_written_with_a_later_look() {
    let (directory, store, mut inventory) = in_use();
    let path = directory.path();
    // A directory stands where the file would be written first.
    let obstacle = path.join("manifest.unfinished");
    fs::create_dir(&obstacle).unwrap();
    inventory.look(&store).unwrap();
    let second = inventory.manifest.journal + 1;
    add_journal(path, second);
    for look in 0..3 {
        if look == 2 {
            add_journal(path, second + 1);
        }
        let text = inventory.look(&store).unwrap_err();
        assert!(
            text.starts_with("the manifest cannot be written: "),
            "{text}"
        );
    }
    fs::remove_dir(&obstacle).unwrap();
    inventory.look(&store).unwrap();
    let written = read_manifest(path).unwrap().unwrap();
    assert_eq!(written, inventory.manifest);
    assert_eq!(written.journal, second + 1);
}
