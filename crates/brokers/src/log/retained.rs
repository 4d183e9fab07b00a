//! The retained range of one channel on disk: an index of a few buckets instead of one entry per
//! publication, so that a thousand long channels cost little memory and trimming is done in larger
//! steps.

use std::{collections::VecDeque, ops::RangeInclusive, sync::Arc};

use bytes::{Buf, BufMut};
use offhook_engine::{Epoch, History, Position, StreamState, Trimmed};

use crate::{
    lineage::{Epochs, Lineage},
    values::Values,
};

/// Limits are observed with this precision: to about one part in 16.
const BUCKETS: u64 = 16;

/// Flags of a channel's entry.
const BY_AGE: u8 = 1;
const HAS_LINEAGE: u8 = 2;

/// Consecutive publications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    last: u64,
    bytes: u64,
    oldest_ms: u64,
    newest_ms: u64,
    /// The sequence number of the last one.
    sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retained {
    /// The channel's number in keys.
    pub(super) id: u32,
    pub(super) head: u64,
    /// The epochs of its publications.
    pub(super) lineage: Arc<Lineage>,
    /// The oldest on disk; `first <= head + 1`.
    first: u64,
    /// The keys of the channel's state; only present if the rules require one, and only in the
    /// writer.
    pub(super) values: Option<Box<Values<()>>>,
    trimmed: Trimmed,
    /// The sequence number of the newest trimmed publication.
    pub(super) trimmed_sequence: u64,
    sealed: VecDeque<Bucket>,
    /// The newest bucket; empty if its `last` is that of the newest sealed one.
    open: Bucket,
}

impl Retained {
    pub(super) fn new(id: u32) -> Self {
        let (sealed, open) = (VecDeque::new(), Bucket::default());
        Self {
            id,
            head: 0,
            lineage: Lineage::empty(),
            first: 1,
            values: None,
            trimmed: Trimmed::default(),
            trimmed_sequence: 0,
            sealed,
            open,
        }
    }

    /// The stream as others see it: the count is exact, bytes and age to the precision of a bucket.
    pub(super) fn state(&self, epochs: &Epochs, history: &History) -> StreamState {
        let by_count = (self.head + 1).saturating_sub(history.count);
        let first = self.first.max(by_count);
        let trimmed = if by_count > self.first {
            Trimmed::BySize
        } else {
            self.trimmed
        };
        StreamState {
            head: self.at(epochs, self.head),
            first,
            trimmed,
        }
    }

    /// Why the newest that was trimmed was.
    pub(super) fn trimmed(&self) -> Trimmed {
        self.trimmed
    }

    /// The oldest offset on disk.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The position with this offset.
    pub(super) fn at(&self, epochs: &Epochs, offset: u64) -> Position {
        self.lineage.at(epochs, offset)
    }

