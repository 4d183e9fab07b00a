use offhook_engine::{CONFLATION_TAG, Place, Position, SessionId, Tags};

use super::*;
use crate::{
    hub::Saved,
    log::{
        record::{cursor_key, encode, idempotency_key},
        tests::written::{channel, draft, fill, open, open_quietly, write},
    },
};

/// Longer than anything in a test takes.
const NEVER: Duration = Duration::from_secs(3600);

fn key(text: &str) -> offhook_engine::Key {
    offhook_engine::Key::new(text).unwrap()
}

/// Writes the memory of a keyspace into a table, and waits for it.
fn to_table(keyspace: &Keyspace) {
    keyspace.rotate_memtable_and_wait().unwrap();
}

#[test]
fn publications_are_read_from_an_offset_on_until_the_reader_has_enough_and_never_of_a_neighbour() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for (name, number, last) in [("before", 2, 5), ("a", 3, 4), ("after", 4, 2)] {
        fill(&store, name, number, last);
    }
    let offsets = |from, most: usize| {
        let mut found = Vec::new();
        let each = |key: &[u8], value: &[u8]| {
            assert!(crate::log::record::is_publication(&channel("a"), value));
            found.push(offset_of(key).unwrap());
            found.len() < most
        };
        store.read(3, from, each).unwrap();
        found
    };
    assert_eq!(offsets(0, 9), [1, 2, 3, 4]);
    assert_eq!(offsets(3, 9), [3, 4]);
    assert_eq!(offsets(2, 2), [2, 3]);
    assert_eq!(offsets(5, 9), [0; 0]);
    let newest = |number| store.last_offset(number).unwrap();
    assert_eq!([2, 3, 4, 5].map(newest), [Some(5), Some(4), Some(2), None]);
    let sequence = |offset| store.sequence_at(3, offset).unwrap();
    assert_eq!([1, 4, 5].map(sequence), [Some(10), Some(40), None]);
    let mut record = Vec::new();
    encode(&draft("a", "x", 2), 20, &mut record);
    assert_eq!(store.record(3, 2).unwrap(), Some(record));
    assert_eq!(store.record(3, 5).unwrap(), None);
}

#[test]
fn channels_are_listed_in_the_order_of_their_names_from_or_after_one_and_without_the_owner() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for (number, name) in (0..).zip(["b", "a", "d", "c"]) {
        fill(&store, name, number, 1);
    }
    store.own(LogId::fresh()).unwrap();
    let from = |name, count| store.channels_from(name, count).unwrap();
    let after = |name, count| store.channels_after(name, count).unwrap();
    assert_eq!(from("", 9), ["a", "b", "c", "d"]);
    assert_eq!(
        (from("b", 2), after("b", 2)),
        (
            vec!["b".to_owned(), "c".to_owned()],
            vec!["c".to_owned(), "d".to_owned()]
        )
    );
    assert_eq!(from("bb", 1), ["c"]);
    assert!(after("d", 9).is_empty() && after("a", 0).is_empty());
    let entry = store.channel(&channel("d")).unwrap().unwrap();
    assert_eq!(entry[..4], 2_u32.to_be_bytes());
    assert_eq!(store.channel(&channel("e")).unwrap(), None);
}

#[test]
fn the_newest_batch_and_the_count_of_channels_are_those_recorded_last() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert_eq!(store.newest().unwrap(), Newest::default());
    assert_eq!(store.channel_count().unwrap(), 0);
    for (batch, count) in [(7, 5), (8, 6)] {
        write(&store, batch, |group| group.remember_channel_count(count));
        let sequence = batch * 100;
        assert_eq!(store.newest().unwrap(), Newest { batch, sequence });
        assert_eq!(store.channel_count().unwrap(), count);
    }
    // Batches of older logs have no sequence number.
    store.node.insert(BATCH, 9_u64.to_be_bytes()).unwrap();
    let (batch, sequence) = (9, 0);
    assert_eq!(store.newest().unwrap(), Newest { batch, sequence });
    for (entry, damaged) in [(BATCH, &b"short"[..]), (CHANNELS, b"short")] {
        store.node.insert(entry, damaged).unwrap();
    }
    assert!(store.newest().is_err() && store.channel_count().is_err());
    let more_than_fits = (1_u64 << 32).to_be_bytes();
    store.node.insert(CHANNELS, more_than_fits).unwrap();
    assert!(store.channel_count().is_err());
}

