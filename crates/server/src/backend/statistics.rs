//! Statistics about requests to the backend.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};

use super::{BackendLink, failures::REASONS};

/// Counters of requests to the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// All questions: answered ones, failed ones, and those in progress.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Requests without a usable answer, also of events and with every retry, by reason.
    pub(crate) failures: [(&'static str, u64); REASONS.len()],
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
            failures: self.failures(),
            told: count(&self.counts.told),
            waiting: self.events.waiting(),
            dropped: self.events.all_dropped(),
            away: self.breaker().is_open(),
        }
    }

    fn failures(&self) -> [(&'static str, u64); REASONS.len()] {
        let mut reasons = REASONS.map(|reason| (reason, 0));
        for (one, number) in reasons.iter_mut().zip(self.failures.numbers()) {
            one.1 = number;
        }
        reasons
    }

    /// For the statistics of the API.
    pub(crate) fn stats(&self) -> Value {
        let numbers = self.numbers();
        json!({
            "asked": numbers.asked,
            "answered": numbers.answered,
            "failed": numbers.failed,
            "failures": numbers.failures.into_iter().collect::<BTreeMap<_, _>>(),
            "events_told": numbers.told,
            "events_waiting": numbers.waiting,
            "events_dropped": numbers.dropped,
            "away": numbers.away,
        })
    }
}
