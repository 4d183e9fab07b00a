//! The results of rounds, and their medians.

use load::report::{Memory, Rate, Report};
use serde::Serialize;

use crate::scenarios::Scenario;

/// All servers in one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct ScenarioResult {
    /// The scenario.
    pub(crate) scenario: Scenario,
    /// The servers, in the order of the run; those that do not support the scenario are absent.
    pub(crate) servers: Vec<ServerResult>,
}

/// One server in one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct ServerResult {
    /// The server's name.
    pub(crate) name: String,
    /// The version of its library.
    pub(crate) version: String,
    /// The summary of the rounds.
    pub(crate) summary: Summary,
    /// Every round.
    pub(crate) rounds: Vec<Report>,
}

/// The summary of several rounds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Summary {
    /// Of counts.
    Rate(RateSummary),
    /// Of memory: median KiB per connection.
    Memory {
        /// After the upgrade and a 32 B echo.
        fresh_kib: f64,
        /// After a 64 KiB echo.
        after_burst_kib: f64,
    },
    /// A round failed, with the first reason.
    Failed(String),
}

/// Medians of rates and times; sums of processor time, since the kernel counts it in ticks.
#[derive(Debug, Serialize)]
pub(crate) struct RateSummary {
    /// The median.
    pub(crate) per_second: f64,
    /// The highest round minus the lowest, as a fraction of the median.
    pub(crate) spread: f64,
    /// User-space time of the server per counted thing.
    pub(crate) user_us: f64,
    /// User-space and kernel time of the server per counted thing.
    pub(crate) total_us: f64,
    /// Median of the rounds' medians.
    pub(crate) p50_us: Option<f64>,
    /// Median of the rounds' 99th percentiles.
    pub(crate) p99_us: Option<f64>,
    /// The fraction of its core that the server used.
    pub(crate) server_busy: f64,
    /// The fraction of its core that the load generator used.
    pub(crate) load_busy: f64,
    /// Bytes of frames received per counted thing.
    pub(crate) bytes_each: f64,
}

impl Summary {
    /// The summary of at least one round.
    pub(crate) fn of(rounds: &[Report]) -> Self {
        let mut rates = Vec::new();
        let mut memories = Vec::new();
        for round in rounds {
            match round {
                Report::Rate(rate) => rates.push(rate),
                Report::Memory(memory) => memories.push(memory),
                Report::Failed { error } => return Self::Failed(error.clone()),
                Report::FanOut(_) | Report::SlowConnection(_) | Report::Held => {
                    return Self::Failed("another kind of report".into());
                }
            }
        }
        if memories.is_empty() {
            Self::Rate(summarise(&rates))
        } else {
            remember(&memories)
        }
    }

    /// The figure by which servers are compared: a rate, or KiB.
    pub(crate) fn figure(&self) -> Option<f64> {
        match self {
            Self::Rate(rate) => Some(rate.per_second),
            Self::Memory { fresh_kib, .. } => Some(*fresh_kib),
            Self::Failed(_) => None,
        }
    }
}

fn remember(memories: &[&Memory]) -> Summary {
    Summary::Memory {
        fresh_kib: median(memories.iter().map(|memory| memory.fresh_kib)),
        after_burst_kib: median(memories.iter().map(|memory| memory.after_burst_kib)),
    }
}

pub(crate) fn summarise(rates: &[&Rate]) -> RateSummary {
    let sum = |part: fn(&Rate) -> f64| rates.iter().map(|rate| part(rate)).sum::<f64>();
    let count = sum(|rate| rate.count as f64).max(1.0);
    let seconds = sum(|rate| rate.seconds);
    let user = sum(|rate| rate.server_user_seconds);
    let total = user + sum(|rate| rate.server_system_seconds);
    let speeds = || rates.iter().map(|rate| rate.per_second);
    let per_second = median(speeds());
    let times = |part: fn(&Rate) -> Option<f64>| {
        rates
            .iter()
            .all(|rate| part(rate).is_some())
            .then(|| median(rates.iter().filter_map(|rate| part(rate))))
    };
    RateSummary {
        per_second,
        spread: (speeds().fold(0.0, f64::max) - speeds().fold(f64::MAX, f64::min)) / per_second,
        user_us: user / count * 1e6,
        total_us: total / count * 1e6,
        p50_us: times(|rate| rate.p50_us),
        p99_us: times(|rate| rate.p99_us),
        server_busy: total / seconds,
        load_busy: sum(|rate| rate.load_seconds) / seconds,
        bytes_each: median(rates.iter().map(|rate| rate.bytes_each)),
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
