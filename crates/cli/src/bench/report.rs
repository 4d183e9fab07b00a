//! What was found, for people and for programs.

mod page;

use std::collections::BTreeMap;

use serde::Serialize;

pub(super) use self::page::{grouped, milliseconds};
use super::plan::{Load, Plan, Schedule};
use super::tally::{Tally, Times};
use super::threads::Found;
use crate::failure::Failure;

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
            connections: plan.connections(),
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
