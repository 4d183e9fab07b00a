//! `load`: measures one WebSocket server. The runner (`offhook-bench`) starts it for each round.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use load::report::Report;
use load::ring::Shape;
use load::transport::Dialer;
use load::{echo, handshakes, idle};

/// Measure one WebSocket echo server and print what was found as one line of JSON.
///
/// For figures that mean something, pin this program and the server to different cores:
///
///   taskset -c 1 load echo 127.0.0.1:9001 --pid 4711 --connections 64 --size 1024
#[derive(Parser)]
#[command(verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Target {
    /// Where the server listens.
    address: SocketAddr,
    /// The server's process, for its processor time and memory.
    #[arg(long)]
    pid: u32,
    /// Connect by TLS and trust this certificate (PEM, for `localhost`) and no other.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Args)]
struct Times {
    /// Seconds to measure.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Seconds before that which do not count.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
}

#[derive(Subcommand)]
enum Command {
    /// Messages a second, with a number in flight on each connection.
    Echo {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        times: Times,
        /// Connections.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Bytes of each message.
        #[arg(long, default_value_t = 20)]
        size: usize,
        /// Messages in flight on each connection.
        #[arg(long, default_value_t = 1)]
        in_flight: usize,
        /// JSON text instead of binary messages.
        #[arg(long)]
        json: bool,
        /// Offer permessage-deflate, and fail if the server declines.
        #[arg(long)]
        deflate: bool,
    },
    /// Whole connections a second: connect, upgrade, echo 20 B, close.
    Handshakes {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        times: Times,
        /// Connections under way at a time.
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
    /// The server's memory for each quiet connection.
    Idle {
        #[command(flatten)]
        target: Target,
        /// Connections.
        #[arg(long, default_value_t = 4000)]
        connections: usize,
        /// Offer permessage-deflate, and fail if the server declines.
        #[arg(long)]
        deflate: bool,
    },
}

fn main() -> Result<ExitCode> {
    let (report, code) = match measure(Cli::parse().command) {
        Ok(report) => (report, ExitCode::SUCCESS),
        Err(error) => (
            Report::Failed {
                error: format!("{error:#}"),
            },
            ExitCode::FAILURE,
        ),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(code)
}

fn measure(command: Command) -> Result<Report> {
    let dialer = |target: &Target| Dialer::new(target.address, target.ca.as_deref());
    let seconds = Duration::from_secs_f64;
    match command {
        Command::Echo {
            target,
            times,
            connections,
            size,
            in_flight,
            json,
            deflate,
        } => {
            let plan = echo::Plan {
                connections,
                in_flight,
                shape: Shape { size, json },
                deflate,
                warm_up: seconds(times.warm_up),
                time: seconds(times.seconds),
                pid: target.pid,
            };
            echo::run(dialer(&target)?, &plan).map(Report::Rate)
        }
        Command::Handshakes {
            target,
            times,
            connections,
        } => {
            let plan = handshakes::Plan {
                connections,
                warm_up: seconds(times.warm_up),
                time: seconds(times.seconds),
                pid: target.pid,
            };
            handshakes::run(dialer(&target)?, &plan).map(Report::Rate)
        }
        Command::Idle {
            target,
            connections,
            deflate,
        } => {
            let plan = idle::Plan {
                connections,
                deflate,
                pid: target.pid,
            };
            idle::run(dialer(&target)?, &plan).map(Report::Memory)
        }
    }
}
