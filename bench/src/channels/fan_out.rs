//! One publisher, a thousand subscribers.

use anyhow::Result;
use clap::Args;
use load::report::{self, Rate, Report};

use super::{Common, For, Measured, goals, print_skipped, ratio};
use crate::results::{RateSummary, median, summarise};
use crate::table::short;
use crate::words;

/// Measure fan-out.
#[derive(Args)]
pub(crate) struct FanOut {
    #[command(flatten)]
    common: Common,
    /// Measure each dialect of ours, beside servers that were made for it.
    #[arg(long)]
    dialects: bool,
    /// Subscribers.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Bytes of each publication.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Publications per second in the part with a fixed rate.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
}

impl FanOut {
    fn purpose(&self) -> For {
        match self.dialects {
            true => For::Dialects,
            false => For::FanOut,
        }
    }

    pub(super) fn run(&self) -> Result<()> {
        let arguments = words![
            "fan-out",
            "--subscribers",
            self.subscribers.to_string(),
            "--size",
            self.size.to_string(),
            "--rate",
            self.rate.to_string(),
        ];
        let (measured, skipped) = self.common.alternate(self.purpose(), &arguments)?;
        let (subscribers, size, rate) = (self.subscribers, self.size, self.rate);
        println!(
            "{subscribers} subscribers, {size} B; p50 and p99 at {rate} publications a second\n"
        );
        print!("{}", table(&measured));
        if self.dialects {
            print!("{}", goals(&measured));
        }
        print_skipped(&skipped);
        Ok(())
    }
}

const HEAD: &str = "\
| server | 8 in flight, deliveries/s | vs first | spread | µs each, user / total | 1 in flight | vs first | spread | µs each, user / total | p50 ms | p99 ms | memory MiB | load busy, 8 / 1 |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";

fn table(measured: &[Measured]) -> String {
    let mut out = String::from(HEAD);
    let mut first = None;
    for server in measured {
        let cells = match server.all(fan_out) {
            Ok(rounds) => cells(&rounds, &mut first),
            Err(error) => format!("{error:#}"),
        };
        out += &format!("| {} | {cells} |\n", server.title());
    }
    out
}

fn goals(measured: &[Measured]) -> String {
    let figure = |name: &str, figure: fn(&RateSummary) -> f64| {
        let server = measured.iter().find(|server| server.name == name)?;
        let rounds = server.all(fan_out).ok()?;
        let part = |part: fn(&report::FanOut) -> &Rate| {
            figure(&summarise(
                &rounds.iter().map(|round| part(round)).collect::<Vec<_>>(),
            ))
        };
        Some(vec![part(|it| &it.eight), part(|it| &it.one)])
    };
    let columns = ["8 in flight", "1 in flight"];
    let rates = |name: &str| figure(name, |rate| rate.per_second);
    let times = |name: &str| figure(name, |rate| rate.total_us);
    [
        goals::table("deliveries/s", &columns, &goals::DELIVERIES, rates),
        goals::table(
            "processor time per delivery",
            &columns,
            &goals::TIMES,
            times,
        ),
    ]
    .concat()
}

fn fan_out(report: &Report) -> Option<&report::FanOut> {
    match report {
        Report::FanOut(it) => Some(it),
        _ => None,
    }
}

fn cells(rounds: &[&report::FanOut], first: &mut Option<(f64, f64)>) -> String {
    let part = |part: fn(&report::FanOut) -> &Rate| {
        summarise(&rounds.iter().map(|round| part(round)).collect::<Vec<_>>())
    };
    let (one, eight, paced) = (
        part(|it| &it.one),
        part(|it| &it.eight),
        part(|it| &it.paced),
    );
    let first = *first.get_or_insert((eight.per_second, one.per_second));
    let memory = median(rounds.iter().map(|round| round.anonymous_kib as f64));
    let time =
        |time: Option<f64>| time.map_or("–".into(), |time| format!("{:.1}", time / 1000.0));
    format!(
        "{} | {} | {} | {} | {:.1} | {:.0} % / {:.0} %",
        rate_cells(&eight, first.0),
        rate_cells(&one, first.1),
        time(paced.p50_us),
        time(paced.p99_us),
        memory / 1024.0,
        eight.load_busy * 100.0,
        one.load_busy * 100.0,
    )
}

fn rate_cells(rate: &RateSummary, first: f64) -> String {
    format!(
        "{} | {} | {:.0} % | {:.2} / {:.2}",
        short(rate.per_second),
        ratio(rate.per_second, Some(first)),
        rate.spread * 100.0,
        rate.user_us,
        rate.total_us,
    )
}
