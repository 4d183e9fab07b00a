//! Stores that a test writes itself, without the threads of a log.

use std::{
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Instant,
};

use offhook_engine::*;

use crate::{
    hub::Hub,
    lineage::Epochs,
    log::{
        LogOptions,
        opening::{self, Opened},
        queue::JobQueue,
        read_queue::ReadQueue,
        retained::Retained,
        shared::{Disk, Shared, WriterTimings},
        store::{Group, Newest, Store},
    },
};

/// A store with its background threads.
pub(in crate::log) fn open(path: &Path) -> Arc<Store> {
    Arc::new(Store::open(&LogOptions::new(path)).unwrap())
}

/// A store whose tables only the test writes.
pub(in crate::log) fn open_quietly(path: &Path) -> Arc<Store> {
    Arc::new(Store::open_quietly(&LogOptions::new(path)).unwrap())
}

pub(in crate::log) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

pub(in crate::log) fn draft(name: &str, data: &str, time_ms: u64) -> Draft {
    Draft {
        channel: channel(name),
        data: data.to_owned().into(),
        format: Format::Text,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms,
    }
}

/// Writes a batch, whose newest sequence number is a hundred times its own.
pub(in crate::log) fn write(store: &Arc<Store>, batch: u64, stage: impl FnOnce(&mut Group)) {
    let mut group = store.group();
    stage(&mut group);
    let sequence = batch * 100;
    group.commit(Newest { batch, sequence }).unwrap();
}

/// Everything is kept, and no bucket is ever sealed.
const EVERYTHING: History = History {
    count: u64::MAX,
    bytes: u64::MAX,
    age: None,
};

/// Writes a channel's entry and its publications up to this one. Each has its offset as its time, ten
/// times that as its sequence number, and the data `x`.
pub(in crate::log) fn fill(store: &Arc<Store>, name: &str, number: u32, last: u64) -> Retained {
    fill_by(store, name, number, last, &EVERYTHING)
}

/// As [`fill`], with buckets sealed as for this history, and nothing trimmed.
pub(in crate::log) fn fill_by(
    store: &Arc<Store>,
    name: &str,
    number: u32,
    last: u64,
    history: &History,
) -> Retained {
    let mut retained = Retained::new(number);
    Arc::make_mut(&mut retained.lineage).publish(Epoch(1), 1);
    write(store, u64::from(number) + 1, |group| {
        for offset in 1..=last {
            let draft = draft(name, "x", offset);
            let place = (offset, offset * 10);
            group.publish(number, place, &draft, true);
            let weight = draft.weight() as u64;
            retained.push(offset, weight, place, history);
        }
        group.remember(&channel(name), &retained);
    });
    retained
}

/// Opens or creates the log in this directory, without its threads.
pub(in crate::log) fn open_log(path: &Path) -> Opened {
    opening::open(&LogOptions::new(path), now()).unwrap()
}

pub(in crate::log) fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: 1_700_000_000_000,
    }
}

/// What the threads of a log share, without the threads: with epoch 5, at [`now`], and with room for
/// this many bytes of channels.
pub(in crate::log) fn shared(rules: RuleBook, memory: usize) -> Shared {
    Shared {
        hub: Hub::new(Arc::new(rules), Epoch(5), 0, memory, now()),
        jobs: JobQueue::new(usize::MAX, usize::MAX),
        reads: ReadQueue::default(),
        epochs: Arc::new(Epochs::new(Epoch(5))),
        past_rules: Mutex::default(),
        reopened: AtomicU64::new(0),
        disk: Disk::default(),
        timings: WriterTimings::default(),
    }
}
