//! A damaged log is found, told, and not served as good.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use offhook_brokers::{Broker, Durability, Health, Log, LogOptions, OpenError};
use offhook_engine::*;

use crate::desk::{Desk, at, draft, kept, open_log};

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(path).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

fn journals(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(path, &mut found);
    found.retain(|file| file.extension().is_some_and(|e| e == "jnl"));
    found.sort();
    found
}

/// Flips one bit, in place: journals are large and sparse.
fn flip(file: &Path, position: u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
}

fn open(path: &Path, accept_loss: bool) -> Result<Arc<dyn Broker>, OpenError> {
    let mut options = LogOptions::new(path);
    options.accept_loss = accept_loss;
    let log = Log::open(options, Arc::new(kept(1_000_000)), at(5))?;
    Ok(Arc::new(log))
}

fn written() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(&open_log(directory.path(), kept(1_000_000)));
    for group in 0..5 {
        let number = |n: u32| format!("{} {}", group * 20 + n, "x".repeat(100));
        let ids: Vec<_> = (0..20)
            .map(|n| desk.send(draft("a", &number(n), None)))
            .collect();
        for id in ids {
            desk.answer(id);
        }
    }
    directory
}

#[test]
fn a_journal_that_lost_its_end_is_not_served_and_says_what_to_do() {
    let directory = written();
    let journal = journals(directory.path()).pop().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
    file.set_len(8_000).unwrap();
    let error = open(directory.path(), false).unwrap_err();
    assert!(
        matches!(error, OpenError::LostAcknowledged { .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("restore the directory from a backup, or accept the loss"),
        "{text}"
    );
}

#[test]
fn after_an_accepted_loss_a_subscriber_that_had_what_is_lost_hears_of_it() {
    let directory = written();
    let before = Desk::new(&open(directory.path(), false).unwrap()).follow("a");
    let journal = journals(directory.path()).pop().unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(8_000)
        .unwrap();
    let after = Desk::new(&open(directory.path(), true).unwrap()).follow("a");
    assert!(after.head.offset < before.head.offset);
    let mut desk = Desk::new(&open(directory.path(), false).unwrap());
    let (_, start, _) = desk.read("a", ReadFrom::After(before.head), 1);
    assert_eq!(start.resolution, Resolution::Diverged);
    assert_eq!(start.agreed, after.head);
    drop(desk);
    let again = Desk::new(&open(directory.path(), false).unwrap()).follow("a");
    assert_eq!(again.head, after.head, "accepted once, it is settled");
}

#[test]
fn with_relaxed_durability_a_loss_is_no_reason_to_stay_down_but_one_to_say_so() {
    let directory = written();
    let before = Desk::new(&open(directory.path(), false).unwrap()).follow("a");
    let journal = journals(directory.path()).pop().unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(8_000)
        .unwrap();
    let mut options = LogOptions::new(directory.path());
    options.durability = Durability::Os;
    let log: Arc<dyn Broker> =
        Arc::new(Log::open(options, Arc::new(kept(1_000_000)), at(5)).unwrap());
    let after = Desk::new(&log).follow("a");
    assert!(after.head.offset < before.head.offset);
    let (_, start, _) = Desk::new(&log).read("a", ReadFrom::After(before.head), 1);
    assert_eq!(start.resolution, Resolution::Diverged);
    assert_eq!(start.agreed, after.head);
}

#[test]
fn a_flipped_bit_in_the_journal_is_never_served_as_good() {
    let whole = written();
    let all = Desk::new(&open(whole.path(), false).unwrap()).texts("a");
    let mut refused = 0;
    for position in (600..14_000).step_by(331) {
        let directory = written();
        let journal = journals(directory.path()).pop().unwrap();
        flip(&journal, position);
        match open(directory.path(), false) {
            Err(OpenError::Corrupt { .. } | OpenError::LostAcknowledged { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
            // A bit that nothing reads may flip: then everything must be there.
            Ok(broker) => assert_eq!(Desk::new(&broker).texts("a"), all),
        }
    }
    assert!(refused > 30, "only {refused} of 41 were noticed");
}

#[test]
fn a_flipped_bit_in_a_table_is_refused_to_readers_and_health_says_where() {
    let directory = tempfile::tempdir().unwrap();
    {
        let mut desk = Desk::new(&open_log(directory.path(), kept(1_000_000)));
        // Enough that tables are written: a memtable holds 16 MiB.
        let mut ids = Vec::new();
        for n in 0..20_000 {
            let noise = format!("{n} ").repeat(200);
            ids.push(desk.send(draft("a", &noise, None)));
            if ids.len() == 1_000 {
                for id in ids.drain(..) {
                    desk.answer(id);
                }
            }
        }
    }
    let mut tables = Vec::new();
    files(directory.path(), &mut tables);
    tables.retain(|file| {
        file.parent()
            .is_some_and(|parent| parent.ends_with("tables"))
    });
    tables.retain(|file| fs::metadata(file).unwrap().len() > 1 << 20);
    assert!(!tables.is_empty(), "no table was written");
    for table in &tables {
        flip(table, fs::metadata(table).unwrap().len() / 3);
    }
    let broker = open(directory.path(), false).unwrap();
    let mut desk = Desk::new(&broker);
    let mut after = desk.read("b", ReadFrom::Start, 1).1.after;
    let failure = loop {
        match desk.ask_history("a", ReadFrom::After(after), 1_000) {
            BrokerEvent::History {
                publications,
                stream,
                ..
            } => {
                assert!(after != stream.head, "the damage was served as good");
                after = publications.last().unwrap().position;
            }
            BrokerEvent::Failed { failure, .. } => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure, BrokerFailure::StorageCorrupt);
    let Health::Corrupt(text) = broker.health() else {
        panic!("{:?}", broker.health())
    };
    assert!(
        text.contains("channel a") && text.contains("restore it from a backup"),
        "{text}"
    );
}