#[test]
fn the_only_epoch_of_an_older_log_is_its_list() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert_eq!(store.epochs().unwrap(), None);
    store.node.insert(EPOCH, 5_u64.to_be_bytes()).unwrap();
    assert_eq!(store.epochs().unwrap(), Some(Epochs::new(Epoch(5))));
    store.node.insert(EPOCHS, b"damaged".as_slice()).unwrap();
    assert!(store.epochs().is_err());
}

#[test]
fn a_log_writes_its_id_into_every_keyspace_once_and_recognises_those_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (ours, other) = (LogId::fresh(), LogId::fresh());
    assert!(!store.has_owner().unwrap());
    let stranger = |of, known: &str| {
        let known = |name: &str| name == known;
        store.of_another_log(of, known).unwrap()
    };
    let text = "keyspace cursors is not of this log, or was emptied";
    assert_eq!(stranger(ours, "cursors").as_deref(), Some(text));
    store.own(ours).unwrap();
    assert!(store.has_owner().unwrap());
    let before = store.newest_entries();
    assert_eq!(before.len(), 5);
    store.own(ours).unwrap();
    assert_eq!(store.newest_entries(), before, "nothing is written twice");
    for name in ["log", "keys", "cursors", "channels", "node"] {
        assert_eq!(stranger(ours, name), None);
        let text = format!("keyspace {name} is not of this log, or was emptied");
        assert_eq!(stranger(other, name), Some(text));
    }
    assert_eq!(stranger(other, "unknown"), None);
    store.disown().unwrap();
    assert!(!store.has_owner().unwrap());
    // One of them is enough.
    store.log.insert(OWNER, owner(other)).unwrap();
    assert!(store.has_owner().unwrap());
    store.own(ours).unwrap();
    assert_eq!(stranger(ours, "log"), None, "what was another's is ours");
}

#[test]
fn entries_are_marked_as_flushed_once_they_are_in_tables() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert!(store.newest_entries().is_empty() && store.flushed().is_empty());
    fill(&store, "a", 0, 3);
    let newest = store.newest_entries();
    let of = |keyspace: &Keyspace| newest[&keyspace.id()];
    // One batch, in three keyspaces.
    assert_eq!(newest.len(), 3);
    assert!(of(&store.log) == of(&store.channels) && of(&store.log) == of(&store.node));
    assert!(store.flushed().is_empty());
    to_table(&store.log);
    let flushed = store.flushed();
    assert_eq!(
        flushed.into_iter().collect::<Vec<_>>(),
        [(store.log.id(), of(&store.log))]
    );
    fill(&store, "b", 1, 1);
    assert!(store.newest_entries()[&store.log.id()] > store.flushed()[&store.log.id()]);
}

#[test]
fn what_is_worth_flushing_is_flushed_and_the_rest_stays_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let data = "x".repeat(64 << 10);
    for flushes in 1..=2 {
        write(&store, flushes, |group| {
            for offset in 1..=20 {
                group.publish(0, (offset, 1), &draft("a", &data, 1), true);
            }
            group.remember_key(vec![1], 1, 1);
        });
        store.flush(NEVER).unwrap();
        let newest = store.newest_entries()[&store.log.id()];
        let flushed = store.flushed();
        assert_eq!(
            flushed.into_iter().collect::<Vec<_>>(),
            [(store.log.id(), newest)]
        );
    }
    // Nothing is left to do.
    store.flush(NEVER).unwrap();
    let bytes = store.disk_bytes().unwrap();
    assert!(bytes > 1 << 10, "{bytes}");
}

#[test]
fn the_keyspace_with_the_most_tables_that_are_not_merged_counts() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_quietly(directory.path());
    assert_eq!(store.unmerged(), 0);
    for tables in 1..=3 {
        fill(&store, "a", 0, 1);
        store.log.tree.flush_active_memtable(0).unwrap();
        if tables == 1 {
            store.node.tree.flush_active_memtable(0).unwrap();
        }
        assert_eq!(store.unmerged(), tables);
    }
}

#[test]
fn a_flush_that_does_not_end_is_not_awaited_for_longer_than_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_quietly(directory.path());
    let data = "x".repeat(2 << 20);
    write(&store, 1, |group| {
        group.publish(0, (1, 1), &draft("a", &data, 1), true);
    });
    store.flush(Duration::from_millis(1)).unwrap();
    assert_eq!(store.log.sealed_memtable_count(), 1);
    assert!(store.flushed().is_empty());
}

