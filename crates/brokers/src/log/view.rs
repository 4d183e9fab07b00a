//! A look into a log that no server uses: a snapshot, or a backup.

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

/// Channels whose names are read at once.
const NAMES: usize = 256;
/// Memory for blocks that were read.
const CACHE: u64 = 8 << 20;

/// A log, opened for reading. Use it on a [`Snapshot`](super::Snapshot): the directory of a log
/// that a server uses can't be opened.
pub struct LogView {
    store: Store,
    epochs: Epochs,
}

/// A channel as it is in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSummary {
    /// Its name.
    pub name: ChannelName,
    /// The position of its newest publication.
    pub head: Position,
    /// The offset of the oldest that is retained.
    pub first: u64,
    /// How many are retained.
    pub count: u64,
    /// Their bytes on disk, before compression and overhead.
    pub bytes: u64,
}

/// What of a channel is read.
#[derive(Debug)]
pub enum Entry {
    /// A publication.
    Publication(Publication),
    /// From the first to the second of these offsets nothing can be read.
    Damaged(u64, u64),
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Channels that were read.
    pub channels: u64,
    /// Publications that were read, and are good.
    pub publications: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Channels and offsets that can't be read, from and to.
    pub damaged: Vec<(String, u64, u64)>,
    /// What else can't be read.
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
    /// Opens what lies in this directory. Nothing is written to it but what the store cuts off
    /// the end of its journals.
    ///
    /// # Errors
    /// [`OpenError`] says what is missing or can't be read.
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

    /// Calls `each` for every channel, by name.
    ///
    /// # Errors
    /// When the list of channels can't be read.
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
        // What can't be read is what `check` is for.
        let _damage = damage::read(&self.store, retained.id, from, tail);
        ChannelSummary {
            name,
            head: retained.at(&self.epochs, retained.head),
            first: retained.first(),
            count: retained.head + 1 - retained.first(),
            bytes,
        }
    }

    /// Calls `each` with what is retained of a channel, from this offset on, until it says enough.
    /// False if there is no such channel.
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

    /// Everything retained from an offset on: bytes, or up to where they can't be read.
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
                    .push(format!("the keyspace {name} can't be read wholly"));
            }
        }
        let listed = self.each_channel(|name, retained| {
            report.channels += 1;
            let Some(retained) = retained else {
                let what = format!("channel {name}: what is known of it can't be read");
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
