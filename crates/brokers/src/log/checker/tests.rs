use std::sync::mpsc::sync_channel;

use super::*;
use crate::{
    Health,
    log::{
        LogOptions,
        tests::{
            damaged::damage,
            written::{channel, fill, open, write},
        },
    },
};

/// A checker of a store that this function wrote, with so many bytes a tick.
struct Checked {
    checker: Checker,
    condition: Arc<Condition>,
    directory: tempfile::TempDir,
}

fn checked(budget: usize, stage: impl FnOnce(&Arc<Store>)) -> Checked {
    let directory = tempfile::tempdir().unwrap();
    stage(&open(directory.path()));
    checked_in(directory, budget)
}

fn checked_in(directory: tempfile::TempDir, budget: usize) -> Checked {
    let options = LogOptions::new(directory.path());
    let store = Store::open(&options).unwrap();
    let condition = Arc::new(Condition::default());
    let (_ticks, told) = sync_channel(1);
    let store = SharedStore::new(options, store);
    let checker = Checker::new(store, Arc::clone(&condition), budget, told);
    Checked {
        checker,
        condition,
        directory,
    }
}

impl Checked {
    /// Ticks until a round is complete; returns how many ticks that takes.
    fn round(&mut self) -> usize {
        for ticks in 1..10_000 {
            self.checker.tick();
            if matches!(self.checker.place, Place::Resting(REST)) {
                return ticks;
            }
        }
        panic!("it never ends, and is at {:?}", self.checker.place)
    }

    /// The damage that was reported; nothing if there is none.
    fn reported(&self) -> String {
        match self.condition.health() {
            Health::Good => String::new(),
            Health::Corrupt(text) => text,
            other @ Health::Failing(_) => panic!("{other:?}"),
        }
    }
}

const PLENTY: usize = 1 << 30;

#[test]
fn an_intact_log_is_read_completely_in_one_tick_if_the_budget_allows_it() {
    let mut checked = checked(PLENTY, |store| {
        fill(store, "a", 0, 5);
        fill(store, "b", 1, 1);
    });
    for name in ["a", "b", "c"] {
        checked
            .condition
            .damaged(&channel(name), "it was".to_owned());
    }
    assert_eq!(checked.round(), 1);
    let text = checked.reported();
    assert!(text.contains("channel c: it was"), "{text}");
    assert!(
        !text.contains("channel a") && !text.contains("channel b"),
        "{text}"
    );
}

#[test]
fn a_round_is_followed_by_a_pause_of_an_hour_and_by_another_round() {
    let mut checked = checked(PLENTY, |store| drop(fill(store, "a", 0, 5)));
    for _ in 0..2 {
        assert_eq!(checked.round(), 1);
        checked
            .condition
            .damaged(&channel("a"), "it was".to_owned());
        for left in (1..3600).rev() {
            checked.checker.tick();
            assert!(matches!(checked.checker.place, Place::Resting(now) if now == left));
        }
        assert!(!checked.reported().is_empty());
    }
    checked.checker.tick();
    assert_eq!(checked.reported(), "");
}

#[test]
fn a_tick_reads_as_much_as_its_budget_and_the_next_one_continues_there() {
    // A publication's key has 12 bytes, and its record 21.
    let of_three = 3 * 33;
    let mut checked = checked(of_three, |store| drop(fill(store, "a", 0, 8)));
    checked
        .condition
        .damaged(&channel("a"), "it was".to_owned());
    checked.checker.place = Place::Channel(channel("a"), 1);
    let mut places = Vec::new();
    for _ in 0..3 {
        checked.checker.tick();
        places.push(format!("{:?}", checked.checker.place));
    }
    let at = |offset: u64| format!("{:?}", Place::Channel(channel("a"), offset));
    let end = format!("{:?}", Place::Resting(REST));
    assert_eq!(places, [at(4), at(7), end]);
    // Only a channel that was read from its first publication on is known to be whole.
    assert!(checked.reported().contains("channel a: it was"));

    checked.checker.place = Place::Index(0, None);
    checked.checker.budget = 1;
    let ticks = checked.round();
    checked.checker.place = Place::Index(0, None);
    checked.checker.budget = PLENTY;
    assert_eq!(checked.round(), 1);
    // One for each entry: of the channel, the batch, eight publications, and the list of channels.
    assert!((10..14).contains(&ticks), "{ticks}");
}

#[test]
fn names_of_channels_count_against_the_budget() {
    // As many as the name and one more.
    let mut checked = checked(4, |store| {
        for (number, name) in (0..).zip(["aaa", "bbb"]) {
            fill(store, name, number, 1);
        }
    });
    checked.checker.place = Place::Channels(String::new());
    let mut places = Vec::new();
    while !matches!(checked.checker.place, Place::Resting(_)) {
        checked.checker.tick();
        places.push(format!("{:?}", checked.checker.place));
    }
    let expected = [
        Place::Channel(channel("aaa"), 1),
        Place::Channel(channel("aaa"), 2),
        Place::Channel(channel("bbb"), 1),
        Place::Channel(channel("bbb"), 2),
        Place::Resting(REST),
    ];
    assert_eq!(places, expected.map(|place| format!("{place:?}")));
}