    /// The bytes of all buckets but the newest.
    pub(super) fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|bucket| bucket.bytes).sum()
    }

    /// Where to start scanning for publications that are in no bucket yet.
    pub(super) fn unsealed_from(&self) -> u64 {
        self.sealed
            .back()
            .map_or(self.first, |bucket| bucket.last + 1)
    }

    /// Counts a publication that is not stored.
    pub(super) fn pass(&mut self, offset: u64, sequence: u64) {
        self.head = offset;
        self.first = offset + 1;
        self.trimmed_sequence = sequence;
    }

    /// Counts a publication; returns whether a bucket was sealed and the entry should be saved.
    pub(super) fn push(
        &mut self,
        offset: u64,
        bytes: u64,
        (time_ms, sequence): (u64, u64),
        history: &History,
    ) -> bool {
        if self.open.bytes == 0 {
            self.open.oldest_ms = time_ms;
        }
        self.head = offset;
        self.open.last = offset;
        self.open.sequence = sequence;
        self.open.bytes += bytes;
        self.open.newest_ms = self.open.newest_ms.max(time_ms);
        let count = offset + 1 - self.unsealed_from();
        let span = self.open.newest_ms.saturating_sub(self.open.oldest_ms);
        let stride = |bound: u64| (bound / BUCKETS).max(1);
        let full = count >= stride(history.count)
            || self.open.bytes >= stride(history.bytes)
            || history
                .age
                .is_some_and(|age| span >= stride(age.as_millis() as u64));
        if full {
            self.seal();
        }
        full
    }

    fn seal(&mut self) {
        if self.open.bytes > 0 {
            self.sealed.push_back(std::mem::take(&mut self.open));
        }
    }

    /// Removes the oldest buckets that need not be retained; returns the removed offsets.
    pub(super) fn trim(&mut self, history: &History, now_ms: u64) -> Option<RangeInclusive<u64>> {
        let from = self.first;
        let age = history.age.map_or(u64::MAX, |age| age.as_millis() as u64);
        let oldest_kept = now_ms.saturating_sub(age);
        if self.open.bytes > 0 && self.open.newest_ms < oldest_kept {
            self.seal();
        }
        let mut bytes = self.sealed.iter().map(|bucket| bucket.bytes).sum::<u64>();
        bytes += self.open.bytes;
        while let Some(oldest) = self.sealed.front() {
            let too_old = oldest.newest_ms < oldest_kept;
            let too_many = oldest.last.saturating_add(history.count) <= self.head;
            if !(too_old || too_many || bytes > history.bytes) {
                break;
            }
            self.trimmed = if too_old {
                Trimmed::ByAge
            } else {
                Trimmed::BySize
            };
            self.first = oldest.last + 1;
            self.trimmed_sequence = oldest.sequence;
            bytes -= oldest.bytes;
            self.sealed.pop_front();
        }
        if self.first == from {
            return None;
        }
        Arc::make_mut(&mut self.lineage).trim(self.first);
        Some(from..=self.first - 1)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.sealed.len() * 32);
        out.put_u32(self.id);
        out.put_u64(self.head);
        out.put_u64(self.first);
        let by_age = if self.trimmed == Trimmed::ByAge {
            BY_AGE
        } else {
            0
        };
        out.put_u8(by_age | HAS_LINEAGE);
        out.put_u64(self.trimmed_sequence);
        out.put_u32(self.lineage.len() as u32);
        self.lineage.encode(&mut out);
        for bucket in &self.sealed {
            out.put_u64(bucket.last);
            out.put_u64(bucket.bytes);
            out.put_u64(bucket.oldest_ms);
            out.put_u64(bucket.newest_ms);
            out.put_u64(bucket.sequence);
        }
        out
    }

    /// Decodes an entry; the caller must `push` later publications again. A channel saved without a
    /// lineage has only the epoch `first`.
    pub(super) fn decode(mut bytes: &[u8], first: Epoch) -> Option<Self> {
        let from = &mut bytes;
        let id = from.try_get_u32().ok()?;
        let mut retained = Self::new(id);
        retained.head = from.try_get_u64().ok()?;
        retained.first = from.try_get_u64().ok()?;
        let flags = from.try_get_u8().ok()?;
        if flags & BY_AGE != 0 {
            retained.trimmed = Trimmed::ByAge;
        }
        if flags & HAS_LINEAGE != 0 {
            retained.trimmed_sequence = from.try_get_u64().ok()?;
            let len = from.try_get_u32().ok()? as usize;
            retained.lineage = Arc::new(Lineage::decode(from, len)?);
        } else {
            Arc::make_mut(&mut retained.lineage).publish(first, 1);
        }
        while !from.is_empty() {
            let mut next = || from.try_get_u64().ok();
            let (last, bytes, oldest_ms, newest_ms) = (next()?, next()?, next()?, next()?);
            // Older logs have no sequence numbers.
            let sequence = if flags & HAS_LINEAGE != 0 { next()? } else { 0 };
            retained.sealed.push_back(Bucket {
                last,
                bytes,
                oldest_ms,
                newest_ms,
                sequence,
            });
        }
        Some(retained)
    }
}

#[cfg(test)]
mod tests;
