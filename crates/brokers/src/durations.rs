//! Durations counted in buckets, for metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds of the buckets, in microseconds. From an fsync of a fast disk, 100 µs, to a
/// client on a bad mobile network, 10 s.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The number of buckets, including one for everything above the bounds.
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Counts durations. One thread records, and any thread may read.
///
/// Recording costs a few nanoseconds: with a single writer, no atomic addition is needed. If two
/// threads record nevertheless, some durations may not be counted.
#[derive(Debug, Default)]
pub struct Durations {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Durations {
    /// Counts a duration.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get(bucket) {
            add(count, 1);
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        add(&self.sum_ns, nanos);
    }

    /// The durations that were counted so far.
    #[must_use]
    pub fn counted(&self) -> CountedDurations {
        let mut counted = CountedDurations::default();
        for (into, count) in counted.counts.iter_mut().zip(&self.counts) {
            *into = count.load(Ordering::Relaxed);
        }
        counted.sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed));
        counted
    }
}

fn add(count: &AtomicU64, more: u64) {
    let now = count.load(Ordering::Relaxed);
    count.store(now.wrapping_add(more), Ordering::Relaxed);
}

/// The counted durations of one thread, or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedDurations {
    counts: [u64; BUCKETS],
    /// The sum of all durations.
    pub sum: Duration,
}

impl CountedDurations {
    /// Adds the durations that another thread has counted.
    pub fn add(&mut self, other: &Self) {
        for (into, count) in self.counts.iter_mut().zip(other.counts) {
            *into += count;
        }
        self.sum += other.sum;
    }

    /// The number of durations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bucket's upper bound, and how many durations are not longer; the last bucket has no
    /// bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS_US.iter().map(|us| Some(Duration::from_micros(*us)));
        let mut below = 0;
        bounds
            .chain([None])
            .zip(self.counts)
            .map(move |(bound, count)| {
                below += count;
                (bound, below)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_includes_it() {
        let durations = Durations::default();
        for micros in [0, 100, 101, 1_000, 10_000_001] {
            durations.record(Duration::from_micros(micros));
        }
        let counted = durations.counted();
        let at_most = |micros| {
            let bound = Some(Duration::from_micros(micros));
            let found = counted.cumulative().find(|(known, _)| *known == bound);
            found.unwrap().1
        };
        assert_eq!([at_most(100), at_most(250), at_most(500)], [2, 3, 3]);
        assert_eq!([at_most(1_000), at_most(10_000_000)], [4, 4]);
        assert_eq!(counted.cumulative().last(), Some((None, 5)));
        assert_eq!(counted.total(), 5);
        assert_eq!(counted.sum, Duration::from_micros(10_001_202));
    }

    #[test]
    fn what_two_threads_counted_adds_up() {
        let (one, other) = (Durations::default(), Durations::default());
        one.record(Duration::from_millis(2));
        other.record(Duration::from_millis(3));
        let mut all = one.counted();
        all.add(&other.counted());
        assert_eq!((all.total(), all.sum), (2, Duration::from_millis(5)));
    }
}
