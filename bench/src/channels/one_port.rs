//! More than 65,535 connections to one port.
//!
//! A connection is identified by the addresses and ports of both ends, so each client address can
//! have 65,535 connections to the same port. The limit of a process is its descriptors, so several
//! server processes share the port (`SO_REUSEPORT`).

use std::collections::HashSet;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use load::process;

use super::holders::{Holders, Said};
use crate::building::{self, Places};
use crate::running::{Running, free_port};
use crate::words;

/// Descriptors left free in each server: the kernel distributes connections by a hash, and
/// therefore unevenly.
const SPARE: usize = 1_500;

/// Client ports of one address that are certainly free.
const PORTS: usize = 20_000;

/// User and kernel memory of both ends of a connection, estimated generously.
const BYTES: usize = 24 * 1024;

/// Hold more than 65,535 connections to one port.
#[derive(Args)]
pub(crate) struct OnePort {
    /// Number of connections.
    #[arg(long, default_value_t = 70_000)]
    connections: usize,
    /// Seconds after which to give up.
    #[arg(long, default_value_t = 300)]
    within: u64,
    /// Use what is already built.
    #[arg(long)]
    no_build: bool,
}

impl OnePort {
    pub(super) fn run(&self) -> Result<()> {
        let processes = self.processes()?;
        let places = Places::find()?;
        if !self.no_build {
            building::cargo_build(&places, &["load"])?;
        }
        let program = building::offhook_command(&places, !self.no_build)?;
        let port = free_port()?;
        let servers: Result<Vec<Running>> = (0..processes)
            .map(|number| {
                let listen = format!("127.0.0.1:{port}");
                let line = words![
                    &program,
                    "serve",
                    "--in-memory",
                    "--workers",
                    "1",
                    "--listen",
                    listen,
                    "--share-port",
                    "--connections-handshakes-per-second",
                    "1000000",
                    "--connections-handshake-burst",
                    "1000000",
                ];
                let log = places.scratch()?.join(format!("one-port-{number}.log"));
                Running::start(number % 2, &line, port, &log)
            })
            .collect();
        let servers = servers?;
        println!(
            "{processes} server processes share 127.0.0.1:{port}; {processes} client processes"
        );
        self.hold(&places, &servers, port)
    }

    /// The required number of server processes, and of client processes; or what is missing.
    fn processes(&self) -> Result<usize> {
        let limit = usize::try_from(process::raise_descriptor_limit()?)?;
        let each = limit.saturating_sub(SPARE).min(PORTS);
        ensure!(
            each > SPARE,
            "a process may have {limit} descriptors only: raise `ulimit -Hn`"
        );
        let available = available_bytes()?;
        ensure!(
            self.connections * BYTES < available,
            "{} connections may take {} MiB, and {} are available",
            self.connections,
            (self.connections * BYTES) >> 20,
            available >> 20
        );
        println!(
            "descriptors of a process (ulimit -Hn): {limit}; net.core.somaxconn: {}; memory available: {} MiB",
            fs::read_to_string("/proc/sys/net/core/somaxconn")
                .unwrap_or_default()
                .trim(),
            available >> 20
        );
        Ok(self.connections.div_ceil(each))
    }

    fn hold(&self, places: &Places, servers: &[Running], port: u16) -> Result<()> {
        let begin = Instant::now();
        let mut holders = Holders::within(Duration::from_secs(self.within));
        let clients = servers.len();
        for number in 0..clients {
            let connections =
                self.connections / clients + usize::from(number < self.connections % clients);
            let from = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(number)?);
            let line = words![
                places.load(),
                "hold",
                format!("127.0.0.1:{port}"),
                "--dialect",
                "native",
                "--connections",
                connections.to_string(),
                "--from",
                from.to_string(),
            ];
            holders.start(number % 2, &line)?;
        }
        let mut open = vec![0; clients];
        let is_ready = |said| match said {
            Said::Ready(count) => Some(count),
            _ => None,
        };
        let ready = holders.wait(is_ready, |number, said| {
            let (Said::Open(count) | Said::Ready(count) | Said::Pinged(count)) = said;
            open[number] = count;
            let (open, seconds) = (open.iter().sum::<usize>(), begin.elapsed().as_secs());
            eprintln!(
                "{open} of {} connections are open, after {seconds} s",
                self.connections
            );
        })?;
        holders.ping()?;
        let is_pinged = |said| match said {
            Said::Pinged(count) => Some(count),
            _ => None,
        };
        let pinged = holders.wait(is_pinged, |_, _| {})?;
        let held: Result<Vec<usize>> = servers.iter().map(|server| sockets(server, port)).collect();
        let held = held?;
        for (server, held) in servers.iter().zip(&held) {
            let memory = process::anonymous_kib(server.id())? / 1024;
            println!("process {}: {held} connections, {memory} MiB", server.id());
        }
        let total: usize = held.iter().sum();
        println!(
            "{total} connections to port {port} at once; {pinged} of them just exchanged a ping; {} s",
            begin.elapsed().as_secs()
        );
        if ready != self.connections || pinged != self.connections || total < self.connections {
            bail!("{} were wanted", self.connections);
        }
        Ok(())
    }
}

/// The number of established connections of a process, from its own descriptors.
fn sockets(server: &Running, port: u16) -> Result<usize> {
    let folder = format!("/proc/{}/fd", server.id());
    let links = fs::read_dir(&folder).context(folder)?;
    let targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
    let ours: HashSet<String> = targets
        .filter_map(|target| {
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = format!("/proc/{}/net/tcp", server.id());
    let table = fs::read_to_string(&table).context(table)?;
    let local = format!(":{port:04X}");
    // The kernel may list a socket twice while others come and go.
    let inodes: HashSet<&str> = table
        .lines()
        .filter_map(|line| inode(line, &local))
        .collect();
    Ok(inodes.iter().filter(|inode| ours.contains(**inode)).count())
}

/// The inode of an established connection at that local port. proc(5): local address, remote
/// address, state (01: established), and so on; the inode is the tenth field.
fn inode<'a>(line: &'a str, local: &str) -> Option<&'a str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, here, _, "01", _, _, _, _, _, inode, ..] = fields[..] else {
        return None;
    };
    here.ends_with(local).then_some(inode)
}

fn available_bytes() -> Result<usize> {
    let path = "/proc/meminfo";
    let all = fs::read_to_string(path)?;
    let line = all
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: usize = line.context(path)?.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
