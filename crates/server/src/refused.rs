//! Refusals are logged once per kind and interval, however often they happen.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::metrics::WorkerMetrics;

/// How long repeated refusals are only counted.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts refusals by kind.
#[derive(Debug)]
pub(crate) struct Refused {
    counts: BTreeMap<&'static str, u64>,
    since: Instant,
    metrics: Arc<WorkerMetrics>,
}

impl Refused {
    pub(crate) const fn new(now: Instant, metrics: Arc<WorkerMetrics>) -> Self {
        Self {
            counts: BTreeMap::new(),
            since: now,
            metrics,
        }
    }

    /// Records a refusal; the first of its kind is logged at once, with the details.
    pub(crate) fn note(&mut self, kind: &'static str, detail: impl Display) {
        self.metrics.refused.count(kind);
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(kind, %detail, "refused");
        }
    }

    /// Logs repeated refusals, if the interval has passed.
    pub(crate) fn tell_in_time(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= INTERVAL {
            self.tell(now);
        }
    }

    /// Logs repeated refusals.
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
