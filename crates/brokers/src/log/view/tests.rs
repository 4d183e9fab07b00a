use std::{fs, sync::Arc};

use super::*;
use crate::log::tests::{
    damaged::damage,
    written::{channel, draft, fill, fill_by, open, open_log, write},
};

/// A log written by this function, opened for reading.
fn view(stage: impl FnOnce(&Arc<Store>)) -> (tempfile::TempDir, LogView) {
    let directory = tempfile::tempdir().unwrap();
    stage(&Arc::new(open_log(directory.path()).store));
    let view = LogView::open(directory.path()).unwrap();
    (directory, view)
}

/// What is read from an offset on, at most so many entries: the offset of a publication, or the ends
/// of a part that cannot be read.
fn read(view: &LogView, name: &str, from: u64, most: usize) -> Vec<(u64, Option<u64>)> {
    let mut found = Vec::new();
    let is_known = view.read(&channel(name), from, |entry| {
        found.push(match entry {
            Entry::Publication(publication) => {
                let Position { epoch, offset } = publication.position;
                assert_eq!(publication.previous.offset, offset - 1);
                assert_eq!((epoch.0, publication.sequence), (1, offset * 10));
                (offset, None)
            }
            Entry::Damaged(from, to) => (from, Some(to)),
        });
        found.len() < most
    });
    assert!(is_known);
    found
}

fn summaries(view: &LogView) -> Vec<ChannelSummary> {
    let mut all = Vec::new();
    view.channels(|summary| all.push(summary)).unwrap();
    all
}

const ALL: usize = usize::MAX;

#[test]
fn a_summary_has_the_head_the_retained_range_and_the_bytes_of_a_channel() {
    let (few, record) = (
        offhook_engine::History {
            count: 32,
            bytes: u64::MAX,
            age: None,
        },
        21,
    );
    let (_directory, view) = view(|store| {
        fill(store, "b", 0, 3);
        // Two in each bucket, and one in none.
        let mut retained = fill_by(store, "a", 1, 5, &few);
        // Trimmed to the newest three.
        let three = offhook_engine::History { count: 3, ..few };
        assert_eq!(retained.trim(&three, 0), Some(1..=2));
        write(store, 9, |group| {
            group.remove(1, 1..=2);
            group.remember(&channel("a"), &retained);
        });
    });
    let weight = draft("a", "x", 1).weight() as u64;
    let summary = |name, offset, first, count, bytes| ChannelSummary {
        name: channel(name),
        head: Position::new(1, offset),
        first,
        count,
        bytes,
    };
    let expected = [
        summary("a", 5, 3, 3, 2 * weight + record),
        summary("b", 3, 1, 3, 3 * record),
    ];
    assert_eq!(summaries(&view), expected);
}

#[test]
fn every_channel_is_listed_once_even_if_there_are_more_than_are_read_at_once() {
    let count = 2 * NAMES + 1;
    let (_directory, view) = view(|store| {
        write(store, 1, |group| {
            for n in 0..count {
                let mut retained = Retained::new(n as u32);
                retained.pass(1, 1);
                group.remember(&channel(&format!("channel {n:04}")), &retained);
            }
        });
    });
    let names: Vec<_> = summaries(&view).into_iter().map(|all| all.name).collect();
    let expected = (0..count).map(|n| channel(&format!("channel {n:04}")));
    assert_eq!(names, expected.collect::<Vec<_>>());
    let report = view.check();
    assert_eq!((report.channels, report.publications), (count as u64, 0));
}

#[test]
fn a_channel_is_read_from_an_offset_on_until_the_reader_has_enough() {
    let (_directory, view) = view(|store| drop(fill(store, "a", 0, 4)));
    let all = [(1, None), (2, None), (3, None), (4, None)];
    assert_eq!(read(&view, "a", 0, ALL), all);
    assert_eq!(read(&view, "a", 3, ALL), all[2..]);
    assert_eq!(read(&view, "a", 2, 2), all[1..3]);
    assert_eq!(read(&view, "a", 4, 1), all[3..]);
    assert_eq!(read(&view, "a", 5, ALL), []);
    assert!(!view.read(&channel("b"), 0, |_| true));
}

