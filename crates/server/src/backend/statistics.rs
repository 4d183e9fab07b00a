//! What has happened between the server and its backend, as numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::BackendLink;

/// What has happened between the server and its backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// Questions: those that were answered, those that were not, and those under way.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Events that the backend took.
    pub(crate) told: u64,
    pub(crate) waiting: usize,
    pub(crate) dropped: u64,
    /// It is not asked at present, because it did not answer.
    pub(crate) away: bool,
}

impl BackendLink {
    /// What has happened so far.
    pub(crate) fn numbers(&self) -> Numbers {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Numbers {
            asked: count(&self.counts.asked),
            answered: count(&self.counts.answered),
            failed: count(&self.counts.failed),
            told: count(&self.counts.told),
            waiting: self.events.waiting(),
            dropped: self.events.all_dropped(),
            away: self.breaker().is_open(),
        }
    }

    /// For the statistics of the API.
    pub(crate) fn stats(&self) -> Value {
        let numbers = self.numbers();
        json!({
            "asked": numbers.asked,
            "answered": numbers.answered,
            "failed": numbers.failed,
            "events_told": numbers.told,
            "events_waiting": numbers.waiting,
            "events_dropped": numbers.dropped,
            "away": numbers.away,
        })
    }
}
