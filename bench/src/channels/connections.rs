//! Memory of an idle connection, with as many connections as one process may have.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use load::process;

use super::holders::{Holders, Said};
use super::servers::{ChannelServer, POLLED};
use super::{Common, For, goals, print_skipped, ratio, start};
use crate::building::Places;
use crate::results::median;
use crate::running::Running;
use crate::words;

/// Connections opened before memory is read for the first time, so that what a server allocates
/// only once is already allocated.
const FIRST: usize = 100;

/// Client processes for the remaining connections.
const CLIENTS: usize = 2;

/// Descriptors that a server needs besides those of its connections.
const SPARE: u64 = 300;

/// How long a server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(300);

/// Measure memory.
#[derive(Args)]
pub(crate) struct Connections {
    #[command(flatten)]
    common: Common,
    /// Measure each dialect of ours, server-sent events, and sessions between two long polls, beside servers
    /// that were made for these dialects.
    #[arg(long)]
    dialects: bool,
    /// Number of connections [default: as many as the limit of descriptors allows].
    #[arg(long)]
    connections: Option<usize>,
}

/// Bytes per connection.
struct Costs {
    server: f64,
    kernel: f64,
}

impl Connections {
    fn purpose(&self) -> For {
        match self.dialects {
            true => For::IdleDialects,
            false => For::Connections,
        }
    }

    pub(super) fn run(&self) -> Result<()> {
        let places = Places::find()?;
        let (servers, skipped) = self.common.servers(&places, self.purpose())?;
        let limit = process::raise_descriptor_limit()?;
        let most = usize::try_from(limit.saturating_sub(SPARE))? / CLIENTS * CLIENTS;
        let connections = self.connections.unwrap_or(most);
        ensure!(
            (FIRST + CLIENTS..=most).contains(&connections),
            "--connections: between {} and {most}, since a process may have {limit} descriptors (`ulimit -Hn`)",
            FIRST + CLIENTS,
        );
        let mut costs: Vec<Vec<Result<Costs>>> = servers.iter().map(|_| Vec::new()).collect();
        for round in 1..=self.common.rounds {
            for (server, costs) in servers.iter().zip(&mut costs) {
                eprintln!("round {round}: {}", server.name);
                costs.push(self.once(&places, server, connections));
            }
        }
        println!("{connections} idle connections to one process, one subscription each\n");
        print!("{}", table(&servers, &costs));
        if self.dialects {
            print!("{}", goals(&servers, &costs));
        }
        print_skipped(&skipped);
        Ok(())
    }

    fn once(&self, places: &Places, server: &ChannelServer, connections: usize) -> Result<Costs> {
        let cores = self.common.cores()?;
        let running = start(places, server, cores[0])?;
        let mut holders = Holders::within(PATIENCE);
        let hold = |holders: &mut Holders, connections: usize| {
            let address = format!("127.0.0.1:{}", running.port);
            let count = connections.to_string();
            let load = places.load();
            let line = match server.dialect {
                POLLED => words![load, "hold-polled", address, "--connections", count],
                dialect => words![
                    load,
                    "hold",
                    address,
                    "--dialect",
                    dialect,
                    "--connections",
                    count
                ],
            };
            holders.start(cores[1], &line)
        };
        hold(&mut holders, FIRST)?;
        ready(&holders)?;
        let before = look(&running)?;
        let mut others = Holders::within(PATIENCE);
        for _ in 0..CLIENTS {
            hold(&mut others, (connections - FIRST) / CLIENTS)?;
        }
        let count = ready(&others)?;
        let after = look(&running)?;
        ensure!(
            count >= connections - FIRST - CLIENTS,
            "only {count} connections"
        );
        let each = |before: u64, after: u64| (after as f64 - before as f64) * 1024.0 / count as f64;
        Ok(Costs {
            server: each(before.0, after.0),
            kernel: each(before.1, after.1),
        })
    }
}

fn ready(holders: &Holders) -> Result<usize> {
    let done = |said| match said {
        Said::Ready(count) => Some(count),
        _ => None,
    };
    holders.wait(done, |_, _| {})
}

/// KiB of the server's anonymous memory, and of the kernel's objects on the whole machine.
fn look(running: &Running) -> Result<(u64, u64)> {
    sleep(SETTLE);
    let path = "/proc/meminfo";
    let all = fs::read_to_string(path)?;
    let slab = all.lines().find_map(|line| line.strip_prefix("Slab:"));
    let slab = slab.context(path)?.trim().trim_end_matches(" kB");
    Ok((process::anonymous_kib(running.id())?, slab.parse()?))
}

fn goals(servers: &[ChannelServer], costs: &[Vec<Result<Costs>>]) -> String {
    let bytes = |name: &str| {
        let place = servers.iter().position(|server| server.name == name)?;
        let rounds: Option<Vec<f64>> = costs[place]
            .iter()
            .map(|round| round.as_ref().ok().map(|costs| costs.server))
            .collect();
        Some(vec![median(rounds?.into_iter())])
    };
    let columns = ["measured"];
    goals::table("idle connection", &columns, &goals::CONNECTIONS, bytes)
}

fn table(servers: &[ChannelServer], costs: &[Vec<Result<Costs>>]) -> String {
    let mut out = String::from(
        "| server | bytes a connection | vs first | kernel's objects, both ends, bytes a connection |\n\
         |---|--:|--:|--:|\n",
    );
    let mut first = None;
    for (server, rounds) in servers.iter().zip(costs) {
        let title = format!("{} {}", server.name, server.version);
        let failed = rounds.iter().find_map(|round| round.as_ref().err());
        let cells = match failed {
            Some(error) => format!("failed: {error:#}"),
            None => {
                let of = |part: fn(&Costs) -> f64| median(rounds.iter().flatten().map(part));
                let each = of(|it| it.server);
                let first = *first.get_or_insert(each);
                let kernel = of(|it| it.kernel);
                format!("{each:.0} | {} | {kernel:.0}", ratio(each, Some(first)))
            }
        };
        out += &format!("| {} | {cells} |\n", title.trim_end());
    }
    out
}
