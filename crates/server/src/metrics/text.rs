//! The text format of `OpenMetrics` 1.0.

use std::fmt::{Display, Write};

use offhook_brokers::CountedDurations;

/// The media type of the format.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics as text, one family after another. Names and labels are constants of the program, and
/// need no escaping.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# TYPE {name} {kind}"));
        // The format requires that the unit is the end of the name.
        for unit in ["seconds", "bytes"] {
            if name
                .strip_suffix(unit)
                .is_some_and(|rest| rest.ends_with('_'))
            {
                self.line(format_args!("# UNIT {name} {unit}"));
            }
        }
        self.line(format_args!("# HELP {name} {help}"));
    }

    /// Adds a gauge: a number that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    /// Adds a counter: a number that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.line(format_args!("{name}_total {value}"));
    }

    /// Adds counters with one label.
    pub(super) fn counters<L: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) {
        self.family(name, "counter", help);
        for (word, value) in values {
            self.line(format_args!("{name}_total{{{label}=\"{word}\"}} {value}"));
        }
    }

    /// Adds counters with two labels.
    pub(super) fn counters_by_two(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        values: impl IntoIterator<Item = ([String; 2], u64)>,
    ) {
        self.family(name, "counter", help);
        let [first, second] = labels;
        for ([one, other], value) in values {
            self.line(format_args!(
                "{name}_total{{{first}=\"{one}\",{second}=\"{other}\"}} {value}"
            ));
        }
    }

    /// Adds gauges with two labels.
    pub(super) fn gauges_by_two(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        values: impl IntoIterator<Item = ([&'static str; 2], u64)>,
    ) {
        self.family(name, "gauge", help);
        let [first, second] = labels;
        for ([one, other], value) in values {
            self.line(format_args!(
                "{name}{{{first}=\"{one}\",{second}=\"{other}\"}} {value}"
            ));
        }
    }

    /// Adds constant facts as labels.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &str) {
        self.family(name, "info", help);
        self.line(format_args!("{name}_info{{{labels}}} 1"));
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, durations: &CountedDurations) {
        self.family(name, "histogram", help);
        for (bound, count) in durations.cumulative() {
            match bound {
                Some(bound) => {
                    let seconds = bound.as_secs_f64();
                    // OpenMetrics requires bounds to be written as floats.
                    self.line(format_args!("{name}_bucket{{le=\"{seconds:?}\"}} {count}"));
                }
                None => self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}")),
            }
        }
        self.line(format_args!("{name}_count {}", durations.total()));
        let sum = durations.sum.as_secs_f64();
        self.line(format_args!("{name}_sum {sum}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String never fails.
        let _ = writeln!(self.0, "{line}");
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}
