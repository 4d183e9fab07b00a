//! Reads metrics in the `OpenMetrics` format, limited to the parts that Offhook's server uses.

use std::collections::BTreeMap;

/// Samples by name, each with its labels.
#[derive(Debug, Default)]
pub(super) struct Metrics(BTreeMap<String, Vec<(String, f64)>>);

/// The buckets of a histogram: an upper bound in seconds, and the number of values up to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram(Vec<(f64, f64)>);

impl Metrics {
    /// Reads samples. Lines that are not samples are skipped.
    pub(super) fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse() else { continue };
            let (name, labels) = match name.split_once('{') {
                Some((name, labels)) => (name, labels.trim_end_matches('}')),
                None => (name, ""),
            };
            let samples = all.0.entry(name.to_owned()).or_default();
            samples.push((labels.to_owned(), value));
        }
        all
    }

    /// The sum of a metric's samples; 0 if there is none.
    pub(super) fn get(&self, name: &str) -> f64 {
        let samples = self.0.get(name);
        samples.into_iter().flatten().map(|(_, value)| value).sum()
    }

    /// A metric's samples by the value of their only label.
    pub(super) fn by_label(&self, name: &str) -> BTreeMap<&str, f64> {
        let samples = self.0.get(name).into_iter().flatten();
        let label = |labels: &'_ str| -> Option<(usize, usize)> {
            let begin = labels.find('"')? + 1;
            Some((begin, labels.len().checked_sub(1)?))
        };
        let named = samples.filter_map(|(labels, value)| {
            let (begin, end) = label(labels)?;
            Some((labels.get(begin..end)?, *value))
        });
        named.collect()
    }

    pub(super) fn histogram(&self, name: &str) -> Histogram {
        let buckets = self.by_label(&format!("{name}_bucket"));
        let bound = |bound: &str| match bound {
            "+Inf" => Some(f64::INFINITY),
            bound => bound.parse().ok(),
        };
        let mut buckets: Vec<(f64, f64)> = buckets
            .into_iter()
            .filter_map(|(le, count)| Some((bound(le)?, count)))
            .collect();
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Histogram(buckets)
    }
}

impl Histogram {
    /// The values added since an earlier histogram.
    pub(super) fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| {
            let same = |(other, _): &&(f64, f64)| other.total_cmp(&bound).is_eq();
            before.0.iter().find(same).map_or(0.0, |(_, count)| *count)
        };
        let added = self.0.iter();
        Self(
            added
                .map(|(bound, count)| (*bound, count - earlier(*bound)))
                .collect(),
        )
    }

    /// The time in seconds that this share of the values does not exceed, interpolated between the
    /// bounds of its bucket. `None` if there are no values.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let (_, total) = self.0.last()?;
        if *total <= 0.0 {
            return None;
        }
        let wanted = share * total;
        let mut below = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= wanted {
                if bound.is_infinite() {
                    return Some(below.0);
                }
                let inside = (wanted - below.1) / (count - below.1).max(f64::MIN_POSITIVE);
                return Some(below.0 + (bound - below.0) * inside.clamp(0.0, 1.0));
            }
            below = (bound, count);
        }
        Some(below.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE a counter
a_total 12
# TYPE refused counter
refused_total{kind=\"forbidden\"} 3
refused_total{kind=\"rate_limited\"} 4
# TYPE d_seconds histogram
d_seconds_bucket{le=\"0.001\"} 2
d_seconds_bucket{le=\"0.01\"} 6
d_seconds_bucket{le=\"+Inf\"} 10
d_seconds_count 10
d_seconds_sum 1.5
# EOF
";

    #[test]
    fn samples_are_read_with_their_labels() {
        let metrics = Metrics::parse(TEXT);
        assert!((metrics.get("a_total") - 12.0).abs() < f64::EPSILON);
        assert!((metrics.get("refused_total") - 7.0).abs() < f64::EPSILON);
        let refused: Vec<_> = metrics.by_label("refused_total").into_keys().collect();
        assert_eq!(refused, ["forbidden", "rate_limited"]);
        assert!(metrics.get("absent").abs() < f64::EPSILON);
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_bucket() {
        let all = Metrics::parse(TEXT).histogram("d_seconds");
        let half = all.quantile(0.5).unwrap();
        assert!((half - 0.007_75).abs() < 1e-9, "{half}");
        // Values above the last bound are reported as that bound.
        assert_eq!(all.quantile(0.99), Some(0.01));
        assert_eq!(all.since(&all).quantile(0.5), None);
        assert_eq!(all.since(&Histogram::default()), all);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        for text in [
            "",
            "a",
            "a{ 1",
            "a{le=\"} 1",
            "a{le=} x",
            "{} 1",
            "\u{0} NaN",
            "a{\"\u{e4} 2",
        ] {
            let metrics = Metrics::parse(text);
            let _labels = metrics.by_label("a");
            assert_eq!(metrics.histogram("a").quantile(0.5), None);
        }
    }
}
