//! The log's process is killed at random moments under load; everything acknowledged is present
//! afterwards, once and in order. The test runs itself again as the process that is killed.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use offhook_engine::*;

use crate::test_worker::{TestWorker, draft, kept, open_log};

const DIRECTORY: &str = "OFFHOOK_TEST_CRASH_DIRECTORY";
const FROM: &str = "OFFHOOK_TEST_CRASH_FROM";
const NAME: &str =
    "crash::every_acknowledged_publication_survives_kills_at_random_moments_once_and_in_order";
const CHANNELS: u64 = 7;
const ROUNDS: u64 = 20;
const WINDOW: usize = 300;

/// Publishes without end, and prints "number channel offset" for each acknowledgement.
fn publish_until_killed(directory: &Path, from: u64) {
    let mut worker = TestWorker::new(&open_log(directory, kept(1_000_000)));
    let mut out = std::io::stdout().lock();
    let mut waiting = std::collections::VecDeque::new();
    for number in from.. {
        let (channel, key) = (channel_of(number), format!("key {number}"));
        waiting.push_back((
            number,
            worker.send(draft(&channel, &number.to_string(), Some(&key))),
        ));
        if waiting.len() < WINDOW {
            continue;
        }
        while let Some((number, id)) = waiting.pop_front() {
            let BrokerEvent::Published { position, .. } = worker.answer(id) else {
                panic!()
            };
            if writeln!(out, "acknowledged {number} {}", position.offset).is_err() {
                return;
            }
        }
    }
}

fn channel_of(number: u64) -> String {
    format!("channel {}", number % CHANNELS)
}

/// Runs a publisher, kills it after `after` acknowledgements, and adds what it acknowledged to
/// `seen`.
fn run_and_kill(directory: &Path, from: u64, after: u64, seen: &mut BTreeMap<u64, u64>) {
    let mut publisher = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(publisher.stdout.take().unwrap()).lines();
    let mut acknowledged = 0;
    while let Some(Ok(line)) = lines.next() {
        let mut words = line
            .split(' ')
            .skip_while(|word| *word != "acknowledged")
            .skip(1);
        let (Some(number), Some(offset)) = (words.next(), words.next()) else {
            continue;
        };
        // The line that was being written when the process was killed may be cut short.
        let (Ok(number), Ok(offset)) = (number.parse(), offset.parse::<u64>()) else {
            continue;
        };
        acknowledged += 1;
        if acknowledged <= after {
            let before = seen.insert(number, offset);
            assert!(
                before.is_none_or(|before| before == offset),
                "{number} was published twice"
            );
        }
        if acknowledged == after {
            publisher.kill().unwrap();
        }
    }
    assert!(acknowledged >= after, "the publisher died by itself");
    publisher.wait().unwrap();
}

#[test]
fn every_acknowledged_publication_survives_kills_at_random_moments_once_and_in_order() {
    if let (Some(directory), Ok(from)) = (std::env::var_os(DIRECTORY), std::env::var(FROM)) {
        return publish_until_killed(Path::new(&directory), from.parse().unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    let mut seen = BTreeMap::new();
    let mut random = 0x9E37_79B9_u64;
    for round in 0..ROUNDS {
        // Begins a little before the first that was not acknowledged: those are retried.
        let from = seen
            .last_key_value()
            .map_or(0, |(last, _): (&u64, _)| last.saturating_sub(50));
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(round);
        run_and_kill(
            directory.path(),
            from,
            1 + (random >> 40) % 2_000,
            &mut seen,
        );
    }
    let mut worker = TestWorker::new(&open_log(directory.path(), kept(1_000_000)));
    let mut found = BTreeMap::new();
    for channel in 0..CHANNELS {
        let mut last = None;
        for publication in worker.all(&channel_of(channel)) {
            let number: u64 = std::str::from_utf8(&publication.data)
                .unwrap()
                .parse()
                .unwrap();
            assert!(last < Some(number), "{number} is out of order");
            last = Some(number);
            let twice = found.insert(number, publication.position.offset);
            assert_eq!(twice, None, "{number} is there twice");
        }
    }
    for (number, offset) in &seen {
        assert_eq!(found.get(number), Some(offset), "{number} was acknowledged");
    }
    println!(
        "{ROUNDS} kills, {} acknowledged, {} there",
        seen.len(),
        found.len()
    );
}
