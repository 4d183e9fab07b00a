//! Statistics about requests to the backend.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};

use super::{BackendLink, failures::REASONS, queue::EventQueue, receiver::Receiver};

/// Counters of requests to the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// All questions: answered ones, failed ones, and those in progress.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Requests without a usable answer, also of events and with every retry, by reason.
    pub(crate) failures: [(&'static str, u64); REASONS.len()],
    pub(crate) events: Delivered,
}

/// Counters of events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    /// Events that the backend accepted.
    pub(crate) told: u64,
    pub(crate) waiting: usize,
    pub(crate) dropped: u64,
    /// Whether requests are paused because the backend did not answer.
    pub(crate) away: bool,
}

impl Delivered {
    pub(super) fn of(queue: &EventQueue, receiver: &Receiver) -> Self {
        Self {
            told: queue.told(),
            waiting: queue.waiting(),
            dropped: queue.all_dropped(),
            away: receiver.is_away(),
        }
    }

    /// For the statistics of the API.
    pub(crate) fn stats(self) -> Value {
        json!({
            "events_told": self.told,
            "events_waiting": self.waiting,
            "events_dropped": self.dropped,
            "away": self.away,
        })
    }

    /// The counters of several receivers together. `away` is whether one of them is.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            told: self.told + other.told,
            waiting: self.waiting + other.waiting,
            dropped: self.dropped + other.dropped,
            away: self.away || other.away,
        }
    }
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
            events: Delivered::of(&self.events, &self.receiver),
        }
    }

    fn failures(&self) -> [(&'static str, u64); REASONS.len()] {
        let mut reasons = REASONS.map(|reason| (reason, 0));
        for (one, number) in reasons.iter_mut().zip(self.receiver.failures.numbers()) {
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
            "events_told": numbers.events.told,
            "events_waiting": numbers.events.waiting,
            "events_dropped": numbers.events.dropped,
            "away": numbers.events.away,
        })
    }
}
