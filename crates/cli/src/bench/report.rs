//! The result of a run, as text and as JSON.

mod html;
mod page;
mod plot;
mod series;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(super) use self::html::page;
pub(super) use self::page::{grouped, milliseconds};
pub(super) use self::series::{Sample, Series};
use super::plan::{Load, Plan, Schedule};
use super::tally::{Tally, Times};
use super::threads::Found;
use super::threshold::{Reached, Threshold};
use crate::failure::Failure;

/// The results of several runs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Runs {
    pub(super) runs: Vec<Report>,
}

impl Runs {
    /// What the runs are called.
    pub(super) fn titles(&self) -> String {
        let titles: Vec<_> = self.runs.iter().map(Report::title).collect();
        titles.join(", ")
    }
}

/// The result of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// The name of the run in a scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) mode: String,
    pub(super) url: String,
    pub(super) connections: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    publishers: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subscribers: Option<usize>,
    pub(super) bytes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) in_flight: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<f64>,
    seconds: f64,
    threads: usize,
    /// Echoes, or acknowledged publications.
    pub(super) answers: Part,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deliveries: Option<Part>,
    /// How much later than intended messages were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent_late_us: Option<Percentiles>,
    /// The number of cores that this program used.
    generator_cores: f64,
    pub(super) faults: Faults,
    warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    thresholds: Vec<Reached>,
    /// Whether a threshold limits the number of faults.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    faults_are_judged: bool,
    /// Percentiles of answers, or of deliveries if there are any, in microseconds.
    #[serde(default)]
    distribution: Vec<(f64, f64)>,
    /// Samples over the time of the run.
    #[serde(default)]
    series: Vec<Sample>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Part {
    count: u64,
    pub(super) per_second: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) latency_us: Option<Percentiles>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Percentiles {
    /// The number of measured times.
    of: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// Counts that should all be 0.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Faults {
    connections_lost: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// The CPU usage per thread above which the generator may be the bottleneck.
const BUSY: f64 = 0.9;

/// The delay, in microseconds, above which messages count as not sent on time.
const LATE: f64 = 1_000.0;

impl Report {
    /// What the run is called, for people.
    pub(super) fn title(&self) -> String {
        let name = self.name.as_ref();
        name.map_or_else(
            || "a run without a name".to_owned(),
            |name| format!("{name:?}"),
        )
    }

    pub(super) fn new(
        plan: &Plan,
        found: &Found,
        name: Option<String>,
        thresholds: &[Threshold],
    ) -> Self {
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
        let timed = if subscribers.is_some() {
            &counts.deliveries
        } else {
            &counts.answers
        };
        let mut report = Self {
            name,
            mode: mode.to_owned(),
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
            thresholds: Vec::new(),
            faults_are_judged: thresholds.iter().any(Threshold::is_about_faults),
            distribution: timed.times.distribution(),
            series: found.series.clone(),
        };
        report.warnings = report.what_to_doubt();
        let held = thresholds.iter();
        report.thresholds = held
            .map(|threshold| threshold.hold_against(&report))
            .collect();
        report
    }

    /// Reasons to doubt the numbers.
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
            doubts.push("the server cannot keep up with this rate".to_owned());
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
        // Strings and finite numbers can always be serialised.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// What went wrong.
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.answers.count == 0 && self.answers.latency_us.is_none() {
            complaints.push("nothing was answered".to_owned());
        } else if self.faults.count() > 0 && !self.faults_are_judged {
            complaints.push("not everything went well".to_owned());
        }
        let missed = self.thresholds.iter().filter(|reached| !reached.ok);
        complaints.extend(missed.map(|reached| format!("threshold missed: {reached}")));
        complaints
    }
}

/// Whether all runs went well.
pub(super) fn verdict(runs: &Runs) -> Result<(), Failure> {
    let mut complaints = Vec::new();
    for report in &runs.runs {
        let name = report.name.as_ref();
        let name = name.map_or_else(String::new, |name| format!("{name}: "));
        let of_run = report.complaints().into_iter();
        complaints.extend(of_run.map(|complaint| format!("{name}{complaint}")));
    }
    if complaints.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(complaints.join("\n")))
}

impl Faults {
    /// The total number of faults.
    pub(super) fn count(&self) -> u64 {
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
        sum + gaps_told + refused.values().sum::<u64>()
    }
}

/// The number of deliveries of acknowledged publications that are missing.
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