#[test]
fn a_walk_ends_where_its_bytes_are_used_up_and_continues_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, 1, |group| {
        for n in 1..=3 {
            group.remember_key(vec![n; 4], 1, 1);
        }
    });
    // A key of 4 bytes and an entry of 16.
    let walk = |after: Option<&[u8]>, mut bytes| {
        let last = store.walk(&store.keys, after, &mut bytes).unwrap();
        (last, bytes)
    };
    let at = |n| Some(vec![n; 4]);
    assert_eq!(walk(None, 61), (None, 1));
    assert_eq!(walk(None, 60), (at(3), 0));
    assert_eq!(walk(None, 41), (at(3), 0));
    assert_eq!(walk(None, 40), (at(2), 0));
    assert_eq!(walk(None, 1), (at(1), 0));
    assert_eq!(walk(at(2).as_deref(), 20), (at(3), 0));
    assert_eq!(walk(at(2).as_deref(), 30), (None, 10));
    assert_eq!(walk(at(3).as_deref(), 30), (None, 30));
    let names = store.indexes().map(|keyspace| keyspace.name().to_string());
    assert_eq!(names, ["keys", "cursors", "channels", "node"]);
}

#[test]
fn a_group_counts_what_it_publishes_and_removes_and_is_seen_only_once_committed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut group = store.group();
    assert!(group.is_empty());
    assert_eq!(group.size(), Size::default());
    let draft = draft("a", "x", 1);
    let mut record = Vec::new();
    encode(&draft, 1, &mut record);
    group.publish(0, (1, 1), &draft, true);
    assert!(!group.is_empty());
    group.publish(0, (2, 2), &draft, false);
    group.publish(0, (3, 3), &draft, true);
    group.remember_key(vec![1], 3, 5);
    let expected = Size {
        published: 3,
        bytes: 3 * record.len() as u64,
        removed: 0,
    };
    assert_eq!(group.size(), expected);
    assert_eq!(
        (group.published(&[1]), group.published(&[2])),
        (Some(3), None)
    );
    assert_eq!(group.published_before(&[1]).unwrap(), None);
    assert_eq!(store.last_offset(0).unwrap(), None);
    group.commit(Newest::default()).unwrap();
    assert_eq!(store.published(&[1]).unwrap(), Some((3, 5)));
    assert!(store.record(0, 1).unwrap().is_some() && store.record(0, 3).unwrap().is_some());
    assert_eq!(store.record(0, 2).unwrap(), None, "it is not kept");
    let mut group = store.group();
    assert_eq!(group.published_before(&[1]).unwrap(), Some((3, 5)));
    assert_eq!(group.published(&[1]), None);
    group.remove(0, 1..=2);
    group.remove(0, 3..=3);
    assert_eq!(group.size().removed, 3);
    group.commit(Newest::default()).unwrap();
    assert_eq!(store.last_offset(0).unwrap(), None);
}

#[test]
fn a_group_sees_the_cursors_that_it_moves_and_forgets() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let cursor = |offset| Cursor {
        position: Position::new(1, offset),
        time_ms: offset,
    };
    let of = |user: &str, consumer| cursor_key(0, user, &key(consumer));
    write(&store, 1, |group| {
        for (offset, consumer) in (1..).zip(["one", "two", "three"]) {
            group.move_cursor(of("ann", consumer), cursor(offset));
        }
        group.move_cursor(of("bob", "one"), cursor(9));
    });
    let mut group = store.group();
    group.move_cursor(of("ann", "one"), cursor(5));
    group.move_cursor(of("ann", "four"), cursor(4));
    group.move_cursor(of("bob", "one"), cursor(10));
    group.forget_cursor(of("ann", "two"));
    assert_eq!(group.cursor(&of("ann", "one")).unwrap(), Some(cursor(5)));
    assert_eq!(group.cursor(&of("ann", "two")).unwrap(), None);
    assert_eq!(group.cursor(&of("ann", "three")).unwrap(), Some(cursor(3)));
    let prefix = crate::log::record::of_user(0, "ann");
    let mut all = group.cursors(&prefix).unwrap();
    all.sort_by_key(|(_, cursor)| cursor.time_ms);
    let expected = [("three", 3), ("four", 4), ("one", 5)];
    let expected = expected.map(|(consumer, offset)| (of("ann", consumer), cursor(offset)));
    assert_eq!(all, expected);
    assert_eq!(store.cursor(&of("ann", "one")).unwrap(), Some(cursor(1)));
    assert_eq!(store.cursors(&prefix).unwrap().len(), 3);
    group.commit(Newest::default()).unwrap();
    let mut all = store.cursors(&prefix).unwrap();
    all.sort_by_key(|(_, cursor)| cursor.time_ms);
    assert_eq!(all, expected);
}

