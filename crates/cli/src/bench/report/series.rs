//! Samples over the time of a run.

use serde::{Deserialize, Serialize};

/// One sample: an interval of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::bench) struct Sample {
    /// Seconds since the run started, warm-up included.
    pub(in crate::bench) at: f64,
    pub(in crate::bench) per_second: f64,
    pub(in crate::bench) p50_us: f64,
    pub(in crate::bench) p99_us: f64,
}

/// The samples of a run. However long it takes, no more are kept than a plot can show.
#[derive(Clone, Debug, Default)]
pub(in crate::bench) struct Series {
    samples: Vec<Sample>,
    /// How many samples are merged into each one that is kept, as a power of 2.
    merged: u32,
    /// Samples waiting to be merged.
    pending: Vec<Sample>,
}

/// The number of samples kept. 480: two for each point of a plot.
const MOST: usize = 480;

impl Series {
    pub(in crate::bench) fn push(&mut self, sample: Sample) {
        self.pending.push(sample);
        if self.pending.len() < 1 << self.merged {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        self.samples.extend(merge(&pending));
        if self.samples.len() >= MOST {
            let pairs = self.samples.chunks(2);
            self.samples = pairs.filter_map(merge).collect();
            self.merged += 1;
        }
    }

    pub(in crate::bench) fn finish(mut self) -> Vec<Sample> {
        self.samples.extend(merge(&self.pending));
        self.samples
    }
}

/// Rates and medians are averaged; of the maxima, the largest is kept.
fn merge(samples: &[Sample]) -> Option<Sample> {
    let first = samples.first()?;
    let count = samples.len() as f64;
    let average = |get: fn(&Sample) -> f64| samples.iter().map(get).sum::<f64>() / count;
    Some(Sample {
        at: first.at,
        per_second: average(|sample| sample.per_second),
        p50_us: average(|sample| sample.p50_us),
        p99_us: samples
            .iter()
            .map(|sample| sample.p99_us)
            .fold(0.0, f64::max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_no_more_samples_than_a_plot_shows_and_loses_no_peak() {
        let mut series = Series::default();
        for number in 0..100_000 {
            let is_peak = number == 54_321;
            series.push(Sample {
                at: f64::from(number),
                per_second: 10.0,
                p50_us: 1.0,
                p99_us: if is_peak { 900.0 } else { 2.0 },
            });
        }
        let samples = series.finish();
        assert!(
            (MOST / 2..=MOST).contains(&samples.len()),
            "{}",
            samples.len()
        );
        assert!(samples.iter().all(|sample| sample.per_second == 10.0));
        assert!(samples.iter().any(|sample| sample.p99_us == 900.0));
        assert!(samples.is_sorted_by(|a, b| a.at < b.at));
    }
}
