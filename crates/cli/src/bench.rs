//! `offhook bench`: measures a server under load.
//!
//! ```text
//!   Plan ─▶ threads, each with its senders ─▶ Counts, added up ─▶ report
//!                 │                                  ▲
//!                 ├─ echo: a message and its answer    │ tally
//!                 └─ channels: publishers, subscribers ┘
//! ```
//!
//! The load generator in the project's bench/ is a separate program with a different purpose: it
//! compares libraries, shares no code with what it measures, and only connects to servers on the
//! same machine. This one connects to any server, and keeps to its schedule however slow the
//! answers are.

mod channels;
mod compare;
mod echo;
mod load_sender;
mod pace;
mod plan;
mod progress;
mod report;
mod scenario;
mod tally;
mod threads;
mod threshold;
mod transports;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use self::plan::Plan;
use self::report::{Report, Runs};
use self::threshold::Threshold;
use crate::dial::{Trust, header, time};
use crate::{failure::Failure, open_files, screen};

/// Load a WebSocket server and measure how it performs.
///
/// Without --subscribers, the server must echo: each connection sends messages, times the answers
/// and compares them with what it sent. With --subscribers, it must be an Offhook server:
/// publishers publish, every delivery is timed, and each subscriber counts what is missing,
/// repeated or out of order.
///
/// A closed loop (--in-flight) shows how much a server can handle; a slow server receives less
/// load, so its latencies look better than users would see. An open loop (--rate) sends at fixed
/// times, regardless of answers; latencies count from when a message should have been sent, so they
/// include time spent waiting to be sent.
///
/// --threshold sets conditions that a run must meet, --scenario reads several runs from a file,
/// --html writes a page with plots, and --baseline or --compare show two results side by side.
///
/// `offhook bench transports` compares the transports of this program's own server instead.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    of_our_own: Option<OfOurOwn>,
    /// The server: ws://, wss://, http:// or https://
    #[arg(required_unless_present_any = ["scenario", "compare"], conflicts_with_all = ["scenario", "compare"])]
    url: Option<String>,
    /// Number of connections that echo
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    connections: usize,
    /// Bytes of each message
    #[arg(short, long, value_name = "BYTES", default_value = "128", value_parser = size)]
    size: usize,
    /// Closed loop: messages in flight, for each connection or publisher
    #[arg(short, long, value_name = "N", conflicts_with = "rate", value_parser = at_least_one)]
    in_flight: Option<usize>,
    /// Open loop: messages per second, all connections or publishers together
    #[arg(short, long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How long to measure
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = time)]
    time: Duration,
    /// How long to run before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    warm_up: Duration,
    /// How long to wait for answers at the end; one that is still missing counts as that late
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    grace: Duration,
    /// Number of threads; each handles an equal share of the connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    threads: usize,
    /// Send binary messages instead of text
    #[arg(long)]
    binary: bool,
    /// Accept any message as an answer
    #[arg(long)]
    any_answer: bool,
    /// Offer compression (permessage-deflate)
    #[arg(long)]
    deflate: bool,
    /// A condition that the result must meet, such as 'p99 < 20ms', 'rate >= 5000' or 'faults <=
    /// 3'; may be given several times. Without a condition on faults, any fault fails the run
    #[arg(long, value_name = "CONDITION")]
    threshold: Vec<Threshold>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    results: Results,
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    channels: Channels,
}

/// What is measured with this program's own server.
#[derive(Debug, Subcommand)]
enum OfOurOwn {
    Transports(transports::Transports),
}

/// Options for several runs and their results.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scenarios and results")]
struct Results {
    /// Run the scenarios in this file (TOML), one after another
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Write the result as an HTML page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare the result with this one, saved from --json
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Compare two saved results, without a new run
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with_all = ["scenario", "baseline", "threshold"])]
    compare: Vec<PathBuf>,
    /// Fail if a value is worse than in the earlier result by more than this percentage
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    tolerance: Option<f64>,
}

/// How connections are opened.
#[derive(Debug, Args)]
struct Request {
    /// Subprotocols to offer, the preferred one first
    #[arg(long, value_name = "NAME")]
    subprotocol: Vec<String>,
    /// A header of the request, such as 'Authorization: Bearer 42'
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    trust: Trust,
}

/// Options for publishers and subscribers of an Offhook server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Channels of an Offhook server")]
struct Channels {
    /// Number of connections that subscribe
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with_all = ["connections", "binary", "any_answer", "subprotocol"])]
    subscribers: Option<usize>,
    /// Number of connections that publish
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value_t = 1, requires = "subscribers")]
    publishers: usize,
    /// Number of channels over which they are distributed
    #[arg(long = "channels", value_name = "N", value_parser = at_least_one, default_value_t = 1, requires = "subscribers")]
    count: usize,
    /// The token for the server's authentication
    #[arg(long, value_name = "TOKEN", requires = "subscribers")]
    token: Option<String>,
    /// What they speak; the URL has to be that of the dialect
    #[arg(
        long,
        value_enum,
        value_name = "DIALECT",
        default_value = "native",
        requires = "subscribers"
    )]
    dialect: channels::Dialect,
}

const EXAMPLES: &str = "\
Examples:
  offhook bench ws://localhost:9001                          closed loop, 64 connections
  offhook bench ws://localhost:9001 -c 16 -i 64 -s 20        pipelined
  offhook bench wss://example.com/echo --rate 5000 -c 1000   open loop: latency as users see it
  offhook bench ws://localhost:8000/ws --subscribers 1000 --rate 20
  offhook bench ws://localhost:8000/mqtt --subscribers 1000 --dialect mqtt
  offhook bench ws://localhost:9001 --rate 5000 --threshold 'p99 < 20ms' --html report.html
  offhook bench --scenario load.toml --json > after.json
  offhook bench --compare before.json after.json --tolerance 10
  offhook bench transports --html transports.html

