//! Damage outside of publications: what can't be read of one channel or key costs no other, and a
//! compaction that meets a damaged block does not end publishing.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use offhook_engine::*;

use super::{NEVER, TestWorker, now};
use crate::{
    Broker, Health,
    log::{Log, LogOptions, store::Store},
};

fn open(path: &Path) -> Arc<Log> {
    let history = History {
        count: 1_000_000,
        bytes: u64::MAX,
        age: None,
    };
    let rules = ChannelRules {
        history,
        ..ChannelRules::default()
    };
    let rules = Arc::new(RuleBook::everything(rules));
    Arc::new(Log::open(LogOptions::new(path), rules, now()).unwrap())
}

/// Writes the memory of a closed log into tables, and flips a bit in each table of a keyspace.
pub(in crate::log) fn damage(path: &Path, keyspace: u64) {
    let store = Store::open(&LogOptions::new(path)).unwrap();
    for keyspace in store.keyspaces() {
        keyspace.rotate_memtable_and_wait().unwrap();
    }
    drop(store);
    let tables = path.join(format!("store/keyspaces/{keyspace}/tables"));
    let mut count = 0;
    for table in fs::read_dir(tables).unwrap().flatten() {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(table.path())
            .unwrap();
        let at = file.metadata().unwrap().len() / 3;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        count += 1;
    }
    assert!(count > 0, "no table was written");
}

/// Ticks until the log reports damage.
fn until_told(log: &Arc<Log>) -> String {
    let end = std::time::Instant::now() + NEVER;
    loop {
        log.tick(now());
        if let Health::Corrupt(text) = log.health() {
            return text;
        }
        assert!(std::time::Instant::now() < end, "it was never told");
        std::thread::yield_now();
    }
}

