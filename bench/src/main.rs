//! Measures every WebSocket peer together with ours, in one run.

mod building;
mod channels;
mod results;
mod round;
mod running;
mod scenarios;
mod servers;
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::building::Places;
use crate::channels::Channels;
use crate::results::{ScenarioResult, ServerResult, Summary};
use crate::round::Setting;
use crate::scenarios::Scenario;
use crate::servers::Server;

const GUIDE: &str = "\
`echo` builds every server and the load generator, then goes round by round over all servers: a
fresh server on one core, the load on another. It prints medians over the rounds, and
ratios to ours (to the bare tokio loop where ours is not built).

  everything                   offhook-bench echo
  one question                 offhook-bench echo --scenarios tiny,pipelined \\
                                   --servers offhook,bare-tokio,fastwebsockets
  scenarios and servers        offhook-bench list
  write the rounds to a file   offhook-bench echo --rounds 9 --seconds 2 --json results.json
  before and after a change    offhook-bench echo --with before=/tmp/echo_server_before

uWebSockets is measured where UWEBSOCKETS_ECHO names a program that takes a port
(UWEBSOCKETS_ECHO_TLS: port, certificate, key; UWEBSOCKETS_ECHO_DEFLATE: port).";

/// Measure Offhook's echo server and its peers in alternation, and print Markdown tables.
#[derive(Parser)]
#[command(name = "offhook-bench", after_help = GUIDE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure echo servers.
    Echo(Echo),
    /// List scenarios and servers.
    List,
    #[command(flatten)]
    Channels(Channels),
}

#[derive(Args)]
struct Echo {
    /// Measure only these scenarios.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    scenarios: Vec<String>,
    /// Measure only these servers; the others are compared with the first that works.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    servers: Vec<String>,
    /// Measure one more server: a program that takes the same arguments as ours. May be repeated.
    #[arg(long, value_name = "NAME=PROGRAM")]
    with: Vec<String>,
    /// Rounds over all servers.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Seconds of warm-up before each, not counted.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// Connections in `idle` and `idle-deflate`; each takes a descriptor on both sides.
    #[arg(long, default_value_t = 4000)]
    idle_connections: usize,
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

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Echo(echo) => measure(&echo),
        Command::List => list(),
        Command::Channels(channels) => channels.run(),
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

fn list() -> Result<()> {
    println!("scenarios");
    for scenario in scenarios::ALL {
        println!("  {:<26}{}", scenario.name, scenario.about);
    }
    println!("\nservers");
    let (servers, skipped) = building::servers(&Places::find()?, false)?;
    for server in servers {
        println!("  {:<26}{}", server.name, server.version);
    }
    for line in skipped {
        println!("  {line}");
    }
    Ok(())
}

fn measure(options: &Echo) -> Result<()> {
    let scenarios = chosen(&scenarios::ALL, &options.scenarios, |scenario| {
        scenario.name
    })?;
    let cores = match options.cores[..] {
        [] => [0, 1],
        [server, load] if server != load => [server, load],
        _ => bail!("--cores: expected two different cores, such as 0,1"),
    };
    let places = Places::find()?;
    let (mut servers, skipped) = building::servers(&places, !options.no_build)?;
    for line in &skipped {
        eprintln!("{line}");
    }
    let mut names = options.servers.clone();
    for with in &options.with {
        let (name, program) = with
            .split_once('=')
            .context("--with: expected NAME=PROGRAM")?;
        servers.push(Server::at_address(name, "", program.into()));
        if !names.is_empty() && !names.iter().any(|chosen| chosen == name) {
            names.push(name.into());
        }
    }
    let servers = chosen(&servers, &names, |server| &server.name)?;
    let scratch = places.scratch()?;
    let setting = Setting {
        load: places.load(),
        certificate: building::certificate(&scratch)?,
        scratch,
        cores,
        seconds: options.seconds,
        warm_up: options.warm_up,
        idle_connections: options.idle_connections,
    };
    let results = all_rounds(&setting, &scenarios, &servers, options.rounds)?;
    print!("{}", table::markdown(&results));
    for line in &skipped {
        println!("\n{line}");
    }
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_vec_pretty(&results)?).context("--json")?;
    }
    Ok(())
}

/// The named elements of `all`, in the order of the names; all of them if no name is given.
fn chosen<T: Clone>(all: &[T], names: &[String], name: impl Fn(&T) -> &str) -> Result<Vec<T>> {
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |wanted: &String| {
        all.iter()
            .find(|one| name(one) == wanted)
            .cloned()
            .with_context(|| {
                let known: Vec<&str> = all.iter().map(&name).collect();
                format!(
                    "unknown name {wanted}; expected one of {}",
                    known.join(", ")
                )
            })
    };
    names.iter().map(find).collect()
}

fn all_rounds(
    setting: &Setting,
    scenarios: &[Scenario],
    servers: &[Server],
    rounds: u32,
) -> Result<Vec<ScenarioResult>> {
    ensure!(!servers.is_empty(), "nothing to measure");
    let steps = scenarios.len() * servers.len() * rounds as usize;
    let progress = ProgressBar::new(steps as u64).with_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len}  {eta} left  {msg}",
    )?);
    let results = scenarios
        .iter()
        .map(|scenario| measure_scenario(setting, *scenario, servers, rounds, &progress))
        .collect();
    progress.finish_and_clear();
    Ok(results)
}

fn measure_scenario(
    setting: &Setting,
    scenario: Scenario,
    servers: &[Server],
    rounds: u32,
    progress: &ProgressBar,
) -> ScenarioResult {
    let mut reports = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for (server, reports) in servers.iter().zip(&mut reports) {
            progress.set_message(format!("{}: {}", scenario.name, server.name));
            reports.extend(setting.measure(server, &scenario));
            progress.inc(1);
        }
    }
    let servers = servers
        .iter()
        .zip(reports)
        .filter(|(_, rounds)| !rounds.is_empty())
        .map(|(server, rounds)| ServerResult {
            name: server.name.clone(),
            version: server.version.clone(),
            summary: Summary::of(&rounds),
            rounds,
        })
        .collect();
    ScenarioResult { scenario, servers }
}
