//! The lineage of a stream: its epochs, what a channel received in each, and hence which positions
//! are valid.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, LazyLock},
};

use bytes::{Buf, BufMut};
use offhook_engine::{Epoch, Now, Position, ReadFrom, ReadStart, Resolution};

/// How many epochs a log remembers in addition to its first: a server started ten times a day knows
/// the positions of a year. Older ones are answered as unknown.
const MAX_EPOCHS: usize = 4096;

/// How many epochs of a channel are remembered without a retained publication. They tell a late
/// reader what was trimmed and what diverged.
const SPARE: usize = 16;

/// The range in which epochs are randomised, in microseconds: about one second. Two logs restored
/// from the same copy at the same time still differ.
const SPREAD: u64 = 1 << 20;

/// A new epoch, different from all before it and from one that another broker starts at this time.
/// JavaScript reads it exactly until the year 2255.
pub(crate) fn fresh_epoch(last: Option<Epoch>, now: Now) -> Epoch {
    // Every hasher of the standard library has random keys.
    let random = RandomState::new().build_hasher().finish();
    Epoch(least_epoch(last, now) + random % SPREAD)
}

/// The next epoch of streams in memory: many may begin in a second, and it must not run ahead of the
/// clock by as much each time. The first one was randomised.
pub(crate) fn next_epoch(last: Epoch, now: Now) -> Epoch {
    match least_epoch(Some(last), now) {
        least if least == last.0 + 1 => Epoch(least),
        _ => fresh_epoch(Some(last), now),
    }
}

/// The smallest number that a new epoch may have.
fn least_epoch(last: Option<Epoch>, now: Now) -> u64 {
    let clock = now.unix_ms.saturating_mul(1000);
    last.map_or(clock, |last| clock.max(last.0 + 1))
}

/// An epoch, and the newest sequence number of the broker when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Began {
    pub(crate) epoch: Epoch,
    pub(crate) sequence: u64,
}

/// The epochs of a broker, oldest first; ascending and never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Epochs {
    first: Began,
    later: Vec<Began>,
}

impl Epochs {
    pub(crate) fn new(epoch: Epoch) -> Self {
        let first = Began { epoch, sequence: 0 };
        let later = Vec::new();
        Self { first, later }
    }

    pub(crate) fn current(&self) -> Epoch {
        self.later.last().unwrap_or(&self.first).epoch
    }

    /// The newest sequence number of any epoch's start.
    pub(crate) fn newest_sequence(&self) -> u64 {
        let all = std::iter::once(&self.first).chain(&self.later);
        all.map(|began| began.sequence).max().unwrap_or(0)
    }

    /// Starts an epoch. If there are too many, the second oldest is forgotten; the first one names
    /// the beginning of every stream and is kept.
    pub(crate) fn begin(&mut self, began: Began) {
        self.later.push(began);
        if self.later.len() > MAX_EPOCHS {
            self.later.remove(0);
        }
    }

    /// Whether a position in the broker's own order is valid, and the newest number that both
    /// share.
    pub(crate) fn resolve(&self, asked: Position, newest: u64) -> (Resolution, u64) {
        let mut all = std::iter::once(&self.first).chain(&self.later);
        if !all.any(|began| began.epoch == asked.epoch) {
            return (Resolution::UnknownEpoch, 0);
        }
        // Where the first one ended is no longer known once the second was forgotten.
        let is_first = asked.epoch == self.first.epoch;
        if is_first && asked.offset > 0 && self.later.len() >= MAX_EPOCHS {
            return (Resolution::UnknownEpoch, 0);
        }
        // An epoch ends where the next one starts.
        let end = all.next().map_or(newest, |next| next.sequence);
        match asked.offset {
            offset if offset <= end => (Resolution::Continuous, offset),
            _ if asked.epoch == self.current() => (Resolution::AheadOfHead, end),
            _ => (Resolution::Diverged, end),
        }
    }

    /// The position before every publication.
    pub(crate) fn origin(&self) -> Position {
        Position {
            epoch: self.first.epoch,
            offset: 0,
        }
    }

    fn knows(&self, epoch: Epoch) -> bool {
        self.first.epoch == epoch || self.later.iter().any(|began| began.epoch == epoch)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 * (1 + self.later.len()));
        for began in std::iter::once(&self.first).chain(&self.later) {
            out.put_u64(began.epoch.0);
            out.put_u64(began.sequence);
        }
        out
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let epoch = Epoch(bytes.try_get_u64().ok()?);
            let sequence = bytes.try_get_u64().ok()?;
            all.push(Began { epoch, sequence });
        }
        let rising = all.is_sorted_by(|a, b| a.epoch.0 < b.epoch.0);
        let first = *all.first().filter(|_| rising)?;
        let later = all.split_off(1);
        Some(Self { first, later })
    }
}

/// The epochs in which one channel received publications, with the first offset of each; both
/// ascend. Empty before the first publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lineage(Vec<(Epoch, u64)>);