#[test]
fn a_damaged_block_in_the_list_of_channels_affects_only_its_channels() {
    const CHANNELS: usize = 300;
    let directory = tempfile::tempdir().unwrap();
    let name = |n: usize| format!("channel {n:03}");
    {
        let mut worker = TestWorker::new(&open(directory.path()));
        for n in 0..CHANNELS {
            worker.publish(&name(n));
        }
        for _ in 0..CHANNELS {
            worker.published().unwrap();
        }
    }
    damage(directory.path(), 4);
    let log = open(directory.path());
    let mut worker = TestWorker::new(&log);
    let (mut good, mut refused) = (0, 0);
    for n in 0..CHANNELS {
        worker.publish(&name(n));
        match worker.published() {
            Ok((position, _)) => {
                assert_eq!(position.offset, 2, "{}: after what it had", name(n));
                good += 1;
            }
            Err(failure) => {
                assert_eq!(failure, BrokerFailure::StorageCorrupt);
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && good > CHANNELS / 2, "{good} of {CHANNELS}");
    let text = until_told(&log);
    assert!(text.contains("channel channel "), "{text}");
    assert!(text.contains("restore the log from a backup"), "{text}");
}

#[test]
fn a_damaged_block_of_idempotency_keys_never_causes_a_duplicate() {
    const KEYS: usize = 3_000;
    let directory = tempfile::tempdir().unwrap();
    let key = |n: usize| format!("a key of some length {n:04}");
    {
        let mut worker = TestWorker::new(&open(directory.path()));
        for n in 0..KEYS {
            worker.publish_data("a", "x".into(), Some(&key(n)));
        }
        for _ in 0..KEYS {
            assert!(!worker.published().unwrap().1);
        }
    }
    damage(directory.path(), 2);
    let log = open(directory.path());
    let mut worker = TestWorker::new(&log);
    let (mut known, mut refused) = (0, 0);
    for n in 0..KEYS {
        worker.publish_data("a", "x".into(), Some(&key(n)));
        match worker.published() {
            Ok((_, duplicate)) => {
                assert!(duplicate, "{} was published twice", key(n));
                known += 1;
            }
            Err(failure) => {
                assert_eq!(failure, BrokerFailure::StorageCorrupt);
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && known > KEYS / 2, "{known} of {KEYS}");
    // Without a key nothing has to be looked up.
    worker.publish("a");
    let (position, _) = worker.published().unwrap();
    assert_eq!(position.offset, KEYS as u64 + 1);
    let text = until_told(&log);
    assert!(text.contains("the keyspace keys cannot be read"), "{text}");
}

/// Saves a session without asking for an answer.
fn save(worker: &TestWorker, session: u16, bytes: bytes::Bytes) {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&(session.wrapping_mul(0x9E37)).to_be_bytes());
    worker.submit(BrokerRequest::SaveSession {
        id: None,
        session: SessionId::from_bytes(id),
        bytes,
        expiry: std::time::Duration::from_secs(3600),
    });
}

fn load(worker: &mut TestWorker, session: u16) -> Option<bytes::Bytes> {
    let mut of = [0; 16];
    of[..2].copy_from_slice(&(session.wrapping_mul(0x9E37)).to_be_bytes());
    let (id, session) = (worker.id(), SessionId::from_bytes(of));
    worker.submit(BrokerRequest::LoadSession { id, session });
    let next = worker.next();
    let BrokerEvent::Session { bytes, .. } = next else {
        super::no_answer(&next)
    };
    bytes
}

#[test]
fn a_log_with_damaged_sessions_opens_with_the_others_if_the_loss_is_accepted() {
    const SESSIONS: u16 = 3_000;
    let directory = tempfile::tempdir().unwrap();
    {
        let worker = TestWorker::new(&open(directory.path()));
        for n in 0..SESSIONS {
            save(&worker, n, vec![b'x'; 100].into());
        }
    }
    damage(directory.path(), 5);
    let mut options = LogOptions::new(directory.path());
    let rules = Arc::new(RuleBook::everything(ChannelRules::default()));
    let refused = Log::open(options.clone(), Arc::clone(&rules), now());
    let text = refused.expect_err("sessions are lost").to_string();
    assert!(text.contains("states of sessions cannot be read"), "{text}");
    assert!(text.contains("storage.accept_loss = true"), "{text}");
    options.accept_loss = true;
    let log = Arc::new(Log::open(options, rules, now()).unwrap());
    let text = log.warnings().concat();
    assert!(text.contains("states of sessions cannot be read"), "{text}");
    let mut worker = TestWorker::new(&log);
    let kept = (0..SESSIONS).filter(|n| load(&mut worker, *n).is_some());
    let kept = kept.count();
    assert!(kept > SESSIONS as usize / 2, "{kept} of {SESSIONS}");
}

#[test]
fn a_session_saved_with_a_batch_that_fails_is_saved_with_a_later_one() {
    let directory = tempfile::tempdir().unwrap();
    let data = bytes::Bytes::from(vec![b'x'; 60_000]);
    {
        let mut worker = TestWorker::new(&open(directory.path()));
        for _ in 0..200 {
            worker.publish_data("a", data.clone(), None);
            worker.published().unwrap();
        }
    }
    damage(directory.path(), 1);
    let mut saved = 0_u64;
    {
        let log = open(directory.path());
        let mut worker = TestWorker::new(&log);
        let end = std::time::Instant::now() + NEVER;
        loop {
            assert!(std::time::Instant::now() < end, "nothing was refused");
            saved += 1;
            save(&worker, 1, saved.to_string().into());
            worker.publish_data("a", data.clone(), None);
            if worker.published().is_err() {
                break;
            }
        }
        // The store is opened again, and publishing continues.
        log.tick(now());
        worker.publish_data("a", data, None);
        worker.published().unwrap();
    }
    let mut worker = TestWorker::new(&open(directory.path()));
    assert_eq!(load(&mut worker, 1).unwrap(), saved.to_string());
}

#[test]
fn publishing_continues_after_compaction_reports_a_damaged_block() {
    const CHANNELS: u64 = 4;
    let directory = tempfile::tempdir().unwrap();
    let data = bytes::Bytes::from(vec![b'x'; 60_000]);
    let name = |n: u64| format!("channel {}", n % CHANNELS);
    let mut heads = [0; CHANNELS as usize];
    {
        let mut worker = TestWorker::new(&open(directory.path()));
        for n in 0..200 {
            worker.publish_data(&name(n), data.clone(), None);
            heads[(n % CHANNELS) as usize] = worker.published().unwrap().0.offset;
        }
    }
    damage(directory.path(), 1);
    let log = open(directory.path());
    let mut worker = TestWorker::new(&log);
    // Tables accumulate, each with all channels, until they are merged. A refused publication is
    // published again after a tick, as a client does.
    let (mut n, mut refused, mut behind) = (0, 0, 0);
    let end = std::time::Instant::now() + NEVER;
    while behind < 500 {
        assert!(std::time::Instant::now() < end, "{refused} were refused");
        worker.publish_data(&name(n), data.clone(), None);
        match worker.published() {
            Ok((position, _)) => {
                let head = &mut heads[(n % CHANNELS) as usize];
                assert_eq!(position.offset, *head + 1, "{}", name(n));
                *head += 1;
                n += 1;
                behind += u64::from(refused > 0);
            }
            Err(failure) => {
                assert_eq!(failure, BrokerFailure::StorageFailed);
                refused += 1;
                log.tick(now());
            }
        }
    }
    assert_eq!(refused, 1, "it is suspended after the first failure");
    let Health::Corrupt(text) = log.health() else {
        panic!("{:?}", log.health())
    };
    assert!(text.contains("the store can't merge its files"), "{text}");
    assert!(text.contains("restore a backup"), "{text}");
    // Enough was written for a flush, which is not in the way either.
    for _ in 0..15 {
        for _ in 0..100 {
            worker.publish_data(&name(n), data.clone(), None);
            n += 1;
        }
        for _ in 0..100 {
            worker.published().unwrap();
        }
    }
    for _ in 0..3 {
        log.tick(now());
        worker.publish_data(&name(n), data.clone(), None);
        n += 1;
        worker.published().unwrap();
    }
    drop((worker, log));
    let log = open(directory.path());
    let mut worker = TestWorker::new(&log);
    let position = loop {
        // The merge is tried again when the log is opened, and fails when it reaches the block.
        worker.publish(&name(n));
        match worker.published() {
            Ok((position, _)) => break position,
            Err(failure) => assert_eq!(failure, BrokerFailure::StorageFailed),
        }
        log.tick(now());
    };
    let expected = (200 + n) / CHANNELS + 1;
    assert_eq!(position.offset, expected, "nothing is lost");
}
