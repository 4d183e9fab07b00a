//! Channel servers: fan-out, acknowledged publishing, idle connections, slow connections.

mod backend;
mod connections;
mod fan_out;
mod figures;
mod goals;
mod holders;
mod one_port;
mod publishing;
mod servers;
mod session;
mod slow_connection;
mod stalls;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use load::report::Report;
use serde::Serialize;

use self::servers::{ChannelServer, For};
use crate::building::Places;
use crate::running::{self, Running, free_port};
use crate::words;

/// The measurements of channel servers.
#[derive(Subcommand)]
pub(crate) enum Channels {
    /// One publisher, a thousand subscribers: deliveries per second, and their latency.
    FanOut(fan_out::FanOut),
    /// Acknowledged publications per second, on disk before the acknowledgement; history reads.
    Publish(publishing::Publish),
    /// Memory of idle connections, as many as one process may have.
    Connections(connections::Connections),
    /// More than 65,535 connections to one port.
    OnePort(one_port::OnePort),
    /// One subscriber that does not read among a thousand that do.
    SlowConnection(slow_connection::SlowConnection),
    /// How long one connection's actions delay the others, and costs that grow with the number of
    /// channels.
    Stalls(stalls::Stalls),
    /// What a backend gets: publishing over HTTP, questions about clients, users and grants.
    Backend(backend::Backend),
    /// All of these, as in docs/performance.md; about half an hour.
    #[command(name = "channels")]
    Documented,
}

/// The benchmarks in docs/performance.md, and their arguments.
const DOCUMENTED: [&str; 10] = [
    "fan-out --rounds 5 --seconds 2",
    "fan-out --dialects --rounds 3 --seconds 2",
    "publish --rounds 3 --seconds 3",
    "publish --mqtt --rounds 3 --seconds 3",
    "slow-connection --rounds 3 --seconds 5",
    "connections --rounds 3",
    "connections --dialects --rounds 3",
    "one-port",
    "stalls --rounds 3",
    "backend --rounds 3",
];

/// One of the documented benchmarks, parsed as on a command line.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Invocation {
    #[command(subcommand)]
    channels: Channels,
}

fn documented() -> Result<()> {
    for line in DOCUMENTED {
        println!("\n```sh\ncargo run --release --manifest-path bench/Cargo.toml -- {line}\n```\n");
        Invocation::try_parse_from(line.split(' '))?
            .channels
            .run()?;
    }
    Ok(())
}

impl Channels {
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::FanOut(it) => it.run(),
            Self::Publish(it) => it.run(),
            Self::Connections(it) => it.run(),
            Self::OnePort(it) => it.run(),
            Self::SlowConnection(it) => it.run(),
            Self::Stalls(it) => it.run(),
            Self::Backend(it) => it.run(),
            Self::Documented => documented(),
        }
    }
}

/// Options of all benchmarks.
#[derive(Args)]
struct Common {
    /// Measure only these servers; the others are compared with the first.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    servers: Vec<String>,
    /// Measure another build of `offhook` too, in each way that ours is. May be repeated.
    #[arg(long, value_name = "NAME=PROGRAM")]
    with: Vec<String>,
    /// Rounds over all servers.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds of warm-up before each, not counted.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// The server's core and the load generator's core.
    #[arg(long, value_delimiter = ',', num_args = 1, value_name = "CORE,CORE")]
    cores: Vec<usize>,
    /// Write every round to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure what is already built.
    #[arg(long)]
    no_build: bool,
}

/// One server and its reports.
#[derive(Serialize)]
struct Measured {
    name: String,
    version: String,
    reports: Vec<Report>,
}

impl Measured {
    /// The reports of one kind, or the reason why there are none.
    fn all<T>(&self, kind: impl Fn(&Report) -> Option<&T>) -> Result<Vec<&T>> {
        let reports = self.reports.iter().map(|report| match report {
            Report::Failed { error } => bail!("failed: {}", error.replace(['|', '\n'], "/")),
            report => kind(report).context("another kind of report"),
        });
        reports.collect()
    }

    fn title(&self) -> String {
        format!("{} {}", self.name, self.version).trim_end().into()
    }
}