#[test]
fn values_removals_and_sessions_are_stored_apart_from_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let saved = |n: u64| Saved {
        bytes: n.to_string().into(),
        ends_ms: n,
    };
    // Two with the same first byte, and the first and the last of all.
    let ids = [[0; 16], [7; 16], [0xFF; 16]].map(SessionId::from_bytes);
    let mut neighbour = [7; 16];
    neighbour[15] = 8;
    let ids = [ids[0], ids[1], SessionId::from_bytes(neighbour), ids[2]];
    let value = |name: &str, key: &str| {
        let mut draft = draft(name, "x", 1);
        draft.tags = Tags::new([(CONFLATION_TAG, key)]).unwrap();
        draft
    };
    let place = |offset| Place::after(Position::new(1, offset - 1), offset);
    write(&store, 1, |group| {
        for (offset, key) in (1..).zip(["b", "a", "c"]) {
            group.publish(3, (offset, offset), &value("a", key), false);
            group.set_value(3, key, place(offset));
        }
        group.publish(4, (1, 9), &value("other", "a"), false);
        group.set_value(4, "a", place(1));
        group.remove_value(3, "c");
        group.remember_removal(3, Some(&(1..=4)));
        group.remember_removal(5, Some(&(7..=9)));
        for (n, id) in (1..).zip(ids) {
            group.remember_session(&(id, Some(saved(n))));
        }
    });
    let values = |number, name: &str| {
        let (moment, all) = (store.moment(), (usize::MAX, usize::MAX));
        let some = store.values_after(&moment, (number, &channel(name)), None, all);
        let of = |value: offhook_engine::Publication| {
            (
                value.tags.get(CONFLATION_TAG).unwrap().to_owned(),
                value.position.offset,
            )
        };
        let all = some.unwrap().values;
        all.into_iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(values(3, "a"), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!(values(4, "other"), [("a".to_owned(), 1)]);
    assert_eq!(values(5, "none"), []);
    assert_eq!(store.removals().unwrap(), [(3, 1..=4), (5, 7..=9)].into());
    let expected: Vec<_> = ids.into_iter().zip((1..).map(saved)).collect();
    assert_eq!(store.sessions().unwrap(), expected);
    assert_eq!(store.readable_sessions(), expected);
    write(&store, 2, |group| {
        group.remember_removal(3, None);
        group.remember_session(&(ids[1], None));
    });
    assert_eq!(store.removals().unwrap(), [(5, 7..=9)].into());
    assert_eq!(store.sessions().unwrap().len(), 3);
}

#[test]
fn a_compaction_drops_old_keys_and_the_cursors_of_sessions_that_ended() {
    let week = 7 * 24 * 3600 * 1000;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let at = |time_ms| Cursor {
        position: Position::new(1, 1),
        time_ms,
    };
    let session = format!("\0{}", SessionId::from_bytes([7; 16]));
    let cursors = [(&*session, 99_u64), (&*session, 100), ("ann", 1), ("", 1)];
    let cursors =
        cursors.map(|(scope, time_ms)| (cursor_key(0, scope, &key(&time_ms.to_string())), time_ms));
    let keys = [99, 100].map(|time_ms: u64| {
        (
            idempotency_key(0, "ann", &key(&time_ms.to_string())),
            time_ms,
        )
    });
    let compact = |batch| {
        write(&store, batch, |group| {
            // Written anew, so that there is something to merge.
            for (key, time_ms) in &cursors {
                group.move_cursor(key.clone(), at(*time_ms));
            }
            for (key, time_ms) in &keys {
                group.remember_key(key.clone(), 1, *time_ms);
            }
        });
        for keyspace in [&store.keys, &store.cursors] {
            to_table(keyspace);
            keyspace.major_compact().unwrap();
        }
    };
    let known = || {
        let keys = keys
            .each_ref()
            .map(|(key, _)| store.published(key).unwrap().is_some());
        let cursors = cursors
            .each_ref()
            .map(|(key, _)| store.cursor(key).unwrap().is_some());
        (keys, cursors)
    };
    store.own(LogId::fresh()).unwrap();
    compact(1);
    assert_eq!(known(), ([true; 2], [true; 4]));
    store.forget_keys_before(100);
    store.forget_cursors_at(100 + week);
    compact(2);
    assert_eq!(known(), ([false, true], [false, true, true, true]));
    assert!(store.keys.contains_key(OWNER).unwrap() && store.cursors.contains_key(OWNER).unwrap());
}
