//! What was found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::crew::Found;
use super::plan::{Load, Plan, Schedule};
use super::tally::{Tally, Times};
use crate::failure::Failure;
use crate::screen::{BOLD, DIM, WRONG, shown};

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    url: String,
    connections: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    publishers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribers: Option<usize>,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    seconds: f64,
    threads: usize,
    /// Echoes, or acknowledged publications.
    answers: Part,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Part>,
    /// How much later than intended messages were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_late_us: Option<Percentiles>,
    /// Cores that this program used.
    generator_cores: f64,
    faults: Faults,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Part {
    count: u64,
    per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Percentiles>,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    /// Of so many.
    of: u64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// What should all be 0.
#[derive(Debug, Serialize)]
struct Faults {
    connections_lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    unanswered: u64,
    unsent: u64,
    wrong: u64,
    refused: BTreeMap<String, u64>,
    missing: u64,
    twice: u64,
    out_of_order: u64,
    gaps_told: u64,
}

/// From here on the generator may have been what was measured.
const BUSY: f64 = 0.9;

/// From here on messages are not sent when they should be, in microseconds.
const LATE: f64 = 1_000.0;

impl Report {
    pub(super) fn new(plan: &Plan, found: &Found) -> Self {
        let counts = &found.counts;
        let seconds = plan.time.as_secs_f64();
        let part = |tally: &Tally| Part {
            count: tally.count,
            per_second: tally.count as f64 / seconds,
            latency_us: percentiles(&tally.times),
        };
        let (mode, publishers, subscribers) = match &plan.load {
            Load::Echo { .. } => ("echo", None, None),
            Load::Channels {
                publishers,
                subscribers,
                ..
            } => ("channels", Some(*publishers), Some(*subscribers)),
        };
        let (in_flight, rate) = match plan.schedule {
            Schedule::Closed { in_flight } => (Some(in_flight), None),
            Schedule::Open { per_second } => (None, Some(per_second)),
        };
        let mut report = Self {
            mode,
            url: plan.url.clone(),
            connections: plan.lines(),
            publishers,
            subscribers,
            bytes: plan.size,
            in_flight,
            rate,
            seconds,
            threads: plan.threads,
            answers: part(&counts.answers),
            deliveries: subscribers.map(|_| part(&counts.deliveries)),
            sent_late_us: percentiles(&counts.lateness),
            generator_cores: found.busy.as_secs_f64() / seconds,
            faults: Faults {
                connections_lost: counts.lost,
                why: counts.why.clone(),
                unanswered: counts.unanswered,
                unsent: counts.unsent,
                wrong: counts.wrong,
                refused: counts.refused.clone(),
                missing: missing(plan, found),
                twice: counts.twice,
                out_of_order: counts.out_of_order,
                gaps_told: counts.gaps,
            },
            warnings: Vec::new(),
        };
        report.warnings = report.what_to_doubt();
        report
    }

    /// What makes the numbers say less than they seem to.
    fn what_to_doubt(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let is_open = self.rate.is_some();
        if !is_open && self.generator_cores > BUSY * self.threads as f64 {
            doubts.push(
                "this program used its threads to the full: the server may be able to do more \
                 (--threads, or run it on another machine)"
                    .to_owned(),
            );
        }
        if self
            .sent_late_us
            .as_ref()
            .is_some_and(|late| late.p99 > LATE)
        {
            doubts.push(
                "messages were sent later than intended, by this program or a connection that \
                 took no more; latencies count from when they should have been sent"
                    .to_owned(),
            );
        }
        if self.faults.unsent > 0 {
            doubts.push("the server takes less than this rate".to_owned());
        }
        if self.faults.refused.contains_key("rate_limited") {
            doubts.push(
                "the server's limits held publishers back: start it with \
                 --limits-publishes-per-second, --limits-publish-burst, \
                 --limits-commands-per-second and --limits-command-burst raised"
                    .to_owned(),
            );
        }
        doubts
    }

    pub(super) fn json(&self) -> String {
        // Texts and finite numbers can always be written.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    pub(super) fn text(&self) -> String {
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
        for warning in &self.warnings {
            let _ = writeln!(text, "\n{BOLD}note{BOLD:#}: {warning}");
        }
        text
    }

    fn headline(&self) -> String {
        let Self {
            url,
            connections,
            bytes,
            ..
        } = self;
        let schedule = match (self.in_flight, self.rate) {
            (Some(in_flight), _) => format!("closed loop, {in_flight} under way each"),
            (None, Some(rate)) => format!("open loop, {} a second", grouped(rate as u64)),
            (None, None) => String::new(),
        };
        let lines = match (self.publishers, self.subscribers) {
            (Some(publishers), Some(subscribers)) => {
                format!("{publishers} publishing, {subscribers} subscribing")
            }
            _ => format!("{connections} connections"),
        };
        let seconds = self.seconds;
        format!(
            "{BOLD}{}{BOLD:#}  {lines}, {bytes} B, {schedule}, {seconds} s",
            shown(url)
        )
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

    /// Whether all went well.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.answers.count == 0 && self.answers.latency_us.is_none() {
            return Err(Failure::Failed("nothing was answered".to_owned()));
        }
        if self.faults.are_none() {
            Ok(())
        } else {
            Err(Failure::Failed("not everything went well".to_owned()))
        }
    }
}

impl Faults {
    fn are_none(&self) -> bool {
        let Self {
            connections_lost,
            unanswered,
            unsent,
            wrong,
            refused,
            missing,
            twice,
            out_of_order,
            gaps_told,
            why: _,
        } = self;
        let sum = connections_lost + unanswered + unsent + wrong + missing + twice + out_of_order;
        sum + gaps_told == 0 && refused.is_empty()
    }

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
            "lost lines",
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
            tell("gaps", self.gaps_told, "   told by the server");
        }
        text
    }
}

/// What was acknowledged and did not reach everybody.
fn missing(plan: &Plan, found: &Found) -> u64 {
    let Load::Channels {
        subscribers, names, ..
    } = &plan.load
    else {
        return 0;
    };
    let counts = &found.counts;
    let of_channel = |(channel, published): (usize, &u64)| {
        let readers = (channel..*subscribers).step_by(names.len()).count() as u64;
        let delivered = counts.delivered.get(channel).copied().unwrap_or_default();
        (published * readers).saturating_sub(delivered)
    };
    counts.published.iter().enumerate().map(of_channel).sum()
}

fn percentiles(times: &Times) -> Option<Percentiles> {
    (times.len() > 0).then(|| Percentiles {
        of: times.len(),
        p50: times.percentile(50.0),
        p90: times.percentile(90.0),
        p99: times.percentile(99.0),
        p999: times.percentile(99.9),
        max: times.max(),
    })
}

/// Microseconds as people read them.
pub(super) fn milliseconds(microseconds: f64) -> String {
    match microseconds {
        0.0..1_000.0 => format!("{microseconds:.0} µs"),
        1_000.0..100_000.0 => format!("{:.2} ms", microseconds / 1e3),
        _ => format!("{:.2} s", microseconds / 1e6),
    }
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
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
