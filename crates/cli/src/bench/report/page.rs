//! The report as text for people.

use std::fmt::Write as _;

use super::{Faults, Part, Percentiles, Report};
use crate::screen::{BOLD, DIM, WRONG, shown};

impl Report {
    pub(in crate::bench) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.headline());
        let name = if self.deliveries.is_some() {
            "published"
        } else {
            "answers"
        };
        text.push_str(&self.part(name, &self.answers));
        if let Some(deliveries) = &self.deliveries {
            text.push_str(&self.part("delivered", deliveries));
        }
        if let Some(late) = &self.sent_late_us {
            let (p50, p99) = (milliseconds(late.p50), milliseconds(late.p99));
            let _ = writeln!(text, "  {:<12}p50 {p50}   p99 {p99}", "sent late");
        }
        let cores = self.generator_cores;
        let _ = writeln!(
            text,
            "  {:<12}{cores:.2} cores of {}",
            "generator", self.threads
        );
        text.push_str(&self.faults.text(self.deliveries.is_some()));
        for reached in &self.thresholds {
            let style = if reached.ok { DIM } else { WRONG };
            let word = if reached.ok { "reached" } else { "missed" };
            let _ = writeln!(
                text,
                "  {style}{:<12}{word}: {reached}{style:#}",
                "threshold"
            );
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "\n{BOLD}note{BOLD:#}: {warning}");
        }
        text
    }

    fn headline(&self) -> String {
        format!("{BOLD}{}{BOLD:#}  {}", shown(&self.url), self.load())
    }

    /// A description of the load.
    pub(super) fn load(&self) -> String {
        let Self {
            connections, bytes, ..
        } = self;
        let schedule = match (self.in_flight, self.rate) {
            (Some(in_flight), _) => format!("closed loop, {in_flight} in flight each"),
            (None, Some(rate)) => format!("open loop, {} a second", grouped(rate as u64)),
            (None, None) => String::new(),
        };
        let connections = match (self.publishers, self.subscribers) {
            (Some(publishers), Some(subscribers)) => {
                format!("{publishers} publishing, {subscribers} subscribing")
            }
            _ => format!("{connections} connections"),
        };
        let seconds = self.seconds;
        format!("{connections}, {bytes} B, {schedule}, {seconds} s")
    }

    fn part(&self, name: &str, part: &Part) -> String {
        let (count, rate) = (grouped(part.count), grouped(part.per_second as u64));
        let volume = part.per_second * self.bytes as f64 / f64::from(1 << 20);
        let mut text = format!(
            "  {name:<12}{BOLD}{rate}/s{BOLD:#}   {count} in all   {volume:.1} MiB/s of data\n"
        );
        if let Some(latency) = &part.latency_us {
            let Percentiles {
                p50,
                p90,
                p99,
                p999,
                max,
                of: _,
            } = latency;
            let _ = writeln!(
                text,
                "  {:<12}p50 {BOLD}{}{BOLD:#}   p90 {}   p99 {BOLD}{}{BOLD:#}   p99.9 {}   max {}",
                "latency",
                milliseconds(*p50),
                milliseconds(*p90),
                milliseconds(*p99),
                milliseconds(*p999),
                milliseconds(*max)
            );
        }
        text
    }
}

impl Faults {
    fn text(&self, has_deliveries: bool) -> String {
        let mut text = String::new();
        let mut tell = |name: &str, count: u64, more: &str| {
            if count > 0 {
                let count = grouped(count);
                let _ = writeln!(text, "  {WRONG}{name:<12}{count}{WRONG:#}{more}");
            }
        };
        let why = self
            .why
            .as_ref()
            .map(|why| format!("   first: {}", shown(why)));
        tell(
            "lost connections",
            self.connections_lost,
            &why.unwrap_or_default(),
        );
        tell(
            "unanswered",
            self.unanswered,
            "   counted as at least as long as they were waited for",
        );
        tell("unsent", self.unsent, "   due, but never taken");
        tell(
            "wrong",
            self.wrong,
            "   answers that are not what was sent (--any-answer takes them)",
        );
        for (code, count) in &self.refused {
            tell("refused", *count, &format!("   {}", shown(code)));
        }
        if has_deliveries {
            if self.missing + self.twice + self.out_of_order + self.gaps_told == 0 {
                let _ = writeln!(
                    text,
                    "  {DIM}{:<12}0 missing, 0 twice, 0 out of order{DIM:#}",
                    "checked"
                );
                return text;
            }
            tell(
                "missing",
                self.missing,
                "   acknowledged, but not delivered",
            );
            tell("twice", self.twice, "");
            tell("misordered", self.out_of_order, "");
            tell("gaps", self.gaps_told, "   announced by the server");
        }
        text
    }
}

/// Microseconds as milliseconds, for display.
pub(in crate::bench) fn milliseconds(microseconds: f64) -> String {
    match microseconds {
        0.0..1_000.0 => format!("{microseconds:.0} µs"),
        1_000.0..100_000.0 => format!("{:.2} ms", microseconds / 1e3),
        _ => format!("{:.2} s", microseconds / 1e6),
    }
}

/// `1,234,567`.
pub(in crate::bench) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
