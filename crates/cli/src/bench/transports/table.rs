//! The results as text.

use std::fmt::Write as _;

use super::results::{Cell, Results};
use crate::screen::{BOLD, DIM};

pub(super) fn text(results: &Results) -> String {
    let conditions = &results.conditions;
    let mut text = String::new();
    for loss in &conditions.losses {
        let cells: Vec<_> = results
            .cells
            .iter()
            .filter(|cell| cell.loss == *loss)
            .collect();
        if cells.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{BOLD}{loss} % loss{BOLD:#}");
        let _ = writeln!(
            text,
            "  {DIM}{:<20}{:>10}{:>10}{:>9}{:>9}{:>9}{:>12}{:>10}{:>9}{DIM:#}",
            "transport",
            "p50 ms",
            "p99 ms",
            "down B",
            "up B",
            "CPU µs",
            "reconnect",
            "worst",
            "missing"
        );
        for cell in cells {
            text.push_str(&row(cell));
        }
    }
    if !results.blocking.is_empty() {
        let _ = writeln!(
            text,
            "\n{BOLD}one lost packet: how long other channels wait{BOLD:#}"
        );
        let _ = writeln!(
            text,
            "  {DIM}{:<24}{:>12}{:>12}{:>12}{:>12}{:>9}{DIM:#}",
            "transport", "lost, p50", "others, p50", "p99", "max", "trials"
        );
        for blocking in &results.blocking {
            let _ = writeln!(
                text,
                "  {:<24}{:>12}{:>12}{:>12}{:>12}{:>9}",
                blocking.carrier.title(),
                milliseconds(blocking.own.p50),
                milliseconds(blocking.others.p50),
                milliseconds(blocking.others.p99),
                milliseconds(blocking.others.max),
                blocking.trials
            );
        }
    }
    let _ = writeln!(text, "\n{DIM}{}{DIM:#}", conditions.load());
    let _ = writeln!(
        text,
        "{DIM}p50, p99: from publishing to receipt. down B, up B: for each delivery, {}.\n\
         CPU: of the server, for each delivery, with its share of publishing. reconnect: the median until a missed \
         message has arrived, and the worst.{DIM:#}",
        conditions.counted()
    );
    text
}

fn row(cell: &Cell) -> String {
    let late = match cell.not_reconnected {
        0 => milliseconds(cell.reconnect.max),
        failed => format!("{failed} late"),
    };
    format!(
        "  {:<20}{:>10}{:>10}{:>9.0}{:>9.0}{:>9}{:>12}{:>10}{:>9}\n",
        cell.carrier.title(),
        milliseconds(cell.latency.p50),
        milliseconds(cell.latency.p99),
        cell.bytes_down,
        cell.bytes_up,
        processor(cell.processor_us),
        milliseconds(cell.reconnect.p50),
        late,
        cell.expected - cell.arrived
    )
}

/// A time in milliseconds with as many digits as matter.
pub(super) fn milliseconds(time: f64) -> String {
    match time {
        0.0..10.0 => format!("{time:.2}"),
        10.0..100.0 => format!("{time:.1}"),
        _ => format!("{time:.0}"),
    }
}

pub(super) fn processor(microseconds: Option<f64>) -> String {
    microseconds.map_or_else(|| "–".to_owned(), |time| format!("{time:.0}"))
}