A scenario has the long flags of this command, above all runs or in one:

  url = \"ws://localhost:9001\"
  time = \"5s\"
  [[run]]
  name = \"steady\"
  connections = 100
  rate = 2000
  threshold = [\"p99 < 50ms\"]

An Offhook server holds each connection to 50 publications a second unless told otherwise; to find out how
much it can do, start it with --limits-publishes-per-second and --limits-commands-per-second raised.

Exit codes: 0 all went well and every threshold was reached, 1 not so, 2 mistakes in flags or in the
scenario.";

impl Bench {
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        if let Some(OfOurOwn::Transports(transports)) = self.of_our_own.take() {
            return transports.run();
        }
        let Results {
            scenario,
            baseline,
            compare,
            ..
        } = &self.results;
        if let [before, after] = compare.as_slice() {
            let (before, after) = (compare::read(before)?, compare::read(after)?);
            return self.show_beside(&before, &after);
        }
        let before = baseline.as_deref().map(compare::read).transpose()?;
        let runs = match scenario {
            None => vec![self.measure(None, self.json)?],
            Some(path) => self.play(path)?,
        };
        let runs = Runs { runs };
        match before {
            Some(before) => self.show_beside(&before, &runs),
            None => {
                self.write_page(&runs, None)?;
                report::verdict(&runs)
            }
        }
    }

    /// The runs of a scenario.
    fn play(&self, path: &std::path::Path) -> Result<Vec<Report>, Failure> {
        let mut reports = Vec::new();
        for run in scenario::read(path)? {
            if !self.json {
                screen::print(&format!("{}\n", screen::shown(&run.name)))?;
            }
            reports.push(run.bench.measure(Some(run.name), self.json)?);
        }
        if self.json {
            // Strings and finite numbers can always be serialised.
            let runs = Runs { runs: reports };
            screen::print(&(serde_json::to_string_pretty(&runs).unwrap_or_default() + "\n"))?;
            reports = runs.runs;
        }
        Ok(reports)
    }

    /// Does one run and reports it; with --json, the reports of a scenario are printed together at
    /// the end.
    fn measure(&self, name: Option<String>, is_json: bool) -> Result<Report, Failure> {
        let is_of_a_scenario = name.is_some();
        let plan = Plan::new(self)?;
        enough_descriptors(plan.connections())?;
        let found = threads::run(&plan, is_json)?;
        let report = Report::new(&plan, &found, name, &self.threshold);
        if !is_json {
            screen::print(&report.text())?;
        } else if !is_of_a_scenario {
            screen::print(&report.json())?;
        }
        Ok(report)
    }

    fn show_beside(&self, before: &Runs, after: &Runs) -> Result<(), Failure> {
        let mut worse = Vec::new();
        let mut compared = 0;
        for report in &after.runs {
            let Some(before) = compare::partner(before, report) else {
                screen::tell(&format!(
                    "{}: the earlier result has no run of this name",
                    report.title()
                ));
                continue;
            };
            compared += 1;
            let text = compare::text(before, report);
            if self.json {
                screen::tell(text.trim_end());
            } else {
                screen::print(&text)?;
            }
            if let Some(tolerance) = self.results.tolerance {
                worse.extend(compare::worse(before, report, tolerance));
            }
        }
        self.write_page(after, Some(before))?;
        if compared == 0 {
            return Err(Failure::Failed(format!(
                "nothing can be compared: the earlier result has {}",
                before.titles()
            )));
        }
        if !worse.is_empty() {
            return Err(Failure::Failed(format!(
                "worse than before\n{}",
                worse.join("\n")
            )));
        }
        if self.results.compare.is_empty() {
            report::verdict(after)
        } else {
            Ok(())
        }
    }

    fn write_page(&self, runs: &Runs, before: Option<&Runs>) -> Result<(), Failure> {
        let Some(path) = &self.results.html else {
            return Ok(());
        };
        let beside = runs.runs.iter();
        let beside = beside.map(|report| {
            (
                report,
                before.and_then(|before| compare::partner(before, report)),
            )
        });
        let page = report::page(&beside.collect::<Vec<_>>());
        std::fs::write(path, page).map_err(|error| {
            let path = path.display();
            Failure::Failed(format!("{path} can't be written: {error}"))
        })
    }
}

/// Descriptors that the process needs in addition to its connections.
const OTHER_DESCRIPTORS: u64 = 64;

fn enough_descriptors(connections: usize) -> Result<(), Failure> {
    let Some(limit) = open_files::raise() else {
        return Ok(());
    };
    if connections as u64 + OTHER_DESCRIPTORS <= limit {
        return Ok(());
    }
    let failure = Failure::Failed(format!(
        "{connections} connections need more descriptors than this process may have ({limit})"
    ));
    Err(failure.hint("raise `ulimit -Hn`, or use several processes"))
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse().ok();
    let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "expected a percentage, such as 10".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a whole number, at least 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|rate: &f64| rate.is_finite() && *rate > 0.0 && *rate <= 1e9);
    number.ok_or_else(|| "expected a number per second, such as 5000 or 0.5".to_owned())
}

fn size(text: &str) -> Result<usize, String> {
    let bytes = offhook_server::config::parse_bytes(text);
    let size = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let size = size.filter(|size| *size <= plan::LONGEST);
    size.ok_or_else(|| {
        "expected a number of bytes like 128, \"64 KiB\" or \"1 MiB\", at most 64 MiB".to_owned()
    })
}
