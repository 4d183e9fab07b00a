//! The thread that reads everything, so that damage is found before the data is needed.
//!
//! It reads a limited number of bytes with each tick, and pauses after each round. Blocks in the
//! cache are not read from the disk again; blocks that are read push out others.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::Receiver},
};

use offhook_engine::{ChannelName, Epoch};

use super::{
    condition::Condition,
    damage,
    record::{is_publication, offset_of},
    retained::Retained,
    shared_store::SharedStore,
    store::Store,
};

/// How many ticks to pause between two rounds: an hour.
const REST: u32 = 3600;
/// How many channel names are read at once.
const NAMES: usize = 64;

/// The progress of a round.
#[derive(Debug)]
enum Place {
    /// In the keyspace with this index, after this key.
    Index(usize, Option<Vec<u8>>),
    /// After this channel.
    Channels(String),
    /// Within a channel: the next offset.
    Channel(ChannelName, u64),
    /// Pausing, for this many more ticks.
    Resting(u32),
}

pub(super) struct Checker {
    store: SharedStore,
    condition: Arc<Condition>,
    /// The number of bytes to read per tick.
    budget: usize,
    ticks: Receiver<()>,
    place: Place,
}

impl Checker {
    pub(super) fn new(
        store: SharedStore,
        condition: Arc<Condition>,
        budget: usize,
        ticks: Receiver<()>,
    ) -> Self {
        let place = Place::Index(0, None);
        Self {
            store,
            condition,
            budget,
            ticks,
            place,
        }
    }

    /// Runs until the log is dropped.
    pub(super) fn run(mut self) {
        while self.ticks.recv().is_ok() {
            if self.budget > 0 {
                self.tick();
            }
        }
    }

    fn tick(&mut self) {
        if let Place::Resting(left) = &mut self.place {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.place = Place::Index(0, None);
        }
        let mut bytes = self.budget;
        while bytes > 0 && !matches!(self.place, Place::Resting(_)) {
            let Some(store) = self.store.get() else {
                return;
            };
            let place = std::mem::replace(&mut self.place, Place::Resting(REST));
            self.place = self.step(&store, place, &mut bytes);
        }
    }

    fn step(&self, store: &Arc<Store>, place: Place, bytes: &mut usize) -> Place {
        match place {
            Place::Index(index, after) => self.walk(store, index, after.as_deref(), bytes),
            Place::Channels(after) => self.next_channel(store, &after, bytes),
            Place::Channel(name, next) => self.check_channel(store, name, next, bytes),
            Place::Resting(left) => Place::Resting(left),
        }
    }

    fn walk(&self, store: &Store, index: usize, after: Option<&[u8]>, bytes: &mut usize) -> Place {
        let Some(keyspace) = store.indexes().get(index).copied() else {
            return Place::Channels(String::new());
        };
        let walked = catch_unwind(AssertUnwindSafe(|| store.walk(keyspace, after, bytes)));
        match walked {
            Ok(Ok(Some(last))) => return Place::Index(index, Some(last)),
            Ok(Ok(None)) => {}
            Ok(Err(_)) | Err(_) => {
                let what = format!("the keyspace {} cannot be read completely", keyspace.name());
                self.condition.damaged_index(what);
            }
        }
        Place::Index(index + 1, None)
    }

    fn next_channel(&self, store: &Store, after: &str, bytes: &mut usize) -> Place {
        // A damaged index was reported by `walk`.
        let names = store.channels_after(after, NAMES).unwrap_or_default();
        for name in &names {
            *bytes = bytes.saturating_sub(name.len() + 1);
            let Ok(name) = ChannelName::new(name) else {
                continue;
            };
            if let Some(retained) = entry(store, &name) {
                let first = retained.first();
                return Place::Channel(name, first);
            }
            let what = "its entry cannot be read".to_owned();
            self.condition.damaged(&name, what);
        }
        match names.last() {
            Some(last) => Place::Channels(last.clone()),
            None => Place::Resting(REST),
        }
    }

    /// Checks a channel from this offset on, as far as the budget allows.
    fn check_channel(
        &self,
        store: &Store,
        name: ChannelName,
        from: u64,
        bytes: &mut usize,
    ) -> Place {
        let Some(retained) = entry(store, &name) else {
            return Place::Channels(name.as_str().to_owned());
        };
        // The oldest publications may have been trimmed in the meantime.
        let begin = from.max(retained.first());
        let mut next = begin;
        let (mut bad, mut paused) = (false, false);
        let each = |key: &[u8], value: &[u8]| {
            bad = offset_of(key) != Some(next) || !is_publication(&name, value);
            if bad {
                return false;
            }
            next += 1;
            *bytes = bytes.saturating_sub(key.len() + value.len());
            paused = *bytes == 0;
            !paused
        };
        let read = damage::read(store, retained.id, begin, each);
        if read.is_ok() && paused {
            return Place::Channel(name, next);
        }
        let is_whole = read.is_ok() && !bad && next > retained.head;
        // Publications trimmed after the entry was read are not damaged.
        let trimmed = entry(store, &name).is_some_and(|now| now.first() > next);
        if is_whole {
            if from == retained.first() {
                self.condition.whole(&name);
            }
        } else if trimmed {
            return Place::Channel(name, next);
        } else {
            self.condition
                .damaged(&name, format!("damaged at offset {next}"));
        }
        Place::Channels(name.as_str().to_owned())
    }
}

fn entry(store: &Store, name: &ChannelName) -> Option<Retained> {
    let bytes = catch_unwind(AssertUnwindSafe(|| store.channel(name)));
    Retained::decode(&bytes.ok()?.ok()??, Epoch(0))
}

#[cfg(test)]
mod tests;
