//! The numbers that a log has given: to channels, and to publications in the order of all channels.
//! A number given twice mixes what belongs to two channels, or hides publications from readers by
//! filter.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fjall::{AbstractTree, Keyspace};

use super::{
    super::record::{log_key, removal_keys, sequence_of, value_keys},
    OWNER, Store,
};

/// The newest numbers of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) struct Numbers {
    /// The newest sequence number of a publication.
    pub(in crate::log) sequence: u64,
    /// The number that the next new channel gets.
    pub(in crate::log) channels: u32,
}

impl Store {
    /// The numbers after which a process goes on.
    ///
    /// They are recorded, but the record can be older than the rest: keyspaces are written to tables
    /// one by one, and after an accepted loss some are newer than others. Versions before this one
    /// also recorded a sequence number of 0 after a crash. What is in use is therefore looked up, and
    /// every publication and channel is examined if the record is known to be wrong.
    ///
    /// # Errors
    /// The count of channels cannot be read, and neither can it be found out from their entries. With
    /// `accept_loss`, what can be read is enough.
    pub(in crate::log) fn numbers(&self, accept_loss: bool) -> fjall::Result<Numbers> {
        let recorded = self.newest()?.sequence;
        let began = self.epochs()?.map_or(0, |epochs| epochs.newest_sequence());
        let is_wrong = recorded < began || self.is_torn();
        let channels = self.next_channel(is_wrong, accept_loss)?;
        let mut sequence = recorded.max(began);
        if is_wrong {
            sequence = sequence.max(self.newest_published(channels));
        }
        Ok(Numbers { sequence, channels })
    }

    /// Whether some keyspace is newer than the record: each batch writes the record, too.
    fn is_torn(&self) -> bool {
        let newest = |keyspace: &Keyspace| keyspace.tree.get_highest_seqno();
        let record = newest(&self.node);
        let mut all = self.keyspaces().into_iter();
        all.any(|keyspace| newest(keyspace) > record)
    }

    fn next_channel(&self, is_wrong: bool, accept_loss: bool) -> fjall::Result<u32> {
        let count = guarded(|| self.channel_count());
        let in_use = self.after_last_keys();
        match count {
            Ok(count) if count >= in_use && !is_wrong => Ok(count),
            Ok(count) => {
                let of_entries = self.after_entries().unwrap_or_else(|(found, _)| found);
                Ok(count.max(in_use).max(of_entries))
            }
            Err(_) => match self.after_entries() {
                Ok(of_entries) => Ok(in_use.max(of_entries)),
                Err((found, _)) if accept_loss => Ok(in_use.max(found)),
                Err((_, error)) => Err(error),
            },
        }
    }

    /// The number after the highest one in keys that begin with it: publications, idempotency keys,
    /// cursors, values and pending removals. What cannot be read does not count.
    fn after_last_keys(&self) -> u32 {
        let of_all = |keyspace: &Keyspace| {
            let last = keyspace.range::<&[u8], _>(..OWNER.as_slice()).next_back();
            last.map(|guard| guard.key()).transpose()
        };
        let of_node = |keys: std::ops::Range<[u8; 1]>| {
            let last = self.node.range(keys).next_back();
            last.map(|guard| guard.key()).transpose()
        };
        let keys = [
            (0, guarded(|| of_all(&self.log))),
            (0, guarded(|| of_all(&self.keys))),
            (0, guarded(|| of_all(&self.cursors))),
            (1, guarded(|| of_node(value_keys()))),
            (1, guarded(|| of_node(removal_keys()))),
        ];
        let numbers = keys.into_iter().filter_map(|(at, key)| {
            let key = key.ok().flatten()?;
            number_at(&key, at)
        });
        numbers.map(after).max().unwrap_or(0)
    }

    /// The number after the highest one of all channels' entries; with an error, of those before
    /// what cannot be read.
    fn after_entries(&self) -> Result<u32, (u32, fjall::Error)> {
        let mut found = 0;
        let walk = || {
            for guard in self.channels.range::<&[u8], _>(..OWNER.as_slice()) {
                let (_, entry) = guard.into_inner()?;
                found = number_at(&entry, 0).map_or(found, |number| found.max(after(number)));
            }
            Ok(())
        };
        match guarded(walk) {
            Ok(()) => Ok(found),
            Err(error) => Err((found, error)),
        }
    }

    /// The newest sequence number of the publications that can be read, in channels with a number
    /// below this one: in each channel, the last has the highest.
    fn newest_published(&self, mut channels: u32) -> u64 {
        let mut newest = 0;
        while channels > 0 {
            let last = guarded(|| {
                let last = self.log.range(..log_key(channels, 0)).next_back();
                last.map(|guard| guard.into_inner()).transpose()
            });
            match last {
                Ok(Some((key, record))) => {
                    newest = newest.max(sequence_of(&record).unwrap_or(0));
                    channels = number_at(&key, 0).unwrap_or(0);
                }
                Ok(None) => break,
                Err(_) => channels -= 1,
            }
        }
        newest
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(number))
}

/// The number after this one.
fn after(number: u32) -> u32 {
    number.saturating_add(1)
}

/// A panic in fjall is reported like an error.
pub(super) fn guarded<Found>(read: impl FnOnce() -> fjall::Result<Found>) -> fjall::Result<Found> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(fjall::Error::Unrecoverable))
}

#[cfg(test)]
mod tests;
