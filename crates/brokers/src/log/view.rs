//! Inspecting a log that no server uses: a snapshot or a backup.

use std::path::{Path, PathBuf};

use offhook_engine::{ChannelName, Position, Publication};

use super::{
    LogOptions, OpenError, damage, inventory,
    manifest::Manifest,
    opening,
    record::{decode, is_publication, offset_of},
    retained::Retained,
    store::Store,
};
use crate::lineage::Epochs;

/// How many channel names are read at once.
const NAMES: usize = 256;
/// The size of the block cache.
const CACHE: u64 = 8 << 20;

/// A log, opened for reading. Use it on a [`Snapshot`](super::Snapshot): the directory of a log in
/// use by a server cannot be opened.
pub struct LogView {
    store: Store,
    epochs: Epochs,
}

/// A summary of a channel in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSummary {
    /// The channel's name.
    pub name: ChannelName,
    /// The position of its newest publication.
    pub head: Position,
    /// The offset of the oldest retained publication.
    pub first: u64,
    /// The number of retained publications.
    pub count: u64,
    /// Their bytes on disk, before compression and overhead.
    pub bytes: u64,
}

/// An entry read from a channel.
#[derive(Debug)]
pub enum Entry {
    /// A publication.
    Publication(Publication),
    /// Nothing from the first to the second of these offsets can be read.
    Damaged(u64, u64),
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The number of channels read.
    pub channels: u64,
    /// The number of undamaged publications read.
    pub publications: u64,
    /// Their total size in bytes.
    pub bytes: u64,
    /// Channels with the first and last offset that cannot be read.
    pub damaged: Vec<(String, u64, u64)>,
    /// Other data that cannot be read.
    pub broken: Vec<String>,
}

impl CheckReport {
    /// Whether everything could be read.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.damaged.is_empty() && self.broken.is_empty()
    }
}

impl std::fmt::Debug for LogView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogView").finish_non_exhaustive()
    }
}

