use offhook_engine::{Key, Place, Position, SessionId};

use super::*;
use crate::{
    cursors::Cursor,
    hub::Saved,
    log::{
        manifest::LogId,
        record::{cursor_key, encode, idempotency_key},
        retained::Retained,
        store::Group,
        tests::{
            damaged::damage,
            written::{channel, draft, fill, open, write},
        },
    },
};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

#[test]
fn the_next_channel_gets_a_number_above_those_of_everything_stored() {
    type Addition = fn(&mut Group);
    let stages: [Addition; 5] = [
        |group| group.publish(8, (1, 1), &draft("a", "x", 1), true),
        |group| group.remember_key(idempotency_key(8, "ann", &key("one")), 1, 1),
        |group| {
            let position = Position::new(1, 1);
            let cursor = Cursor {
                position,
                time_ms: 1,
            };
            group.move_cursor(cursor_key(8, "ann", &key("one")), cursor);
        },
        |group| {
            group.publish(8, (1, 1), &draft("a", "x", 1), false);
            group.set_value(8, "one", Place::after(Position::new(1, 0), 1));
        },
        |group| group.remember_removal(8, Some(&(1..=2))),
    ];
    for (n, stage) in stages.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        // What sorts behind it, and is no channel's.
        store.own(LogId::fresh()).unwrap();
        let saved = Saved {
            bytes: "x".into(),
            ends_ms: 1,
        };
        write(&store, 1, |group| {
            group.remember_session(&(SessionId::from_bytes([0xFF; 16]), Some(saved)));
            stage(group);
        });
        assert_eq!(store.numbers(false).unwrap().channels, 9, "{n}");
        // What is recorded counts if it is higher.
        write(&store, 2, |group| group.remember_channel_count(20));
        assert_eq!(store.numbers(false).unwrap().channels, 20, "{n}");
    }
}

#[test]
fn publications_are_examined_if_a_keyspace_is_newer_than_the_record() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store, "a", 0, 30);
    fill(&store, "b", 3, 70);
    write(&store, 5, |group| group.remember_channel_count(4));
    let numbers = store.numbers(false).unwrap();
    assert_eq!((numbers.sequence, numbers.channels), (500, 4));
    // Written without a record, as after an accepted loss.
    let mut record = Vec::new();
    encode(&draft("a", "x", 1), 900, &mut record);
    store.log.insert(log_key(0, 31), &*record).unwrap();
    let numbers = store.numbers(false).unwrap();
    assert_eq!((numbers.sequence, numbers.channels), (900, 4));
    encode(&draft("b", "x", 1), 800, &mut record);
    store.log.insert(log_key(3, 71), &*record).unwrap();
    assert_eq!(store.numbers(false).unwrap().sequence, 900);
    let entry = Retained::new(11).encode();
    store.channels.insert("c", entry).unwrap();
    assert_eq!(store.numbers(false).unwrap().channels, 12);
}

#[test]
fn without_a_count_and_with_a_damaged_list_the_channels_that_can_be_read_count_if_accepted() {
    const CHANNELS: u32 = 3_000;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, 1, |group| {
        for number in 0..CHANNELS {
            let name = channel(&format!("channel {number:04}"));
            group.remember(&name, &Retained::new(number));
        }
    });
    store
        .node
        .insert("channels", b"damaged".as_slice())
        .unwrap();
    assert_eq!(store.numbers(false).unwrap().channels, CHANNELS);
    drop(store);
    damage(directory.path(), 4);
    let store = open(directory.path());
    assert!(store.numbers(false).is_err());
    let found = store.numbers(true).unwrap().channels;
    assert!((1..CHANNELS).contains(&found), "{found}");
    // The numbers in keys count, too.
    write(&store, 2, |group| {
        group.remember_removal(4_000, Some(&(1..=2)))
    });
    assert_eq!(store.numbers(true).unwrap().channels, 4_001);
}
