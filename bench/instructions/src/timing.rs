//! User time per message, which shows what instruction counts do not show for long messages.
//!
//! Each round starts every server once, as a process of its own, and takes the user time of its
//! thread, so that waiting for the processor does not count. The table shows the medians of the
//! rounds, and their ratios to the first server.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::SCENARIOS;
use crate::counting::SERVE;
use crate::peer::Traffic;
use crate::servers::{self, Server};

/// The first argument that selects timing.
pub const TIME: &str = "time";

/// The environment variable that tells a server to print its thread's user time.
pub const TELL_TIME: &str = "OFFHOOK_BENCH_TELL_TIME";

const ROUNDS: usize = 5;

/// The number of bytes that a server echoes in a round, or fewer if `MOST_MESSAGES` is reached
/// first. The kernel counts user time in ticks of 10 ms, and a round should have many.
const BYTES: usize = 4 << 30;
const MOST_MESSAGES: usize = 200_000;

pub fn print_table(names: &[String]) -> Result<()> {
    let chosen =
        |server: &&Server| names.is_empty() || names.iter().any(|name| name == server.name());
    let servers: Vec<Server> = servers::ALL.iter().filter(chosen).copied().collect();
    let scenarios: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
    let mut cells = vec![Vec::new(); servers.len()];
    for (scenario, (_, traffic)) in SCENARIOS.iter().enumerate() {
        let mut times = vec![Vec::new(); servers.len()];
        for _ in 0..ROUNDS {
            for (server, times) in servers.iter().zip(&mut times) {
                times.push(measure(*server, scenario, *traffic)?);
            }
        }
        let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
        let first = medians.first().copied().unwrap_or(1.0);
        for (cells, median) in cells.iter_mut().zip(&medians) {
            cells.push(format!("{median:.2} · {:.2}×", median / first));
        }
    }
    println!("| user µs a message | {} |", scenarios.join(" | "));
    println!("|---|{}", "--:|".repeat(scenarios.len()));
    for (server, cells) in servers.iter().zip(cells) {
        println!("| {} | {} |", server.name(), cells.join(" | "));
    }
    Ok(())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Microseconds of user time per message.
fn measure(server: Server, scenario: usize, traffic: Traffic) -> Result<f64> {
    // Messages that share a turn are cheap, so more of them are sent.
    let most = MOST_MESSAGES * traffic.in_flight.min(8);
    let messages = (BYTES / traffic.size).min(most);
    let turns = messages / traffic.in_flight;
    let output = Command::new(std::env::current_exe()?)
        .args([
            SERVE,
            server.name(),
            &scenario.to_string(),
            &turns.to_string(),
        ])
        .env(TELL_TIME, "1")
        .output()?;
    ensure!(
        output.status.success(),
        "{} failed: {output:?}",
        server.name()
    );
    let ticks: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(ticks * 10_000.0 / (turns * traffic.in_flight) as f64)
}

/// Prints the user time of this thread, in ticks of 10 ms, if that was requested.
pub fn tell() -> Result<()> {
    if std::env::var_os(TELL_TIME).is_none() {
        return Ok(());
    }
    let stat = fs::read_to_string("/proc/thread-self/stat")?;
    // proc(5): the user time is the twelfth field after the name in parentheses.
    let fields = stat.rsplit_once(')').context("a name in parentheses")?.1;
    let user = fields.split_whitespace().nth(11).context("a user time")?;
    println!("{user}");
    Ok(())
}
