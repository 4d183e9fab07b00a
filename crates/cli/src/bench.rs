//! `offhook bench`: how a server does under load.
//!
//! ```text
//!   Plan ─▶ crew: threads, each with its lanes ─▶ Counts, added up ─▶ report
//!                 │                                    ▲
//!                 ├─ echo: a message and its answer    │ tally
//!                 └─ channels: publishers, subscribers ┘
//! ```
//!
//! The load generator in the project's bench/ is another program with another aim: it compares
//! libraries, shares no code with what it measures, and speaks to servers on this machine only.
//! This one goes wherever the library's client goes, and asks as often as it was told to, however
//! slow the answers are.

mod channels;
mod echo;
mod load_sender;
mod pace;
mod plan;
mod progress;
mod report;
mod tally;
mod threads;

use std::time::Duration;

use clap::Args;

use self::plan::Plan;
use crate::dial::{Trust, header, time};
use crate::{failure::Failure, open_files, screen};

/// Load a WebSocket server, and say what it did.
///
/// Without --subscribers the server has to echo: each connection sends messages and times their
/// answers, which are compared with what was sent. With --subscribers it has to be an Offhook server:
/// publishers publish, every delivery is timed, and each subscriber counts what is missing, comes
/// twice or out of order.
///
/// A closed loop (--in-flight) shows how much a server can do: a slow one is asked less, so its
/// latencies look better than what people would see. An open loop (--rate) asks at fixed times,
/// whatever comes back; latencies count from when a message should have been sent, so that waiting
/// in line is not left out.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    /// Where to: ws://, wss://, http:// or https://
    url: String,
    /// Connections that echo
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    connections: usize,
    /// Bytes of each message
    #[arg(short, long, value_name = "BYTES", default_value = "128", value_parser = size)]
    size: usize,
    /// Closed loop: messages under way at a time, on each connection or of each publisher
    #[arg(short, long, value_name = "N", conflicts_with = "rate", value_parser = at_least_one)]
    in_flight: Option<usize>,
    /// Open loop: messages a second, of all connections or publishers together
    #[arg(short, long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How long to measure
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = time)]
    time: Duration,
    /// How long to run before that
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    warm_up: Duration,
    /// How long answers are waited for at the end; who does not come by then counts as that late
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    grace: Duration,
    /// Threads, each with its part of the connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    threads: usize,
    /// Send binary messages instead of text
    #[arg(long)]
    binary: bool,
    /// Any message is an answer, whatever it says
    #[arg(long)]
    any_answer: bool,
    /// Offer compression (permessage-deflate)
    #[arg(long)]
    deflate: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    channels: Channels,
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

/// Publishers and subscribers of an Offhook server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Channels of an Offhook server")]
struct Channels {
    /// Connections that subscribe
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with_all = ["connections", "binary", "any_answer", "subprotocol"])]
    subscribers: Option<usize>,
    /// Connections that publish
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value_t = 1, requires = "subscribers")]
    publishers: usize,
    /// Channels they are spread over
    #[arg(long = "channels", value_name = "N", value_parser = at_least_one, default_value_t = 1, requires = "subscribers")]
    count: usize,
    /// What the server's authentication asks for
    #[arg(long, value_name = "TOKEN", requires = "subscribers")]
    token: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  offhook bench ws://localhost:9001                          closed loop, 64 connections
  offhook bench ws://localhost:9001 -c 16 -i 64 -s 20        pipelined
  offhook bench wss://example.com/echo --rate 5000 -c 1000   open loop: latency as users see it
  offhook bench ws://localhost:8000/ws --subscribers 1000 --rate 20

An Offhook server holds each connection to 50 publications a second unless told otherwise; to find out how
much it can do, start it with --limits-publishes-per-second and --limits-commands-per-second raised.

Exit codes: 0 all went well, 1 something was wrong, lost or missing, 2 mistakes in flags.";

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let plan = Plan::new(&self)?;
        enough_descriptors(plan.connections())?;
        let found = threads::run(&plan, self.json)?;
        let report = report::Report::new(&plan, &found);
        if self.json {
            screen::print(&report.json())?;
        } else {
            screen::print(&report.text())?;
        }
        report.verdict()
    }
}

/// What the process needs besides its connections.
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
    Err(failure.hint("raise `ulimit -Hn`, or spread them over several processes"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a whole number, at least 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|rate: &f64| rate.is_finite() && *rate > 0.0 && *rate <= 1e9);
    number.ok_or_else(|| "expected how many a second, such as 5000 or 0.5".to_owned())
}

fn size(text: &str) -> Result<usize, String> {
    let bytes = offhook_server::config::parse_bytes(text);
    let size = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let size = size.filter(|size| *size <= plan::LONGEST);
    size.ok_or_else(|| {
        "expected a number of bytes like 128, \"64 KiB\" or \"1 MiB\", at most 64 MiB".to_owned()
    })
}
