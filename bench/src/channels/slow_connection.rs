//! One subscriber that does not read among a thousand that do.

use anyhow::Result;
use clap::Args;
use load::report::{self, Others, Rate, Report};

use super::{Common, For, Measured, print_skipped};
use crate::results::{RateSummary, median, summarise};
use crate::table::short;
use crate::words;

/// Measure what a slow connection costs the others, and the server.
#[derive(Args)]
pub(crate) struct SlowConnection {
    #[command(flatten)]
    common: Common,
    /// Subscribers that read.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Bytes of each publication.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Publications per second in the part with a fixed rate.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
}

impl SlowConnection {
    pub(super) fn run(&self) -> Result<()> {
        let arguments = words![
            "slow-connection",
            "--subscribers",
            self.subscribers.to_string(),
            "--size",
            self.size.to_string(),
            "--rate",
            self.rate.to_string(),
        ];
        let (measured, skipped) = self.common.alternate(For::SlowConnection, &arguments)?;
        let (subscribers, size, rate) = (self.subscribers, self.size, self.rate);
        println!(
            "{subscribers} subscribers that read, {size} B; p50 and p99 at {rate} publications a second\n"
        );
        print!("{}", table(&measured));
        print_skipped(&skipped);
        Ok(())
    }
}

fn table(measured: &[Measured]) -> String {
    let mut out = String::from(
        "| server | slow connection | 8 in flight, deliveries/s | µs each, user / total | p50 ms | p99 ms | \
         µs each, user / total |\n|---|---|--:|--:|--:|--:|--:|\n",
    );
    let mut after = String::new();
    for server in measured {
        match server.all(slow_connection) {
            Ok(rounds) => {
                let side = |part: fn(&report::SlowConnection) -> &Others| {
                    others(&rounds.iter().map(|round| part(round)).collect::<Vec<_>>())
                };
                let name = server.title();
                out += &format!("| {name} | without | {} |\n", side(|it| &it.without));
                out += &format!("| {name} | with | {} |\n", side(|it| &it.with));
                after += &story(&name, &rounds);
            }
            Err(error) => out += &format!("| {} | {error:#} |\n", server.title()),
        }
    }
    format!("{out}{after}")
}

fn slow_connection(report: &Report) -> Option<&report::SlowConnection> {
    match report {
        Report::SlowConnection(it) => Some(it),
        _ => None,
    }
}

fn others(rounds: &[&Others]) -> String {
    let part = |part: fn(&Others) -> &Rate| {
        summarise(&rounds.iter().map(|round| part(round)).collect::<Vec<_>>())
    };
    let (eight, paced) = (part(|it| &it.eight), part(|it| &it.paced));
    let time =
        |time: Option<f64>| time.map_or("–".into(), |time| format!("{:.1}", time / 1000.0));
    let costs = |rate: &RateSummary| format!("{:.2} / {:.2}", rate.user_us, rate.total_us);
    format!(
        "{} | {} | {} | {} | {}",
        short(eight.per_second),
        costs(&eight),
        time(paced.p50_us),
        time(paced.p99_us),
        costs(&paced)
    )
}

/// The server's memory, and how the slow connection caught up.
fn story(name: &str, rounds: &[&report::SlowConnection]) -> String {
    let of =
        |value: fn(&report::SlowConnection) -> f64| median(rounds.iter().map(|round| value(round)));
    let mib = |kib: &u64| format!("{:.1}", *kib as f64 / 1024.0);
    let last = rounds.last().map_or(Vec::new(), |round| {
        round.anonymous_kib.iter().map(mib).collect()
    });
    format!(
        "\n{name}: the slow connection missed {:.0} publications (median), was told that it is catching up {:.0} \
         times, and then read them all in order in {:.2} s. Server memory, last round, MiB: when it was 2000 behind, after 8 in flight, then each second: {}; when it had caught up: {:.1}.\n",
        of(|it| it.missed as f64),
        of(|it| it.times_told as f64),
        of(|it| it.catch_up_seconds),
        last.join(" "),
        rounds
            .last()
            .map_or(0.0, |it| it.anonymous_kib_after as f64 / 1024.0),
    )
}