impl Common {
    fn cores(&self) -> Result<[usize; 2]> {
        match self.cores[..] {
            [] => Ok([0, 1]),
            [server, load] if server != load => Ok([server, load]),
            _ => bail!("--cores: expected two different cores, such as 0,1"),
        }
    }

    fn servers(&self, places: &Places, purpose: For) -> Result<(Vec<ChannelServer>, Vec<String>)> {
        let (servers, skipped) = servers::all(places, !self.no_build, purpose)?;
        for line in &skipped {
            eprintln!("{line}");
        }
        let servers = crate::chosen(&servers, &self.servers, |server| &server.name)?;
        let servers = self.with_other_builds(servers)?;
        ensure!(!servers.is_empty(), "nothing to measure");
        Ok((servers, skipped))
    }

    /// Adds the other builds of `offhook` after each of our servers.
    fn with_other_builds(&self, servers: Vec<ChannelServer>) -> Result<Vec<ChannelServer>> {
        let mut all = Vec::new();
        for server in servers {
            let mut others = Vec::new();
            for with in &self.with {
                let (name, program) = with
                    .split_once('=')
                    .context("--with: expected NAME=PROGRAM")?;
                others.extend(server.with_program(name, program.as_ref()));
            }
            all.push(server);
            all.extend(others);
        }
        Ok(all)
    }

    /// Round by round, with a fresh server each time; `arguments` is passed to the load generator
    /// in addition to the server's address.
    fn alternate(
        &self,
        purpose: For,
        arguments: &[OsString],
    ) -> Result<(Vec<Measured>, Vec<String>)> {
        let places = Places::find()?;
        let (servers, skipped) = self.servers(&places, purpose)?;
        let steps = servers.len() * self.rounds as usize;
        let progress = ProgressBar::new(steps as u64).with_style(ProgressStyle::with_template(
            "{bar:30} {pos}/{len}  {eta} left  {msg}",
        )?);
        let mut measured: Vec<Measured> = servers.iter().map(Measured::nothing_of).collect();
        for _ in 0..self.rounds {
            for (server, measured) in servers.iter().zip(&mut measured) {
                progress.set_message(server.name.clone());
                let report = self.once(&places, server, arguments);
                measured.reports.push(report.unwrap_or_else(|error| {
                    let error = format!("{error:#}");
                    Report::Failed { error }
                }));
                progress.inc(1);
            }
        }
        progress.finish_and_clear();
        if let Some(file) = &self.json {
            std::fs::write(file, serde_json::to_vec_pretty(&measured)?).context("--json")?;
        }
        Ok((measured, skipped))
    }

    fn once(
        &self,
        places: &Places,
        server: &ChannelServer,
        arguments: &[OsString],
    ) -> Result<Report> {
        let cores = self.cores()?;
        let running = start(places, server, cores[0])?;
        let (mode, others) = arguments.split_first().context("no mode")?;
        let mut line = words![
            places.load(),
            mode,
            format!("127.0.0.1:{}", running.port),
            "--pid",
            running.id().to_string(),
            "--dialect",
            server.dialect,
            "--seconds",
            self.seconds.to_string(),
            "--warm-up",
            self.warm_up.to_string(),
        ];
        line.extend(others.iter().cloned());
        running::load(cores[1], &line)
    }
}

impl Measured {
    fn nothing_of(server: &ChannelServer) -> Self {
        Self {
            name: server.name.clone(),
            version: server.version.clone(),
            reports: Vec::new(),
        }
    }
}

/// Starts a fresh server on a free port.
fn start(places: &Places, server: &ChannelServer, core: usize) -> Result<Running> {
    let scratch = places.scratch()?;
    let port = free_port()?;
    let line = server.command(port, &scratch)?;
    let log = scratch.join(format!("{}.log", server.name));
    Running::start(core, &line, port, &log).with_context(|| server.name.clone())
}

/// The ratio to the first server's figure.
fn ratio(figure: f64, first: Option<f64>) -> String {
    match first {
        Some(first) if first > 0.0 => format!("{:.2}×", figure / first),
        _ => "–".into(),
    }
}

fn print_skipped(skipped: &[String]) {
    for line in skipped {
        println!("\n{line}");
    }
}