impl LogView {
    /// Opens the log in this directory. Nothing is written to it, except that the store truncates
    /// its journals.
    ///
    /// # Errors
    /// [`OpenError`], which says what is missing or unreadable.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::of(directory, error);
        let manifest = opening::read_manifest(directory)?;
        let manifest = manifest.unwrap_or_else(Manifest::beginning);
        inventory::check_files(directory, &manifest, false)?;
        let options = LogOptions {
            cache_bytes: CACHE,
            ..LogOptions::new(PathBuf::from(directory))
        };
        let testimony = opening::read_witness(directory, &manifest, false)?;
        let store = Store::open_quietly(&options).map_err(failed)?;
        inventory::check_store(directory, &manifest, &store, false)?;
        opening::check_batch(directory, &store, testimony, false)?;
        let epochs = store.epochs().map_err(failed)?;
        let epochs = epochs.ok_or_else(|| OpenError::missing(directory, "the list of epochs"))?;
        Ok(Self { store, epochs })
    }

    /// Calls `each` for every channel, in order of names.
    ///
    /// # Errors
    /// The list of channels cannot be read.
    pub fn channels(&self, mut each: impl FnMut(ChannelSummary)) -> Result<(), String> {
        self.each_channel(|name, retained| {
            if let Some(retained) = retained {
                each(self.summary(name, &retained));
            }
        })
    }

    fn each_channel(
        &self,
        mut each: impl FnMut(ChannelName, Option<Retained>),
    ) -> Result<(), String> {
        let mut after = String::new();
        loop {
            let names = self.store.channels_after(&after, NAMES);
            let names = names.map_err(|error| format!("the list of channels: {error}"))?;
            let Some(last) = names.last() else {
                return Ok(());
            };
            after.clone_from(last);
            for name in names.iter().filter_map(|name| ChannelName::new(name).ok()) {
                let retained = self.retained(&name);
                each(name, retained);
            }
        }
    }

    fn retained(&self, name: &ChannelName) -> Option<Retained> {
        let bytes = self.store.channel(name).ok()??;
        let mut retained = Retained::decode(&bytes, self.epochs.origin().epoch)?;
        let last = self.store.last_offset(retained.id).ok().flatten();
        retained.head = retained.head.max(last.unwrap_or(0));
        Some(retained)
    }

    fn summary(&self, name: ChannelName, retained: &Retained) -> ChannelSummary {
        let (mut bytes, from) = (retained.sealed_bytes(), retained.unsealed_from());
        let tail = |_: &[u8], value: &[u8]| {
            bytes += value.len() as u64;
            true
        };
        // Finding damage is the task of `check`.
        let _damage = damage::read(&self.store, retained.id, from, tail);
        ChannelSummary {
            name,
            head: retained.at(&self.epochs, retained.head),
            first: retained.first(),
            count: retained.head + 1 - retained.first(),
            bytes,
        }
    }

    /// Calls `each` with the retained publications of a channel, from this offset on, until it
    /// returns `false`. Returns `false` if the channel does not exist.
    pub fn read(&self, name: &ChannelName, from: u64, mut each: impl FnMut(Entry) -> bool) -> bool {
        let Some(retained) = self.retained(name) else {
            return false;
        };
        let at = |offset: u64| retained.at(&self.epochs, offset);
        self.walk(name, &retained, from, |offset, found| match found {
            Ok(bytes) => {
                let place = (at(offset.saturating_sub(1)), at(offset));
                match decode(name, place, bytes) {
                    Some(publication) => each(Entry::Publication(publication)),
                    None => each(Entry::Damaged(offset, offset)),
                }
            }
            Err(to) => each(Entry::Damaged(offset, to)),
        });
        true
    }

    /// Everything retained from an offset on: bytes, or the end of a part that cannot be read.
    fn walk(
        &self,
        name: &ChannelName,
        retained: &Retained,
        from: u64,
        mut each: impl FnMut(u64, Result<&[u8], u64>) -> bool,
    ) {
        let (number, head) = (retained.id, retained.head);
        let mut next = from.max(retained.first());
        let mut more = true;
        while more && next <= head {
            let begin = next;
            let read = damage::read(&self.store, number, begin, |key, value| {
                let good = offset_of(key) == Some(next) && is_publication(name, value);
                if good {
                    more = each(next, Ok(value));
                    next += 1;
                }
                good && more && next <= head
            });
            if !more || next > head {
                return;
            }
            debug_assert!(
                read.is_err() || next <= head,
                "it ends where something is wrong"
            );
            let readable = damage::next_readable(&self.store, name, number, next, head);
            let good = readable.unwrap_or(head + 1).max(next + 1);
            more = each(next, Err(good - 1));
            next = good;
        }
    }

    /// Reads everything.
    #[must_use]
    pub fn check(&self) -> CheckReport {
        let mut report = CheckReport::default();
        for keyspace in self.store.indexes() {
            let mut all = usize::MAX;
            if self.store.walk(keyspace, None, &mut all).is_err() {
                let name = keyspace.name();
                report
                    .broken
                    .push(format!("the keyspace {name} cannot be read completely"));
            }
        }
        let listed = self.each_channel(|name, retained| {
            report.channels += 1;
            let Some(retained) = retained else {
                let what = format!("channel {name}: its entry cannot be read");
                report.broken.push(what);
                return;
            };
            self.walk(&name, &retained, 0, |offset, found| {
                match found {
                    Ok(bytes) => {
                        report.publications += 1;
                        report.bytes += bytes.len() as u64;
                    }
                    Err(to) => {
                        let damage = (name.as_str().to_owned(), offset, to);
                        report.damaged.push(damage);
                    }
                }
                true
            });
        });
        report.broken.extend(listed.err());
        report
    }
}

#[cfg(test)]
mod tests;
