//! Conditions that a run must meet: `p99 < 20ms`, `rate > 5000`, `faults <= 3`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::report::{Percentiles, Report, milliseconds};

/// A condition on the result of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Threshold {
    metric: Metric,
    operator: Operator,
    /// In microseconds, or a number.
    value: f64,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Latency { of: Of, at: At },
    Rate(Of),
    Faults,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Answers,
    Deliveries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    P50,
    P90,
    P99,
    P999,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Whether a run met a threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reached {
    threshold: String,
    /// In microseconds, or a number; `None` if nothing was measured.
    measured: Option<f64>,
    pub(super) ok: bool,
}

const EXPECTED: &str = "expected METRIC OPERATOR VALUE, such as \"p99 < 20ms\", \"rate >= 5000\", \
                        \"delivery.p99.9 < 50ms\" or \"faults <= 3\"; metrics are p50, p90, p99, \
                        p99.9, max, rate, faults, and delivery.… for deliveries";

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or(EXPECTED)?;
        let (name, rest) = text.split_at(at);
        let (operator, value) = match rest.as_bytes() {
            [b'<', b'=', ..] => (Operator::LessOrEqual, &rest[2..]),
            [b'>', b'=', ..] => (Operator::GreaterOrEqual, &rest[2..]),
            [b'<', ..] => (Operator::Less, &rest[1..]),
            _ => (Operator::Greater, &rest[1..]),
        };
        let metric = Metric::read(name.trim()).ok_or(EXPECTED)?;
        let value = value.trim();
        let value = match metric {
            Metric::Latency { .. } => microseconds(value).ok_or_else(|| {
                format!("expected a time such as 500us, 20ms or 1.5s, found {value:?}")
            })?,
            Metric::Rate(_) | Metric::Faults => number(value)
                .ok_or_else(|| format!("expected a number such as 5000, found {value:?}"))?,
        };
        Ok(Self {
            metric,
            operator,
            value,
            text: text.trim().to_owned(),
        })
    }
}

impl Metric {
    fn read(name: &str) -> Option<Self> {
        let (of, name) = match name.strip_prefix("delivery.") {
            Some(name) => (Of::Deliveries, name),
            None => (Of::Answers, name),
        };
        let at = match name {
            "p50" => At::P50,
            "p90" => At::P90,
            "p99" => At::P99,
            "p99.9" | "p999" => At::P999,
            "max" => At::Max,
            "rate" => return Some(Self::Rate(of)),
            "faults" if of == Of::Answers => return Some(Self::Faults),
            _ => return None,
        };
        Some(Self::Latency { of, at })
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (text, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    number(text.trim()).map(|number| number * unit)
}

impl Threshold {
    /// Whether it limits the number of faults, so that a single fault does not fail the run.
    pub(super) fn is_about_faults(&self) -> bool {
        self.metric == Metric::Faults
    }

    /// Compares it with a result. A value that was not measured does not meet it.
    pub(super) fn hold_against(&self, report: &Report) -> Reached {
        let measured = self.metric.measured(report);
        let ok = measured.is_some_and(|measured| match self.operator {
            Operator::Less => measured < self.value,
            Operator::LessOrEqual => measured <= self.value,
            Operator::Greater => measured > self.value,
            Operator::GreaterOrEqual => measured >= self.value,
        });
        Reached {
            threshold: self.text.clone(),
            measured,
            ok,
        }
    }
}

impl Metric {
    fn measured(self, report: &Report) -> Option<f64> {
        let part = |of| match of {
            Of::Answers => Some(&report.answers),
            Of::Deliveries => report.deliveries.as_ref(),
        };
        match self {
            Self::Faults => Some(report.faults.count() as f64),
            Self::Rate(of) => part(of).map(|part| part.per_second),
            Self::Latency { of, at } => {
                let latency: &Percentiles = part(of)?.latency_us.as_ref()?;
                Some(match at {
                    At::P50 => latency.p50,
                    At::P90 => latency.p90,
                    At::P99 => latency.p99,
                    At::P999 => latency.p999,
                    At::Max => latency.max,
                })
            }
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threshold, .. } = self;
        let is_time = threshold.ends_with('s');
        match self.measured {
            None => write!(f, "{threshold}: not measured"),
            Some(measured) if is_time => write!(f, "{threshold}: {}", milliseconds(measured)),
            Some(measured) => write!(f, "{threshold}: {measured:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_threshold_is_a_metric_an_operator_and_a_value() {
        let read = |text: &str| text.parse::<Threshold>().expect("a threshold");
        let threshold = read(" delivery.p99.9 <= 1.5ms ");
        assert_eq!(threshold.value, 1_500.0);
        assert_eq!(threshold.operator, Operator::LessOrEqual);
        let latency = Metric::Latency {
            of: Of::Deliveries,
            at: At::P999,
        };
        assert_eq!(threshold.metric, latency);
        assert_eq!(read("rate>5000").metric, Metric::Rate(Of::Answers));
        assert!(read("faults <= 3").is_about_faults());
    }

    #[test]
    fn an_invalid_threshold_is_refused_with_an_example() {
        for text in [
            "",
            "p99",
            "p99 < soon",
            "p98 < 1ms",
            "rate > 1ms",
            "p99 = 1ms",
            "delivery.faults < 1",
        ] {
            let error = text.parse::<Threshold>().expect_err("no threshold");
            assert!(error.contains("expected"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,40}", metric in "(p99|rate|faults)[<>]=?.{0,10}") {
            let _ = text.parse::<Threshold>();
            let _ = metric.parse::<Threshold>();
        }
    }
}
