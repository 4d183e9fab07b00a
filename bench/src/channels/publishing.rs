//! Publications that are stored before they are acknowledged, and reading them back.

use anyhow::Result;
use clap::Args;
use load::report::{Rate, Report};

use super::{Common, For, Measured, goals, print_skipped, ratio};
use crate::results::summarise;
use crate::table::short;
use crate::words;

/// Measure publishing and reading.
#[derive(Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    common: Common,
    /// Connections that publish.
    #[arg(long, default_value_t = 64)]
    publishers: usize,
    /// Channels they publish to, in turn.
    #[arg(long, default_value_t = 16)]
    channels: usize,
    /// Unacknowledged publications of each connection; one table for each value.
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    in_flight: Vec<usize>,
    /// Bytes of each publication.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Publications in each channel that history is read from.
    #[arg(long, default_value_t = 5000)]
    kept: u64,
    /// Only publish, or only read.
    #[arg(long)]
    only: Option<Only>,
    /// Publish over MQTT with `QoS` 1, beside mosquitto, which acknowledges before anything is on disk.
    #[arg(long)]
    mqtt: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    Publish,
    Read,
}

impl Publish {
    pub(super) fn run(&self) -> Result<()> {
        let mut skipped = Vec::new();
        let (publishers, channels, size) = (self.publishers, self.channels, self.size);
        let purpose = match self.mqtt {
            true => For::PublishingMqtt,
            false => For::Publishing,
        };
        for in_flight in self
            .in_flight
            .iter()
            .filter(|_| self.only != Some(Only::Read))
        {
            let (measured, missing) =
                self.measure("publish", publishers, *in_flight, purpose, &[])?;
            println!(
                "{publishers} publishers, {in_flight} in flight on each, {channels} channels, {size} B\n"
            );
            println!("{}", table(&measured, "acknowledged/s", "publication"));
            if self.mqtt {
                println!("{}", goals(&measured));
            }
            skipped = missing;
        }
        if self.only != Some(Only::Publish) && !self.mqtt {
            let kept = self.kept.to_string();
            let more = ["--kept", &kept];
            let (measured, missing) = self.measure("read", channels, 64, For::Reading, &more)?;
            println!(
                "pages of 100 at random places, {channels} readers, one page in flight on each\n"
            );
            println!("{}", table(&measured, "publications read/s", "page"));
            skipped = missing;
        }
        print_skipped(&skipped);
        Ok(())
    }

    fn measure(
        &self,
        mode: &str,
        connections: usize,
        in_flight: usize,
        purpose: For,
        more: &[&str],
    ) -> Result<(Vec<Measured>, Vec<String>)> {
        let mut arguments = words![
            mode,
            "--publishers",
            connections.to_string(),
            "--channels",
            self.channels.to_string(),
            "--in-flight",
            in_flight.to_string(),
            "--size",
            self.size.to_string(),
        ];
        arguments.extend(more.iter().map(Into::into));
        self.common.alternate(purpose, &arguments)
    }
}

fn table(measured: &[Measured], counted: &str, timed: &str) -> String {
    let mut out = format!(
        "| server | {counted} | vs first | spread | p50 ms a {timed} | p99 ms | µs each, user / total | \
         server busy | load busy |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    let mut first = None;
    for server in measured {
        let cells = match server.all(rate) {
            Ok(rounds) => cells(&rounds, &mut first),
            Err(error) => format!("{error:#}"),
        };
        out += &format!("| {} | {cells} |\n", server.title());
    }
    out
}

fn goals(measured: &[Measured]) -> String {
    let rates = |name: &str| {
        let server = measured.iter().find(|server| server.name == name)?;
        let rounds = server.all(rate).ok()?;
        Some(vec![summarise(&rounds).per_second])
    };
    let columns = ["measured"];
    goals::table("acknowledged/s", &columns, &goals::PUBLICATIONS, rates)
}

fn rate(report: &Report) -> Option<&Rate> {
    match report {
        Report::Rate(rate) => Some(rate),
        _ => None,
    }
}

fn cells(rounds: &[&Rate], first: &mut Option<f64>) -> String {
    let rate = summarise(rounds);
    let first = *first.get_or_insert(rate.per_second);
    let time =
        |time: Option<f64>| time.map_or("–".into(), |time| format!("{:.2}", time / 1000.0));
    format!(
        "{} | {} | {:.0} % | {} | {} | {:.2} / {:.2} | {:.0} % | {:.0} %",
        short(rate.per_second),
        ratio(rate.per_second, Some(first)),
        rate.spread * 100.0,
        time(rate.p50_us),
        time(rate.p99_us),
        rate.user_us,
        rate.total_us,
        rate.server_busy * 100.0,
        rate.load_busy * 100.0,
    )
}
