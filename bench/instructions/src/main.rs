//! Instructions per message: echo servers over a real socket, counted by callgrind.
//!
//! `cargo run --release --manifest-path bench/instructions/Cargo.toml [-- SERVER…]` prints a
//! Markdown table; README.md describes what is counted and how. It needs valgrind. With `time`
//! before the servers' names, it measures user time instead, which needs no valgrind.

mod bare;
mod counting;
mod peer;
mod servers;
mod timing;

use anyhow::{Context as _, Result};
use counting::Counter;
use peer::Traffic;
use servers::Server;

/// The traffic: its name, and what the client sends at once in each turn.
const SCENARIOS: [(&str, Traffic); 5] = [
    (
        "20 B, one in flight",
        Traffic {
            size: 20,
            in_flight: 1,
            turns: 1000,
        },
    ),
    (
        "20 B, 64 in flight",
        Traffic {
            size: 20,
            in_flight: 64,
            turns: 200,
        },
    ),
    (
        "1 KiB, one in flight",
        Traffic {
            size: 1024,
            in_flight: 1,
            turns: 1000,
        },
    ),
    (
        "16 KiB, one in flight",
        Traffic {
            size: 16 * 1024,
            in_flight: 1,
            turns: 1000,
        },
    ),
    (
        "1 MiB, one in flight",
        Traffic {
            size: 1024 * 1024,
            in_flight: 1,
            turns: 50,
        },
    ),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, server, scenario, turns] = &arguments[..]
        && mode == counting::SERVE
    {
        let (_, traffic) = SCENARIOS[scenario.parse::<usize>()?];
        let turns = turns.parse()?;
        return servers::serve(
            Server::named(server).context("unknown server")?,
            traffic,
            turns,
        );
    }
    if let [mode, names @ ..] = &arguments[..]
        && mode == timing::TIME
    {
        return timing::print_table(names);
    }
    let Some(counter) = Counter::new()? else {
        println!("valgrind is not installed: nothing was counted");
        return Ok(());
    };
    let chosen = |server: &&Server| {
        arguments.is_empty() || arguments.iter().any(|name| name == server.name())
    };
    let servers: Vec<Server> = servers::ALL.iter().filter(chosen).copied().collect();
    print_table(&counter, &servers)
}

/// How many of the scenarios are counted. In long messages copies cost time but few instructions.
const COUNTED: usize = 3;

fn print_table(counter: &Counter, servers: &[Server]) -> Result<()> {
    let counted = SCENARIOS.iter().take(COUNTED);
    let names: Vec<&str> = counted.clone().map(|(name, _)| *name).collect();
    println!("| instructions a message | {} |", names.join(" | "));
    println!("|---|{}", "--:|".repeat(names.len()));
    for server in servers {
        let mut cells = Vec::new();
        for (scenario, (_, traffic)) in counted.clone().enumerate() {
            cells.push(format!(
                "{:.0}",
                counter.per_message(*server, scenario, *traffic)?
            ));
        }
        println!("| {} | {} |", server.name(), cells.join(" | "));
    }
    Ok(())
}
