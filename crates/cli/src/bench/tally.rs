//! Counters of each thread, added up at the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::plan::Window;

/// A histogram of measured times.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

/// From 1 µs to 10 min, in nanoseconds, with three significant digits.
const SHORTEST: u64 = 1_000;
const LONGEST: u64 = 600_000_000_000;

impl Default for Times {
    #[expect(clippy::expect_used, reason = "the bounds are constants and valid")]
    fn default() -> Self {
        Self(Histogram::new_with_bounds(SHORTEST, LONGEST, 3).expect("good bounds"))
    }
}

impl Times {
    pub(super) fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanoseconds);
    }

    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn reset(&mut self) {
        self.0.reset();
    }

    /// A percentile, in microseconds.
    pub(super) fn percentile(&self, percentile: f64) -> f64 {
        self.0.value_at_percentile(percentile) as f64 / 1_000.0
    }

    /// Latencies at these percentiles, in microseconds.
    pub(super) fn distribution(&self) -> Vec<(f64, f64)> {
        const AT: [f64; 13] = [
            0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 99.999, 100.0,
        ];
        if self.len() == 0 {
            return Vec::new();
        }
        AT.map(|at| (at, self.percentile(at))).to_vec()
    }

    pub(super) fn max(&self) -> f64 {
        self.0.max() as f64 / 1_000.0
    }
}

/// Counts messages sent and answered, or published and delivered.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// How many arrived within the measured time.
    pub(super) count: u64,
    pub(super) times: Times,
}

impl Tally {
    /// Records a message that should have been sent at `intended` and arrived at `now`.
    pub(super) fn note(&mut self, intended: Instant, now: Instant, window: &Window) {
        if now >= window.measured_from && now < window.end {
            self.count += 1;
        }
        if intended >= window.measured_from && intended < window.end {
            self.times.record(now.saturating_duration_since(intended));
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.times.add(&other.times);
    }
}

/// Everything that a thread counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Echoes, or acknowledged publications.
    pub(super) answers: Tally,
    /// Publications that reached a subscriber.
    pub(super) deliveries: Tally,
    /// How much later than intended messages were sent: because of the generator itself, or of a
    /// connection that accepted no more.
    pub(super) lateness: Times,
    /// Messages sent without an answer at the end.
    pub(super) unanswered: u64,
    /// Messages due but never sent: the server accepts less than the requested rate.
    pub(super) unsent: u64,
    /// Answers that differ from what was sent.
    pub(super) wrong: u64,
    /// Requests refused by the server, by code.
    pub(super) refused: BTreeMap<String, u64>,
    /// Connections that were lost.
    pub(super) lost: u64,
    /// Why the first connection was lost.
    pub(super) why: Option<String>,
    /// Acknowledged publications, by channel.
    pub(super) published: Vec<u64>,
    /// Publications delivered for the first time, by channel.
    pub(super) delivered: Vec<u64>,
    pub(super) twice: u64,
    pub(super) out_of_order: u64,
    /// Gaps that the server announced.
    pub(super) gaps: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.answers.add(&other.answers);
        self.deliveries.add(&other.deliveries);
        self.lateness.add(&other.lateness);
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.wrong += other.wrong;
        for (code, count) in &other.refused {
            *self.refused.entry(code.clone()).or_default() += count;
        }
        self.lost += other.lost;
        self.why = self.why.take().or_else(|| other.why.clone());
        add_each(&mut self.published, &other.published);
        add_each(&mut self.delivered, &other.delivered);
        self.twice += other.twice;
        self.out_of_order += other.out_of_order;
        self.gaps += other.gaps;
    }
}

fn add_each(sums: &mut Vec<u64>, more: &[u64]) {
    sums.resize(sums.len().max(more.len()), 0);
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

/// Counts since the last update of the live display.
#[derive(Clone, Debug, Default)]
pub(super) struct Glance {
    pub(super) count: u64,
    pub(super) times: Times,
}

impl Glance {
    pub(super) fn note(&mut self, time: Duration) {
        self.count += 1;
        self.times.record(time);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.times.add(&other.times);
    }

    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.times.reset();
    }
}
