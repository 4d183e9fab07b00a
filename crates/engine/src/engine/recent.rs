//! The newest publications of a channel, kept only while some connection is behind.
//!
//! They are the bridge between what a history read brought and what was broadcast meanwhile, and
//! all there is for slow connections of channels without history.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    position::Position,
    publication::{CONFLATION_TAG, Publication},
};

#[derive(Debug, Default)]
pub(super) struct Recent {
    /// In the order of their offsets; without holes unless conflated.
    entries: VecDeque<Arc<Publication>>,
    bytes: usize,
}

impl Recent {
    /// Adds the newest, then drops the oldest until both bounds hold.
    pub(super) fn push(&mut self, publication: Arc<Publication>, count: usize, bytes: usize) {
        self.bytes += publication.weight();
        self.entries.push_back(publication);
        while self.entries.len() > count || self.bytes > bytes {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.weight();
        }
    }

    /// Drops the one publication that the new one replaces. At most `Limits::recent_count` are
    /// looked at, and only while a connection is slow.
    pub(super) fn conflate(&mut self, new: &Publication) {
        let key = new.tags.get(CONFLATION_TAG);
        let older = self
            .entries
            .iter()
            .position(|p| p.tags.get(CONFLATION_TAG) == key);
        if let Some(older) = older.and_then(|index| self.entries.remove(index)) {
            self.bytes -= older.weight();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The publication that follows a position, if it is here.
    pub(super) fn next(&self, position: Position) -> Option<&Arc<Publication>> {
        self.after(position.offset)
            .filter(|next| next.previous == position)
    }

    /// The first publication after an offset; with holes it may be much later.
    pub(super) fn after(&self, offset: u64) -> Option<&Arc<Publication>> {
        let index = self
            .entries
            .partition_point(|p| p.position.offset <= offset);
        self.entries.get(index)
    }
}
