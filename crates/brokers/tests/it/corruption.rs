//! A damaged log is detected and reported, and not served as if it were good.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use offhook_brokers::{Broker, Durability, Health, Log, LogOptions, OpenError};
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, draft, kept, open_log};

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

/// Flips one bit in place: journals are large and sparse.
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
    let mut worker = TestWorker::new(&open_log(directory.path(), kept(1_000_000)));
    for group in 0..5 {
        let number = |n: u32| format!("{} {}", group * 20 + n, "x".repeat(100));
        let ids: Vec<_> = (0..20)
            .map(|n| worker.send(draft("a", &number(n), None)))
            .collect();
        for id in ids {
            worker.answer(id);
        }
    }
    directory
}

#[test]
fn a_truncated_journal_is_refused_and_the_error_says_what_to_do() {
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
fn after_an_accepted_loss_a_subscriber_that_had_received_the_lost_part_is_told() {
    let directory = written();
    let before = TestWorker::new(&open(directory.path(), false).unwrap()).follow("a");
    let journal = journals(directory.path()).pop().unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(8_000)
        .unwrap();
    let after = TestWorker::new(&open(directory.path(), true).unwrap()).follow("a");
    assert!(after.head.offset < before.head.offset);
    let mut worker = TestWorker::new(&open(directory.path(), false).unwrap());
    let (_, start, _) = worker.read("a", ReadFrom::After(before.head), 1);
    assert_eq!(start.resolution, Resolution::Diverged);
    assert_eq!(start.agreed, after.head);
    drop(worker);
    let again = TestWorker::new(&open(directory.path(), false).unwrap()).follow("a");
    assert_eq!(again.head, after.head, "accepted once, it is settled");
}

#[test]
fn with_relaxed_durability_a_loss_is_reported_and_the_log_opens() {
    let directory = written();
    let before = TestWorker::new(&open(directory.path(), false).unwrap()).follow("a");
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
    let after = TestWorker::new(&log).follow("a");
    assert!(after.head.offset < before.head.offset);
    let (_, start, _) = TestWorker::new(&log).read("a", ReadFrom::After(before.head), 1);
    assert_eq!(start.resolution, Resolution::Diverged);
    assert_eq!(start.agreed, after.head);
}

#[test]
fn a_flipped_bit_in_the_journal_is_never_served_as_valid() {
    let whole = written();
    let all = TestWorker::new(&open(whole.path(), false).unwrap()).texts("a");
    let mut refused = 0;
    for position in (600..14_000).step_by(331) {
        let directory = written();
        let journal = journals(directory.path()).pop().unwrap();
        flip(&journal, position);
        match open(directory.path(), false) {
            Err(OpenError::Corrupt { .. } | OpenError::LostAcknowledged { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
            // A bit that nothing reads may flip: then everything must be there.
            Ok(broker) => assert_eq!(TestWorker::new(&broker).texts("a"), all),
        }
    }
    assert!(refused > 30, "only {refused} of 41 were noticed");
}

/// A log whose tables of publications have one flipped bit each; also returns how many publications
/// were published.
fn with_damaged_tables() -> (tempfile::TempDir, u64) {
    const COUNT: u64 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    {
        let mut worker = TestWorker::new(&open_log(directory.path(), kept(1_000_000)));
        // Enough that tables are written: a memtable holds 16 MiB.
        let mut ids = Vec::new();
        for n in 0..COUNT {
            let noise = format!("{n} ").repeat(200);
            ids.push(worker.send(draft("a", &noise, None)));
            if ids.len() == 1_000 {
                for id in ids.drain(..) {
                    worker.answer(id);
                }
            }
        }
    }
    let mut tables = Vec::new();
    files(directory.path(), &mut tables);
    tables.retain(|file| {
        file.parent()
            .is_some_and(|parent| parent.ends_with("keyspaces/1/tables"))
    });
    assert!(!tables.is_empty(), "no table was written");
    for table in &tables {
        flip(table, fs::metadata(table).unwrap().len() / 3);
    }
    (directory, COUNT)
}

#[test]
fn one_flipped_bit_loses_only_its_block_and_a_gap_gives_the_reason() {
    let (directory, count) = with_damaged_tables();
    let broker = open(directory.path(), false).unwrap();
    let mut worker = TestWorker::new(&broker);
    let (mut after, mut read, mut damaged) = (0, 0, 0);
    let mut from = ReadFrom::Start;
    while after < count {
        let (stream, start, publications) = worker.read("a", from, 1_000);
        assert_eq!(stream.head.offset, count);
        if start.after.offset > after {
            assert_eq!(stream.trimmed, Trimmed::Damaged);
            damaged += start.after.offset - after;
            after = start.after.offset;
        }
        from = ReadFrom::After(start.after);
        for publication in publications {
            after += 1;
            read += 1;
            assert_eq!(publication.position.offset, after, "without a hole");
            let text = format!("{} ", after - 1).repeat(200);
            assert_eq!(publication.data, text);
            from = ReadFrom::After(publication.position);
        }
    }
    assert_eq!(read + damaged, count);
    assert!((1..200).contains(&damaged), "{damaged} are damaged");
    let Health::Corrupt(text) = broker.health() else {
        panic!("{:?}", broker.health())
    };
    assert!(
        text.contains("channel a: damaged at offset") && text.contains("restore the log"),
        "{text}"
    );
}

#[test]
fn reading_backward_skips_a_damaged_block() {
    let (directory, count) = with_damaged_tables();
    let broker = open(directory.path(), false).unwrap();
    let mut worker = TestWorker::new(&broker);
    let mut before = worker.follow("a").head;
    let (mut next, mut read, mut damaged) = (count - 1, 0, 0);
    while next > 0 {
        let (_, start, page) = worker.read("a", ReadFrom::Before(before), 1_000);
        assert_eq!(start.agreed.offset, next);
        let newest = page.last().expect("what is damaged is passed over");
        damaged += next - newest.position.offset;
        for (publication, offset) in page.iter().zip(page[0].position.offset..) {
            assert_eq!(publication.position.offset, offset, "without a hole");
            let text = format!("{} ", offset - 1).repeat(200);
            assert_eq!(publication.data, text);
            read += 1;
        }
        assert_eq!(page[0].previous, start.after);
        before = page[0].position;
        next = before.offset - 1;
    }
    assert_eq!(read + damaged, count - 1);
    assert!((1..200).contains(&damaged), "{damaged} are damaged");
}

#[test]
fn a_channel_with_a_flipped_bit_accepts_publications_and_subscribers() {
    let (directory, count) = with_damaged_tables();
    let broker = open(directory.path(), false).unwrap();
    let mut worker = TestWorker::new(&broker);
    assert_eq!(worker.follow("a").head.offset, count);
    assert_eq!(worker.publish("a", "live").offset, count + 1);
    let (_, newest) = worker.history("a", ReadFrom::Last(1), 10);
    assert_eq!(newest[0].data, "live");
}

#[test]
fn damage_is_found_in_the_background_before_it_is_read() {
    let (directory, _) = with_damaged_tables();
    let broker = open(directory.path(), false).unwrap();
    let mut worker = TestWorker::new(&broker);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut second = 6;
    let text = loop {
        if let Health::Corrupt(text) = broker.health() {
            break text;
        }
        assert!(std::time::Instant::now() < deadline, "it was never found");
        broker.tick(at(second * 1_000));
        second += 1;
        worker.writer_barrier();
    };
    assert!(text.contains("channel a: damaged at offset"), "{text}");
    assert!(text.contains("live messages"), "{text}");
}

#[test]
fn checking_an_intact_log_while_it_is_written_and_trimmed_finds_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open_log(directory.path(), kept(50));
    let mut worker = TestWorker::new(&broker);
    for second in 1..200 {
        for n in 0..5 {
            worker.publish(&format!("channel {n}"), &second.to_string());
        }
        broker.tick(at(second * 1_000));
        worker.writer_barrier();
        assert_eq!(broker.health(), Health::Good);
    }
}
