//! Omits expired entries when blocks are rewritten.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::super::record::{read_cursor_entry, read_key_entry, scope_of};
use crate::cursors::is_of_session;

/// Lets old keys go when their blocks are rewritten anyway.
pub(super) struct OldKeys {
    pub(super) floor: Arc<AtomicU64>,
}

impl Factory for OldKeys {
    fn name(&self) -> &str {
        "old idempotency keys"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(OlderThan(self.floor.load(Ordering::Relaxed)))
    }
}

/// Lets cursors of sessions that have ended go when their blocks are rewritten anyway.
pub(super) struct EndedCursors {
    pub(super) now: Arc<AtomicU64>,
}

impl Factory for EndedCursors {
    fn name(&self) -> &str {
        "cursors of sessions that have ended"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(EndedBy(self.now.load(Ordering::Relaxed)))
    }
}

struct EndedBy(u64);

impl CompactionFilter for EndedBy {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        if !is_of_session(scope_of(item.key())) {
            return Ok(Verdict::Keep);
        }
        let entry = item.value()?;
        let ended = read_cursor_entry(&entry).is_some_and(|cursor| cursor.has_ended(self.0));
        Ok(if ended {
            Verdict::Remove
        } else {
            Verdict::Keep
        })
    }
}

struct OlderThan(u64);

impl CompactionFilter for OlderThan {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let entry = item.value()?;
        let old = read_key_entry(&entry).is_some_and(|(_, time_ms)| time_ms < self.0);
        Ok(if old { Verdict::Remove } else { Verdict::Keep })
    }
}
