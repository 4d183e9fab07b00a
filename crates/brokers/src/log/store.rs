//! The embedded store: together with its group of writes, the only place that uses fjall.

mod ages;
mod compaction;
mod group;
mod numbers;
mod rules;
mod sessions;
mod values;

use std::{
    collections::BTreeMap,
    ops::{Bound, RangeInclusive},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Buf;
use fjall::{
    AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode,
    compaction::filter::Factory,
};
use offhook_engine::{ChannelName, Epoch, Now};

use self::compaction::{EndedCursors, OldKeys};
pub(super) use self::group::Group;
#[cfg(test)]
pub(super) use self::group::Size;
pub(super) use self::numbers::Numbers;
pub(super) use self::values::Moment;
use super::{
    Durability, LogOptions,
    inventory::store_of,
    manifest::{LogId, Marks},
    record::{
        log_key, offset_of, read_cursor_entry, read_key_entry, read_removal, removal_keys,
        sequence_of,
    },
};
use crate::{
    cursors::Cursor,
    lineage::{Began, Epochs, fresh_epoch},
};

/// Threads that flush and compact.
const THREADS: usize = 2;
/// A journal is flushed when a memtable has this many bytes.
pub(super) const MEMTABLE: u64 = 16 << 20;
/// The minimum size of a memtable that is [flushed](Store::flush) early.
const WORTH_FLUSHING: u64 = 1 << 20;
/// Journals on disk; fjall's smallest useful value, since replaying them is what a restart does.
const JOURNALS: u64 = 128 << 20;

/// The list of epochs; in older logs, the only epoch.
const EPOCHS: &str = "epochs";
const EPOCH: &str = "epoch";
const BATCH: &str = "batch";
const CHANNELS: &str = "channels";

/// An entry in every keyspace: to which log it belongs. Sorted after all other keys, and not the
/// name of a channel.
const OWNER: [u8; 16] = [0xFF; 16];
/// The start of its value: in `keys`, the time of an entry that never expires.
const NEVER_OLD: [u8; 16] = [0xFF; 16];

pub(super) struct Store {
    db: Database,
    log: Keyspace,
    keys: Keyspace,
    cursors: Keyspace,
    channels: Keyspace,
    node: Keyspace,
    persist: PersistMode,
    key_floor: Arc<AtomicU64>,
    now_ms: Arc<AtomicU64>,
}

impl Store {
    /// Opens the store, or creates one. A panic in fjall is reported like an error.
    pub(super) fn open(options: &LogOptions) -> fjall::Result<Self> {
        Self::open_with(options, THREADS)
    }

    /// Opens the store to examine it, or to continue while its background work fails: nothing is
    /// flushed or compacted, and no journal is deleted.
    pub(super) fn open_quietly(options: &LogOptions) -> fjall::Result<Self> {
        Self::open_with(options, 0)
    }

    fn open_with(options: &LogOptions, threads: usize) -> fjall::Result<Self> {
        catch_unwind(AssertUnwindSafe(|| Self::open_unguarded(options, threads)))
            .unwrap_or(Err(fjall::Error::Unrecoverable))
    }

    fn open_unguarded(options: &LogOptions, threads: usize) -> fjall::Result<Self> {
        let key_floor = Arc::new(AtomicU64::new(0));
        let floor = Arc::clone(&key_floor);
        let now_ms = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now_ms);
        let filters = move |keyspace: &str| {
            let floor = Arc::clone(&floor);
            match keyspace {
                "keys" => Some(Arc::new(OldKeys { floor }) as Arc<dyn Factory>),
                "cursors" => Some(Arc::new(EndedCursors {
                    now: Arc::clone(&clock),
                }) as Arc<dyn Factory>),
                _ => None,
            }
        };
        let db = Database::builder(store_of(&options.path))
            .worker_threads_unchecked(threads)
            .cache_size(options.cache_bytes)
            .max_journaling_size(JOURNALS)
            .with_compaction_filter_factories(Arc::new(filters))
            .open()?;
        let keyspace = |name| {
            let options = KeyspaceCreateOptions::default;
            db.keyspace(name, || {
                options()
                    .max_memtable_size(MEMTABLE)
                    .manual_journal_persist(true)
            })
        };
        Ok(Self {
            log: keyspace("log")?,
            keys: keyspace("keys")?,
            cursors: keyspace("cursors")?,
            channels: keyspace("channels")?,
            node: keyspace("node")?,
            persist: match options.durability {
                Durability::Fsync => PersistMode::SyncData,
                Durability::Os => PersistMode::Buffer,
            },
            key_floor,
            now_ms,
            db,
        })
    }

    /// Starts an epoch, with this batch and after these numbers.
    pub(super) fn begin_epoch(
        &self,
        now: Now,
        batch: u64,
        numbers: Numbers,
    ) -> fjall::Result<Epochs> {
        let Numbers { sequence, channels } = numbers;
        let epochs = match self.epochs()? {
            Some(mut epochs) => {
                epochs.begin(Began {
                    epoch: fresh_epoch(Some(epochs.current()), now),
                    sequence,
                });
                epochs
            }
            None => Epochs::new(fresh_epoch(None, now)),
        };
        let newest = Newest { batch, sequence };
        let mut group = self.db.batch().durability(Some(PersistMode::SyncAll));
        group.insert(&self.node, EPOCHS, epochs.encode());
        group.insert(&self.node, BATCH, newest.encode());
        group.insert(&self.node, CHANNELS, u64::from(channels).to_be_bytes());
        group.commit()?;
        Ok(epochs)
    }

    pub(super) fn keyspaces(&self) -> [&Keyspace; 5] {
        let Self {
            log,
            keys,
            cursors,
            channels,
            node,
            ..
        } = self;
        [log, keys, cursors, channels, node]
    }

    /// Records in every keyspace to which log it belongs.
    pub(super) fn own(&self, id: LogId) -> fjall::Result<()> {
        let owner = owner(id);
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        for keyspace in self.keyspaces() {
            if keyspace.get(OWNER)?.as_deref() != Some(&owner) {
                batch.insert(keyspace, OWNER, owner);
            }
        }
        batch.commit()
    }

    /// Takes out of every keyspace which log it belongs to, as versions before the manifest left them.
    #[cfg(test)]
    pub(super) fn disown(&self) -> fjall::Result<()> {
        for keyspace in self.keyspaces() {
            keyspace.remove(OWNER)?;
        }
        Ok(())
    }

    /// Whether any keyspace says which log it belongs to.
    pub(super) fn has_owner(&self) -> fjall::Result<bool> {
        for keyspace in self.keyspaces() {
            if keyspace.contains_key(OWNER)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What belongs to another log, of the keyspaces that are known.
    pub(super) fn of_another_log(
        &self,
        id: LogId,
        known: impl Fn(&str) -> bool,
    ) -> fjall::Result<Option<String>> {
        let owner = owner(id);
        for keyspace in self.keyspaces() {
            let name = keyspace.name();
            if known(name) && keyspace.get(OWNER)?.as_deref() != Some(&owner) {
                let what = format!("keyspace {name} is not of this log, or was emptied");
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    /// The newest entry of each keyspace.
    pub(super) fn newest_entries(&self) -> Marks {
        let newest = |keyspace: &Keyspace| keyspace.tree.get_highest_seqno();
        self.marks(newest)
    }

    /// The newest entry of each keyspace for which no journal is needed.
    pub(super) fn flushed(&self) -> Marks {
        let flushed = |keyspace: &Keyspace| keyspace.tree.get_highest_persisted_seqno();
        self.marks(flushed)
    }

    fn marks(&self, mark: impl Fn(&Keyspace) -> Option<u64>) -> Marks {
        let keyspaces = self.keyspaces().into_iter();
        keyspaces
            .filter_map(|keyspace| Some((keyspace.id(), mark(keyspace)?)))
            .collect()
    }

    pub(super) fn epochs(&self) -> fjall::Result<Option<Epochs>> {
        if let Some(bytes) = self.node.get(EPOCHS)? {
            let epochs = Epochs::decode(&bytes).ok_or(fjall::Error::Unrecoverable)?;
            return Ok(Some(epochs));
        }
        Ok(self.number(EPOCH)?.map(|epoch| Epochs::new(Epoch(epoch))))
    }

    /// The newest batch, and the newest sequence number in it.
    pub(super) fn newest(&self) -> fjall::Result<Newest> {
        let bytes = self.node.get(BATCH)?;
        let newest = bytes.map_or(Some(Newest::default()), |bytes| Newest::decode(&bytes));
        newest.ok_or(fjall::Error::Unrecoverable)
    }

    pub(super) fn channel_count(&self) -> fjall::Result<u32> {
        let count = self.number(CHANNELS)?.unwrap_or(0);
        u32::try_from(count).map_err(|_| fjall::Error::Unrecoverable)
    }

    fn number(&self, name: &str) -> fjall::Result<Option<u64>> {
        let Some(bytes) = self.node.get(name)? else {
            return Ok(None);
        };
        let number = bytes.as_ref().try_into().map(u64::from_be_bytes);
        number.map(Some).map_err(|_| fjall::Error::Unrecoverable)
    }

    /// A channel's entry, as bytes.
    pub(super) fn channel(&self, name: &ChannelName) -> fjall::Result<Option<Vec<u8>>> {
        Ok(self
            .channels
            .get(name.as_str())?
            .map(|bytes| bytes.to_vec()))
    }

    /// Names of channels from this one on, in order.
    pub(super) fn channels_from(&self, name: &str, count: usize) -> fjall::Result<Vec<String>> {
        let mut names = Vec::new();
        let all = name.as_bytes()..OWNER.as_slice();
        for guard in self.channels.range::<&[u8], _>(all).take(count) {
            names.push(String::from_utf8_lossy(&guard.key()?).into_owned());
        }
        Ok(names)
    }

    /// The sequence number of a publication; none if it does not exist.
    pub(super) fn sequence_at(&self, channel: u32, offset: u64) -> fjall::Result<Option<u64>> {
        let record = self.log.get(log_key(channel, offset))?;
        Ok(record.and_then(|record| sequence_of(&record)))
    }

    /// Offsets to be removed, by channel.
    pub(super) fn removals(&self) -> fjall::Result<BTreeMap<u32, RangeInclusive<u64>>> {
        let mut all = BTreeMap::new();
        for guard in self.node.range(removal_keys()) {
            let (key, value) = guard.into_inner()?;
            all.extend(read_removal(&key, &value));
        }
        Ok(all)
    }

    /// The most tables that the newest level of a keyspace has: without compaction they pile up, and
    /// the store stops all writes at 30.
    pub(super) fn unmerged(&self) -> usize {
        let keyspaces = self.keyspaces().into_iter();
        let most = keyspaces.map(Keyspace::l0_table_count).max();
        most.unwrap_or(0)
    }

    /// Writes data that is only in journals into tables, and waits for that for a limited time.
    pub(super) fn flush(&self, within: Duration) -> fjall::Result<()> {
        for keyspace in self.keyspaces() {
            if keyspace.tree.active_memtable().size() > WORTH_FLUSHING {
                keyspace.rotate_memtable()?;
            }
        }
        let end = Instant::now() + within;
        let waits = || {
            let mut keyspaces = self.keyspaces().into_iter();
            keyspaces.any(|keyspace| keyspace.sealed_memtable_count() > 0)
        };
        while waits() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Names of channels after this one, in order.
    pub(super) fn channels_after(&self, name: &str, count: usize) -> fjall::Result<Vec<String>> {
        let after = (
            Bound::Excluded(name.as_bytes()),
            Bound::Excluded(OWNER.as_slice()),
        );
        let mut names = Vec::new();
        for guard in self.channels.range::<&[u8], _>(after).take(count) {
            names.push(String::from_utf8_lossy(&guard.key()?).into_owned());
        }
        Ok(names)
    }

    /// The publication with this [`idempotency_key`](super::record::idempotency_key): its offset
    /// and time.
    pub(super) fn published(&self, key: &[u8]) -> fjall::Result<Option<(u64, u64)>> {
        let entry = self.keys.get(key)?;
        Ok(entry.and_then(|bytes| read_key_entry(&bytes)))
    }

    /// A consumer's position, by its [`cursor_key`](super::record::cursor_key).
    pub(super) fn cursor(&self, key: &[u8]) -> fjall::Result<Option<Cursor>> {
        let entry = self.cursors.get(key)?;
        Ok(entry.and_then(|bytes| read_cursor_entry(&bytes)))
    }

    /// All cursors whose key starts with `prefix`.
    pub(super) fn cursors(&self, prefix: &[u8]) -> fjall::Result<Vec<(Vec<u8>, Cursor)>> {
        let mut all = Vec::new();
        for guard in self.cursors.prefix(prefix) {
            let (key, value) = guard.into_inner()?;
            all.extend(read_cursor_entry(&value).map(|cursor| (key.to_vec(), cursor)));
        }
        Ok(all)
    }

    /// Calls `each` with the key and value of publications from this offset on, until it returns
    /// that it has enough.
    pub(super) fn read(
        &self,
        channel: u32,
        from: u64,
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> fjall::Result<()> {
        for guard in self
            .log
            .range(log_key(channel, from)..=log_key(channel, u64::MAX))
        {
            let (key, value) = guard.into_inner()?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    /// One publication's bytes.
    pub(super) fn record(&self, channel: u32, offset: u64) -> fjall::Result<Option<Vec<u8>>> {
        let bytes = self.log.get(log_key(channel, offset))?;
        Ok(bytes.map(|bytes| bytes.to_vec()))
    }

    /// The newest offset of a channel on disk; an error if it cannot be read.
    pub(super) fn last_offset(&self, channel: u32) -> fjall::Result<Option<u64>> {
        let all = log_key(channel, 0)..=log_key(channel, u64::MAX);
        let Some(guard) = self.log.range(all).next_back() else {
            return Ok(None);
        };
        Ok(offset_of(&guard.key()?))
    }

    /// Reads entries of one keyspace after this key, up to this many bytes; returns the last key,
    /// or none at the end.
    pub(super) fn walk(
        &self,
        keyspace: &Keyspace,
        after: Option<&[u8]>,
        bytes: &mut usize,
    ) -> fjall::Result<Option<Vec<u8>>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for guard in keyspace.range::<&[u8], _>((from, Bound::Unbounded)) {
            let (key, value) = guard.into_inner()?;
            *bytes = bytes.saturating_sub(key.len() + value.len());
            if *bytes == 0 {
                return Ok(Some(key.to_vec()));
            }
        }
        Ok(None)
    }

    /// The keyspaces that contain no publications.
    pub(super) fn indexes(&self) -> [&Keyspace; 4] {
        [&self.keys, &self.cursors, &self.channels, &self.node]
    }

    /// Bytes on disk: tables and journals.
    pub(super) fn disk_bytes(&self) -> fjall::Result<u64> {
        self.db.disk_space()
    }

    /// Keys from before this time may be forgotten.
    pub(super) fn forget_keys_before(&self, time_ms: u64) {
        self.key_floor.store(time_ms, Ordering::Relaxed);
    }

    /// Cursors of sessions that have ended by this time may be forgotten.
    pub(super) fn forget_cursors_at(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn group(self: &Arc<Self>) -> Group {
        let batch = self.db.batch().durability(Some(self.persist));
        Group::new(batch, Arc::clone(self))
    }
}

/// The newest batch, and the broker's newest sequence number at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) batch: u64,
    pub(super) sequence: u64,
}

impl Newest {
    fn encode(self) -> [u8; 16] {
        let mut out = [0; 16];
        let (head, tail) = out.split_at_mut(8);
        head.copy_from_slice(&self.batch.to_be_bytes());
        tail.copy_from_slice(&self.sequence.to_be_bytes());
        out
    }

    /// Batches of older logs have no sequence number.
    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let batch = bytes.try_get_u64().ok()?;
        let sequence = bytes.try_get_u64().unwrap_or(0);
        Some(Self { batch, sequence })
    }
}

fn owner(id: LogId) -> [u8; 32] {
    let mut value = [0; 32];
    let (head, tail) = value.split_at_mut(16);
    head.copy_from_slice(&NEVER_OLD);
    tail.copy_from_slice(&id.to_bytes());
    value
}

#[cfg(test)]
mod tests;
