//! `offhook log check`.

use clap::Args;
use offhook_brokers::CheckReport;
use serde::Serialize;

use super::Which;
use crate::{failure::Failure, screen};

/// Read everything in a log, and report damage.
///
/// A server does the same slowly in the background, and reports damage at /healthz. This command
/// does it at once, and reads from the disk even what the server has in memory.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct Json<'a> {
    good: bool,
    channels: u64,
    messages: u64,
    bytes: u64,
    damaged: Vec<DamagedJson<'a>>,
    broken: &'a [String],
}

#[derive(Serialize)]
struct DamagedJson<'a> {
    channel: &'a str,
    /// The first and the last offset that cannot be read.
    from: u64,
    to: u64,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (_snapshot, view) = self.which.view()?;
        let report = view.check();
        if self.json {
            screen::print(&json(&report))?;
        } else {
            for (channel, from, to) in &report.damaged {
                let channel = screen::shown(channel);
                screen::print(&format!(
                    "damaged: channel {channel}, offsets {from} to {to}\n"
                ))?;
            }
            for what in &report.broken {
                screen::print(&format!("damaged: {}\n", screen::shown(what)))?;
            }
            screen::print(&format!("{}\n", summary(&report)))?;
        }
        verdict(&report)
    }
}

fn json(report: &CheckReport) -> String {
    let damaged = report
        .damaged
        .iter()
        .map(|(channel, from, to)| DamagedJson {
            channel,
            from: *from,
            to: *to,
        });
    let json = Json {
        good: report.is_good(),
        channels: report.channels,
        messages: report.publications,
        bytes: report.bytes,
        damaged: damaged.collect(),
        broken: &report.broken,
    };
    let mut text = serde_json::to_string(&json).expect("numbers and texts are JSON");
    text.push('\n');
    text
}

/// A summary of the check, on one line.
pub(super) fn summary(report: &CheckReport) -> String {
    let lost: u64 = report
        .damaged
        .iter()
        .map(|(_, from, to)| to + 1 - from)
        .sum();
    let verdict = match (report.is_good(), lost) {
        (true, _) => "everything is intact".to_owned(),
        (false, 0) => "but not everything can be read".to_owned(),
        (false, lost) => format!("{lost} messages cannot be read"),
    };
    format!(
        "{} channels, {} messages, {} bytes: {verdict}",
        report.channels, report.publications, report.bytes
    )
}

/// Damage makes the command fail.
pub(super) fn verdict(report: &CheckReport) -> Result<(), Failure> {
    if report.is_good() {
        return Ok(());
    }
    let hint = "check the disk; `offhook log restore` puts a backup back";
    Err(Failure::Failed("the log is damaged".to_owned()).hint(hint))
}
