//! Compares two runs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::report::{Percentiles, Report, Runs, grouped, milliseconds};
use crate::failure::Failure;
use crate::screen::{BOLD, DIM, WRONG, shown};

/// The largest result file. 64 MiB: a hundred runs of a day each.
const LONGEST: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(untagged)]
enum Saved {
    Runs(Runs),
    Report(Box<Report>),
}

/// Reads the output of `--json`.
pub(super) fn read(path: &Path) -> Result<Runs, Failure> {
    let name = path.display();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_string(&mut text))
        .map_err(|error| Failure::Failed(format!("{name} can't be read: {error}")))?;
    match serde_json::from_str(&text) {
        Ok(Saved::Runs(runs)) => Ok(runs),
        Ok(Saved::Report(report)) => Ok(Runs {
            runs: vec![*report],
        }),
        Err(_) => Err(Failure::usage(format!(
            "{name} is not a result: expected the output of `offhook bench --json`"
        ))),
    }
}

/// The earlier run with the same name, or the only one.
pub(super) fn partner<'a>(before: &'a Runs, after: &Report) -> Option<&'a Report> {
    let mut all = before.runs.iter();
    let same = all.find(|report| report.name == after.name);
    let only = || match before.runs.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    same.or_else(only)
}

/// A number before and after.
struct Row {
    name: String,
    before: f64,
    after: f64,
    is_time: bool,
}

fn rows(before: &Report, after: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    let parts = [
        ("", Some(&before.answers), Some(&after.answers)),
        (
            "delivery.",
            before.deliveries.as_ref(),
            after.deliveries.as_ref(),
        ),
    ];
    for (prefix, before, after) in parts {
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        rows.push(Row {
            name: format!("{prefix}rate"),
            before: before.per_second,
            after: after.per_second,
            is_time: false,
        });
        let (Some(before), Some(after)) = (&before.latency_us, &after.latency_us) else {
            continue;
        };
        let times = named(before).into_iter().zip(named(after));
        rows.extend(times.map(|((name, before), (_, after))| Row {
            name: format!("{prefix}{name}"),
            before,
            after,
            is_time: true,
        }));
    }
    rows
}

fn named(times: &Percentiles) -> [(&'static str, f64); 5] {
    [
        ("p50", times.p50),
        ("p90", times.p90),
        ("p99", times.p99),
        ("p99.9", times.p999),
        ("max", times.max),
    ]
}

impl Row {
    /// The change in percent; `None` if the earlier value was zero.
    fn change(&self) -> Option<f64> {
        (self.before > 0.0).then(|| (self.after / self.before - 1.0) * 100.0)
    }

    /// Whether it got worse by more than this percentage.
    fn is_worse(&self, tolerance: f64) -> bool {
        let change = self.change().unwrap_or_default();
        if self.is_time {
            change > tolerance
        } else {
            -change > tolerance
        }
    }

    /// The maximum is left out: it is mostly chance.
    fn is_judged(&self) -> bool {
        !self.name.ends_with("max")
    }

    fn shown(&self, value: f64) -> String {
        if self.is_time {
            milliseconds(value)
        } else {
            format!("{}/s", grouped(value as u64))
        }
    }
}

/// A table of both runs.
pub(super) fn text(before: &Report, after: &Report) -> String {
    let mut text = String::new();
    if let Some(name) = &after.name {
        let _ = writeln!(text, "{BOLD}{}{BOLD:#}", shown(name));
    }
    let _ = writeln!(
        text,
        "  {DIM}{:<15}{:>12}{:>12}{:>10}{DIM:#}",
        "", "before", "after", "change"
    );
    for row in rows(before, after) {
        let change = row.change();
        let change = change.map_or_else(|| "-".to_owned(), |change| format!("{change:+.1} %"));
        let (before, after) = (row.shown(row.before), row.shown(row.after));
        let _ = writeln!(
            text,
            "  {:<15}{before:>12}{after:>12}{change:>10}",
            row.name
        );
    }
    let faults = (before.faults.count(), after.faults.count());
    if faults != (0, 0) {
        let (before, after) = faults;
        let _ = writeln!(
            text,
            "  {WRONG}{:<15}{before:>12}{after:>12}{WRONG:#}",
            "faults"
        );
    }
    for difference in differences(before, after) {
        let _ = writeln!(text, "{BOLD}note{BOLD:#}: {difference}");
    }
    text
}

/// Differences that make the comparison unfair.
fn differences(before: &Report, after: &Report) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, before: String, after: String| {
        if before != after {
            differences.push(format!("{what}: {before} before, {after} after"));
        }
    };
    let number = |number: Option<usize>| {
        number.map_or_else(|| "none".to_owned(), |number| number.to_string())
    };
    compare("kind", before.mode.clone(), after.mode.clone());
    compare(
        "connections",
        before.connections.to_string(),
        after.connections.to_string(),
    );
    compare("bytes", before.bytes.to_string(), after.bytes.to_string());
    compare(
        "in flight",
        number(before.in_flight),
        number(after.in_flight),
    );
    let rate = |report: &Report| {
        report
            .rate
            .map_or_else(|| "none".to_owned(), |rate| rate.to_string())
    };
    compare("requested rate", rate(before), rate(after));
    differences
}

/// Values that got worse by more than this percentage.
pub(super) fn worse(before: &Report, after: &Report, tolerance: f64) -> Vec<String> {
    let rows = rows(before, after);
    let worse = rows
        .iter()
        .filter(|row| row.is_judged() && row.is_worse(tolerance));
    let name = after
        .name
        .as_ref()
        .map_or_else(String::new, |name| format!("{name}: "));
    worse
        .map(|row| {
            let (before, after) = (row.shown(row.before), row.shown(row.after));
            format!("{name}{} went from {before} to {after}", row.name)
        })
        .collect()
}