/// The lineage of every channel without publications.
static EMPTY: LazyLock<Arc<Lineage>> = LazyLock::new(Arc::default);

impl Lineage {
    /// That of a channel without publications. All of them share it, so that a channel that is only
    /// followed needs no memory for it.
    pub(crate) fn empty() -> Arc<Self> {
        Arc::clone(&EMPTY)
    }

    /// Whether a publication would be the first in its epoch.
    pub(crate) fn is_new(&self, epoch: Epoch) -> bool {
        self.0.last().is_none_or(|(last, _)| *last != epoch)
    }

    /// Records a publication; returns whether it is the first in its epoch.
    pub(crate) fn publish(&mut self, epoch: Epoch, offset: u64) -> bool {
        let new = self.is_new(epoch);
        if new {
            // Most channels have one epoch.
            self.0.reserve_exact(1);
            self.0.push((epoch, offset));
        }
        new
    }

    /// Forgets epochs of which nothing is retained: publications from `first` on are.
    pub(crate) fn trim(&mut self, first: u64) {
        let gone = self.0.partition_point(|(_, began)| *began < first);
        // The epoch of the offset before `first` is kept: a reader can continue from there.
        let gone = gone.saturating_sub(1).saturating_sub(SPARE);
        self.0.drain(..gone);
    }

    /// The position with this offset, in terms of the stream.
    pub(crate) fn at(&self, epochs: &Epochs, offset: u64) -> Position {
        if offset == 0 {
            return epochs.origin();
        }
        let next = self.0.partition_point(|(_, began)| *began <= offset);
        let of = self.0.get(next.saturating_sub(1));
        let epoch = of.map_or(epochs.current(), |(epoch, _)| *epoch);
        Position { epoch, offset }
    }

    /// The last offset that belongs to this epoch or an earlier one. None if that is no longer
    /// known.
    fn end(&self, epochs: &Epochs, epoch: Epoch, head: u64) -> Option<u64> {
        if !epochs.knows(epoch) {
            return None;
        }
        let next = self.0.partition_point(|(of, _)| of.0 <= epoch.0);
        let end = self.0.get(next).map_or(head, |(_, began)| began - 1);
        // Publications before the oldest remembered epoch may have ended anywhere.
        (next > 0 || end == 0).then_some(end)
    }

    /// Whether a position is part of the stream, and the newest offset that both share.
    pub(crate) fn resolve(&self, epochs: &Epochs, asked: Position, head: u64) -> (Resolution, u64) {
        match self.end(epochs, asked.epoch, head) {
            None => (Resolution::UnknownEpoch, 0),
            Some(end) if asked.offset <= end => (Resolution::Continuous, asked.offset),
            Some(_) if asked.epoch == epochs.current() => (Resolution::AheadOfHead, head),
            Some(end) => (Resolution::Diverged, end),
        }
    }

    /// The start of a read in a stream that retains `first` to `head`.
    pub(crate) fn start(
        &self,
        epochs: &Epochs,
        from: ReadFrom,
        first: u64,
        head: u64,
    ) -> ReadStart {
        let (resolution, agreed) = match from {
            ReadFrom::Start => (Resolution::Continuous, 0),
            ReadFrom::After(position) => self.resolve(epochs, position, head),
            ReadFrom::Last(count) => (Resolution::Continuous, head.saturating_sub(count)),
            ReadFrom::Before(position) => backward(self.resolve(epochs, position, head), head),
        };
        let after = match from {
            // Until something is read.
            ReadFrom::Before(_) => agreed,
            ReadFrom::Start | ReadFrom::After(_) | ReadFrom::Last(_) => {
                agreed.max(first.saturating_sub(1))
            }
        };
        ReadStart {
            resolution,
            agreed: self.at(epochs, agreed),
            after: self.at(epochs, after),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for (epoch, began) in &self.0 {
            out.put_u64(epoch.0);
            out.put_u64(*began);
        }
    }

    pub(crate) fn decode(from: &mut &[u8], len: usize) -> Option<Self> {
        let mut all = Vec::new();
        for _ in 0..len {
            let epoch = Epoch(from.try_get_u64().ok()?);
            all.push((epoch, from.try_get_u64().ok()?));
        }
        Some(Self(all))
    }
}

/// The newest offset that a read before a position may return, depending on how the position was
/// resolved.
pub(crate) fn backward(resolved: (Resolution, u64), head: u64) -> (Resolution, u64) {
    match resolved {
        (Resolution::Continuous, offset) => (Resolution::Continuous, offset.saturating_sub(1)),
        (Resolution::Diverged, end) => (Resolution::Diverged, end),
        // Nothing is known of where it lies: the newest may be of use.
        (Resolution::UnknownEpoch | Resolution::AheadOfHead | Resolution::Restarted, _) => {
            (resolved.0, head)
        }
    }
}

#[cfg(test)]
mod tests;