#[test]
fn more_channels_than_are_listed_at_once_are_all_checked() {
    let mut checked = checked(PLENTY, |store| {
        for number in 0..2 * NAMES as u32 + 1 {
            fill(store, &format!("channel {number:03}"), number, 1);
        }
        // The last one has lost its publication.
        let last = 2 * NAMES as u32;
        write(store, 500, |group| group.remove(last, 1..=1));
    });
    assert_eq!(checked.round(), 1);
    let text = checked.reported();
    assert!(
        text.contains("channel channel 128: damaged at offset 1"),
        "{text}"
    );
    assert_eq!(text.matches("damaged at").count(), 1, "{text}");
}

#[test]
fn what_is_missing_or_damaged_in_a_channel_is_reported_with_its_first_offset() {
    let mut checked = checked(PLENTY, |store| {
        for (number, (name, lost)) in (0..).zip([("hole", 3), ("first", 1), ("last", 5)]) {
            fill(store, name, number, 5);
            write(store, 9, |group| group.remove(number, lost..=lost));
        }
        fill(store, "other", 3, 5);
        fill(store, "whole", 4, 5);
        // Behind the head in its entry.
        fill(store, "behind", 5, 5);
        let [log, .., channels, _] = store.keyspaces();
        for (number, offset) in [(3, 2), (5, 6)] {
            let key = crate::log::record::log_key(number, offset);
            log.insert(key, b"damaged".as_slice()).unwrap();
        }
        channels.insert("entry", b"damaged".as_slice()).unwrap();
    });
    assert_eq!(checked.round(), 1);
    let text = checked.reported();
    let damaged = [
        ("hole", 3),
        ("first", 1),
        ("last", 5),
        ("other", 2),
        ("behind", 6),
    ];
    for (name, offset) in damaged {
        let damage = format!("channel {name}: damaged at offset {offset}");
        assert!(text.contains(&damage), "{text}");
    }
    assert!(
        text.contains("channel entry: its entry cannot be read"),
        "{text}"
    );
    assert!(!text.contains("whole"), "{text}");
}

#[test]
fn publications_trimmed_before_the_next_part_is_read_are_not_damaged() {
    let mut checked = checked(PLENTY, |store| {
        let mut retained = fill(store, "a", 0, 5);
        let history = offhook_engine::History {
            count: 2,
            bytes: u64::MAX,
            age: None,
        };
        let mut sealed = Retained::new(0);
        for offset in 1..=5 {
            sealed.push(offset, 1, (offset, offset), &history);
        }
        assert_eq!(sealed.trim(&history, 0), Some(1..=3));
        std::mem::swap(&mut retained, &mut sealed);
        write(store, 2, |group| {
            group.remove(0, 1..=3);
            group.remember(&channel("a"), &retained);
        });
    });
    checked.checker.place = Place::Channel(channel("a"), 2);
    assert_eq!(checked.round(), 1);
    assert_eq!(checked.reported(), "");
    // A channel that is gone by then is passed over.
    checked.checker.place = Place::Channel(channel("gone"), 2);
    assert_eq!(checked.round(), 1);
    assert_eq!(checked.reported(), "");
}

#[test]
fn a_keyspace_with_a_damaged_block_is_reported_and_the_others_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store, "a", 0, 2);
    write(&store, 2, |group| {
        for n in 0_u32..3_000 {
            group.remember_key(n.to_be_bytes().repeat(5), 1, 1);
        }
        group.remove(0, 2..=2);
    });
    drop(store);
    damage(directory.path(), 2);
    let mut checked = checked_in(directory, PLENTY);
    assert_eq!(checked.round(), 1);
    let text = checked.reported();
    assert!(
        text.contains("the keyspace keys cannot be read completely"),
        "{text}"
    );
    assert!(text.contains("channel a: damaged at offset 2"), "{text}");
    assert!(checked.directory.path().exists());
}

#[test]
fn it_runs_until_nobody_ticks_it_and_does_nothing_without_a_budget() {
    for (budget, expected) in [(0, true), (PLENTY, false)] {
        let mut checked = checked(budget, |store| drop(fill(store, "a", 0, 1)));
        checked
            .condition
            .damaged(&channel("a"), "it was".to_owned());
        let (ticks, told) = sync_channel(2);
        checked.checker.ticks = told;
        for _ in 0..2 {
            ticks.send(()).unwrap();
        }
        drop(ticks);
        let Checked {
            checker,
            condition,
            directory: _directory,
        } = checked;
        checker.run();
        assert_eq!(!condition.health().is_good(), expected);
    }
}

#[test]
fn while_the_store_is_closed_nothing_is_read_and_the_place_is_kept() {
    let mut checked = checked(PLENTY, |store| drop(fill(store, "a", 0, 1)));
    checked.checker.store.close();
    checked.checker.tick();
    assert!(matches!(checked.checker.place, Place::Index(0, None)));
}