#[test]
fn what_cannot_be_read_is_named_with_its_first_and_last_offset_and_the_rest_is_read() {
    let (_directory, view) = view(|store| {
        fill(store, "a", 0, 9);
        write(store, 5, |group| {
            group.remove(0, 1..=1);
            group.remove(0, 3..=4);
            group.remove(0, 9..=9);
        });
        let [log, ..] = store.keyspaces();
        let key = crate::log::record::log_key(0, 7);
        log.insert(key, b"damaged".as_slice()).unwrap();
    });
    let all = [
        (1, Some(1)),
        (2, None),
        (3, Some(4)),
        (5, None),
        (6, None),
        (7, Some(7)),
        (8, None),
        (9, Some(9)),
    ];
    assert_eq!(read(&view, "a", 0, ALL), all);
    assert_eq!(read(&view, "a", 4, 2), [(4, Some(4)), (5, None)]);
    assert_eq!(read(&view, "a", 0, 3), all[..3]);
    assert_eq!(read(&view, "a", 0, 1), all[..1]);
    let report = view.check();
    let damaged = |from, to| ("a".to_owned(), from, to);
    let expected = CheckReport {
        channels: 1,
        publications: 4,
        bytes: 4 * 21,
        damaged: vec![damaged(1, 1), damaged(3, 4), damaged(7, 7), damaged(9, 9)],
        broken: vec![],
    };
    assert_eq!(report, expected);
    assert!(!report.is_good());
}

#[test]
fn publications_after_the_head_in_the_entry_belong_to_the_channel() {
    let (_directory, view) = view(|store| {
        let retained = fill(store, "a", 0, 2);
        fill(store, "a", 0, 4);
        write(store, 3, |group| group.remember(&channel("a"), &retained));
    });
    let [summary] = &*summaries(&view) else {
        panic!("one channel")
    };
    assert_eq!((summary.head.offset, summary.count), (4, 4));
    assert_eq!(read(&view, "a", 4, ALL), [(4, None)]);
    let report = view.check();
    assert!(report.is_good());
    assert_eq!((report.channels, report.publications), (1, 4));
}

#[test]
fn an_entry_that_cannot_be_read_is_reported_and_the_channel_is_not_listed() {
    let (_directory, view) = view(|store| {
        fill(store, "a", 0, 1);
        let [.., channels, _] = store.keyspaces();
        channels.insert("bad", b"short".as_slice()).unwrap();
    });
    assert_eq!(summaries(&view).len(), 1);
    assert!(!view.read(&channel("bad"), 0, |_| true));
    let report = view.check();
    assert_eq!(report.broken, ["channel bad: its entry cannot be read"]);
    assert_eq!((report.channels, report.publications), (2, 1));
    assert!(report.damaged.is_empty() && !report.is_good());
}

#[test]
fn a_keyspace_that_cannot_be_read_completely_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open_log(directory.path()).store);
    fill(&store, "a", 0, 1);
    write(&store, 2, |group| {
        for n in 0_u32..3_000 {
            group.remember_key(n.to_be_bytes().repeat(5), 1, 1);
        }
    });
    drop(store);
    damage(directory.path(), 2);
    let report = LogView::open(directory.path()).unwrap().check();
    assert_eq!(
        report.broken,
        ["the keyspace keys cannot be read completely"]
    );
    assert_eq!((report.channels, report.publications), (1, 1));
    assert!(!report.is_good());
}

fn refused(directory: &Path) -> String {
    match LogView::open(directory) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_log_that_is_in_use_or_incomplete_is_not_opened_for_reading() {
    let nothing = tempfile::tempdir().unwrap();
    let text = refused(nothing.path());
    assert!(text.contains("store/version is missing"), "{text}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let log = open_log(path);
    let text = refused(path);
    assert!(text.contains("another process uses this log"), "{text}");
    drop(log);
    let witness = path.join("witness");
    let good = fs::read(&witness).unwrap();
    fs::remove_file(&witness).unwrap();
    let text = refused(path);
    assert!(text.contains("`witness` is missing"), "{text}");
    let manifest = Manifest::read(path).unwrap().unwrap().unwrap();
    let newer = crate::log::witness::Witness::begin(path, manifest.id, manifest.epoch, 7);
    drop(newer.unwrap());
    let text = refused(path);
    let lost = "the store ends with batch 1, acknowledged was 7";
    assert!(text.contains(lost), "{text}");
    fs::write(&witness, good).unwrap();
    assert!(LogView::open(path).unwrap().check().is_good());
    let store = open(path);
    let [.., node] = store.keyspaces();
    node.remove("epochs").unwrap();
    drop(store);
    let text = refused(path);
    assert!(text.contains("the list of epochs is missing"), "{text}");
}
