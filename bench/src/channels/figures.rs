//! Scenarios that end in a few figures: each runs round by round with all servers in turn, and a table
//! gives the medians, their ratio to the first server's, and the worst round.

use std::fmt::Debug;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::servers::ChannelServer;
use super::{Common, For, print_skipped, ratio};
use crate::building::Places;
use crate::results::median;

/// One figure of a scenario; less is better.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: f64,
}

/// Runs the chosen scenarios, or all of them, and prints a table. `once` starts the server, runs one
/// round and stops it.
pub(super) fn compare<Scenario: ValueEnum + Debug>(
    common: &Common,
    kind: For,
    chosen: &[Scenario],
    once: impl Fn(&Places, &ChannelServer, &Scenario) -> Result<Vec<Figure>>,
) -> Result<()> {
    let places = Places::find()?;
    let (servers, skipped) = common.servers(&places, kind)?;
    let scenarios = match chosen {
        [] => Scenario::value_variants(),
        some => some,
    };
    println!("| figure | server | median | vs first | worst round |\n|---|---|--:|--:|--:|");
    for scenario in scenarios {
        let mut rounds: Vec<Vec<Vec<Figure>>> = servers.iter().map(|_| Vec::new()).collect();
        for round in 1..=common.rounds {
            for (server, rounds) in servers.iter().zip(&mut rounds) {
                eprintln!("{scenario:?}, round {round}: {}", server.name);
                let figures = once(&places, server, scenario);
                rounds.push(figures.with_context(|| server.name.clone())?);
            }
        }
        print_rows(&servers, &rounds);
    }
    print_skipped(&skipped);
    Ok(())
}

fn print_rows(servers: &[ChannelServer], rounds: &[Vec<Vec<Figure>>]) {
    let names = rounds[0][0].iter().map(|figure| figure.name);
    for (index, name) in names.enumerate() {
        let mut first = None;
        for (server, rounds) in servers.iter().zip(rounds) {
            let values: Vec<f64> = rounds.iter().map(|round| round[index].value).collect();
            let worst = values.iter().copied().fold(0.0, f64::max);
            let middle = median(values.into_iter());
            let title = &server.name;
            println!(
                "| {name} | {title} | {middle:.2} | {} | {worst:.2} |",
                ratio(middle, first)
            );
            first = first.or(Some(middle));
        }
    }
}
