//! The newest publications of a channel, kept only while a subscription is behind.
//!
//! They close the hole between a history read and the broadcasts in the meantime, and are the only
//! source for slow connections in channels without history.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    position::Position,
    publication::{CONFLATION_TAG, Publication},
};

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// In order; without holes unless conflated.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The newest place that was dropped because of the bounds, which no newer value stands for.
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    place: Position,
    /// The position before it.
    previous: Position,
    publication: Arc<Publication>,
}

impl Recent {
    /// Adds the newest publication, which follows `previous`, then drops the oldest ones until both
    /// limits hold.
    pub(super) fn push(
        &mut self,
        publication: &Arc<Publication>,
        place: Position,
        previous: Position,
        (count, bytes): (usize, usize),
    ) {
        self.bytes += publication.weight();
        let publication = Arc::clone(publication);
        self.entries.push_back(Entry {
            place,
            previous,
            publication,
        });
        while self.entries.len() > count || self.bytes > bytes {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.publication.weight();
            self.dropped = oldest.place.offset;
        }
    }

    /// Whether something after this offset was dropped because of the bounds.
    pub(super) fn has_dropped_after(&self, offset: u64) -> bool {
        self.dropped > offset
    }

    /// Drops the one publication that the new one replaces, which has the same value of the tag `key`. At most `Limits::recent_count` are
    /// looked at, and only while a connection is slow.
    pub(super) fn conflate(&mut self, new: &Publication) {
        // One without the tag replaces nothing.
        let Some(key) = new.tags.get(CONFLATION_TAG) else {
            return;
        };
        let same = |entry: &Entry| entry.publication.tags.get(CONFLATION_TAG) == Some(key);
        let older = self.entries.iter().position(same);
        if let Some(older) = older.and_then(|index| self.entries.remove(index)) {
            self.bytes -= older.publication.weight();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The publication that follows a position, if it is here. `loosely`: a position between two
    /// publications is followed by the later one, as in the order of a filter.
    pub(super) fn next(&self, after: Position, loosely: bool) -> Option<&Arc<Publication>> {
        let entry = self.entry_after(after.offset)?;
        let before = entry.previous;
        let between = before.epoch == after.epoch && before.offset <= after.offset;
        (before == after || (loosely && between)).then_some(&entry.publication)
    }

    /// The first publication after an offset, and the position before it. With holes it may be much
    /// later.
    pub(super) fn after(&self, offset: u64) -> Option<(&Arc<Publication>, Position)> {
        let entry = self.entry_after(offset)?;
        Some((&entry.publication, entry.previous))
    }

    fn entry_after(&self, offset: u64) -> Option<&Entry> {
        let index = self
            .entries
            .partition_point(|entry| entry.place.offset <= offset);
        self.entries.get(index)
    }
}

#[cfg(test)]
mod tests;
