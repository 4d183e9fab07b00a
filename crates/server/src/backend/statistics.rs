//! Statistics about requests to the backend.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::BackendLink;

/// Counters of requests to the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// All questions: answered ones, failed ones, and those in progress.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Events that the backend accepted.
    pub(crate) told: u64,
    pub(crate) waiting: usize,
    pub(crate) dropped: u64,
    /// Whether requests are paused because the backend did not answer.
    pub(crate) away: bool,
}

impl BackendLink {
    /// The counters at this moment.
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
