//! What is refused is told to the operator once a kind and interval, however often it happens.

use std::{
    collections::BTreeMap,
    fmt::Display,
    time::{Duration, Instant},
};

/// How long what happens again is only counted.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts refusals by kind.
#[derive(Debug)]
pub(crate) struct Refused {
    counts: BTreeMap<&'static str, u64>,
    since: Instant,
}

impl Refused {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            counts: BTreeMap::new(),
            since: now,
        }
    }

    /// Something was refused; the first of its kind is told at once, with what was wrong.
    pub(crate) fn note(&mut self, kind: &'static str, detail: impl Display) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(kind, %detail, "refused");
        }
    }

    /// Tells what came again, when it is time.
    pub(crate) fn tell_in_time(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= INTERVAL {
            self.tell(now);
        }
    }

    /// Tells what came again.
    pub(crate) fn tell(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.since);
        for (kind, count) in std::mem::take(&mut self.counts) {
            if count > 1 {
                let seconds = past.as_secs();
                tracing::warn!(kind, more = count - 1, seconds, "refused more of the same");
            }
        }
        self.since = now;
    }
}
