//! Requests to the backend without a usable answer: counted by reason, and logged at a limited rate.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::client::RequestError;
use crate::refused::{INTERVAL, Shown};

/// Why a request has no usable answer, in logs and metrics.
pub(crate) const REASONS: [&str; 5] = ["connection", "timed_out", "status", "too_large", "invalid"];

const fn reason(error: &RequestError) -> usize {
    match error {
        RequestError::Http(_) => 0,
        RequestError::TimedOut => 1,
        RequestError::Status(_) => 2,
        RequestError::TooLarge(_) => 3,
        RequestError::Useless(_) => 4,
    }
}

/// What was logged of one kind of question and one reason.
#[derive(Debug)]
struct Logged {
    at: Instant,
    /// How many were not logged since.
    more: u64,
}

/// Counts and logs failures of all questions and events.
#[derive(Debug, Default)]
pub(super) struct Failures {
    counts: [AtomicU64; REASONS.len()],
    /// At most one entry for each kind of question and each reason.
    logged: Mutex<BTreeMap<(&'static str, usize), Logged>>,
}

impl Failures {
    /// Records a failure of a request with a question of this kind, or with `events`.
    ///
    /// Answers that are not usable are a mistake in the backend, which its operator must see: the first
    /// is logged at once, and later ones with the same reason once per [`INTERVAL`]. That the backend does
    /// not answer at all is logged when the circuit breaker opens.
    pub(super) fn note(&self, kind: &'static str, error: &RequestError, place: &str, now: Instant) {
        let reason = reason(error);
        if let Some(count) = self.counts.get(reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !error.is_answer() {
            tracing::debug!(kind, backend = %place, %error, "the backend gave no answer");
            return;
        }
        let Some(more) = self.is_due((kind, reason), now) else {
            return;
        };
        let error = error.to_string();
        tracing::warn!(
            kind,
            backend = %place,
            error = %Shown(&error),
            more,
            "the backend's answer cannot be used; `more` such answers were not logged"
        );
    }

    /// If the next failure is to be logged: how many were not logged since the last one.
    fn is_due(&self, of: (&'static str, usize), now: Instant) -> Option<u64> {
        // Each change is whole before anything that could panic.
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = logged.get_mut(&of) else {
            logged.insert(of, Logged { at: now, more: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(last.at) < INTERVAL {
            last.more += 1;
            return None;
        }
        let more = last.more;
        *last = Logged { at: now, more: 0 };
        Some(more)
    }

    /// The number of failures for each of [`REASONS`].
    pub(super) fn numbers(&self) -> [u64; REASONS.len()] {
        std::array::from_fn(|reason| {
            let count = self.counts.get(reason);
            count.map_or(0, |count| count.load(Ordering::Relaxed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_and_reason_is_logged_once_an_interval_with_the_number_of_others() {
        let (failures, now) = (Failures::default(), Instant::now());
        let (connect, publish) = (("connect", 4), ("publish", 4));
        assert_eq!(failures.is_due(connect, now), Some(0));
        assert_eq!(failures.is_due(publish, now), Some(0));
        assert_eq!(failures.is_due(("connect", 2), now), Some(0));
        for _ in 0..1_000 {
            assert_eq!(failures.is_due(connect, now + INTERVAL / 2), None);
        }
        assert_eq!(failures.is_due(connect, now + INTERVAL), Some(1_000));
        assert_eq!(failures.is_due(connect, now + INTERVAL), None);
        assert_eq!(failures.is_due(publish, now + INTERVAL), Some(0));
    }
}
