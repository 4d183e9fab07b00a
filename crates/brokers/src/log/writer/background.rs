//! The store's own work, flushing and compacting, and what becomes of it when that fails.
//!
//! A compaction that meets a damaged block ends with an error. From then on, the store accepts no
//! writes until it is opened again, and the next compaction meets the same block. After such an
//! error the store is therefore opened without background work, and publishing continues. Data
//! written in the meantime stays in journals and in memory; after a certain amount, the store is
//! opened with background work for the duration of a flush. From time to time, the background work
//! is tried again, since the disk may only have been full.
//!
//! ```text
//!          a thread of the store failed
//! Working ──────────────────────────────▶ Suspended ───┐ enough was written:
//!    ▲                                      │   ▲      │ opened for a flush
//!    └──── after a pause, longer each time ─┘   └──────┘
//! ```

use std::{sync::Arc, time::Duration};

use super::Writer;
use crate::log::store::Store;

/// Ticks until the work is tried again, and the most that this grows to: a minute, an hour.
const PAUSE: u64 = 60;
const LONGEST_PAUSE: u64 = 3600;

/// Bytes that are published before a flush is made: they are in memory until then.
const UNFLUSHED: u64 = 64 << 20;

/// How long a flush may take.
const FLUSH: Duration = Duration::from_secs(10);

/// Tables that were not merged. Beyond 30 the store lets no write return; flushes and the keyspaces'
/// own pace need some room below.
const MOST_UNMERGED: usize = 20;

#[derive(Debug)]
pub(super) struct Background {
    /// The tick at which the work is tried again, while it is suspended.
    until: Option<u64>,
    pause: u64,
    /// The tick at which the work, tried again, is taken to be good.
    trusted_at: u64,
    /// A thread of the store has failed since it was opened.
    failed: bool,
    /// Bytes published since it was suspended, or flushed last.
    written: u64,
    /// Too many tables were not merged: nothing can be written any more.
    pub(super) stuck: bool,
}

impl Default for Background {
    fn default() -> Self {
        Self {
            until: None,
            pause: PAUSE,
            trusted_at: 0,
            failed: false,
            written: 0,
            stuck: false,
        }
    }
}

impl Background {
    /// The store refuses writes because one of its threads has failed.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    pub(super) fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// The store is about to be opened again in this tick: whether without its own work.
    pub(super) fn is_suspended(&mut self, tick: u64) -> bool {
        if std::mem::take(&mut self.failed) {
            self.until = Some(tick + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.written = 0;
        }
        self.until.is_some()
    }
}

impl Writer {
    /// While the store's own work is suspended: flushes, and tries it again.
    pub(super) fn tend_background(&mut self, store: Arc<Store>) {
        let Some(until) = self.background.until else {
            if self.ticks >= self.background.trusted_at && self.background.pause > PAUSE {
                self.background.pause = PAUSE;
                self.condition.suspended(None);
            }
            return;
        };
        self.background.stuck = store.unmerged() >= MOST_UNMERGED;
        self.tell_suspended();
        let again = self.ticks >= until;
        if !again && (self.background.written < UNFLUSHED || self.background.stuck) {
            return;
        }
        drop(store);
        self.background.written = 0;
        let Some(store) = self.reopen(false) else {
            return;
        };
        // The next write reports its error.
        let _flushed = store.flush(FLUSH);
        if again {
            self.background.until = None;
            self.background.stuck = false;
            self.background.trusted_at = self.ticks + self.background.pause;
            return;
        }
        drop(store);
        let _told_by_the_next_tick = self.reopen(true);
    }

    fn tell_suspended(&self) {
        let now = if self.background.stuck {
            "nothing more can be published"
        } else {
            "publishing continues without it, and the log grows by a few gigabytes at most"
        };
        self.condition.suspended(Some(format!(
            "the store can't merge its files, most likely because of a damaged block; {now}. Run \
             `offhook log check`, stop the server, and restore a backup, or save what can be read \
             with `offhook log read`"
        )));
    }

    /// The store was opened again after a failure.
    pub(super) fn opened_again(&self) {
        if self.background.until.is_some() {
            self.tell_suspended();
        }
    }
}

#[cfg(test)]
mod tests;
