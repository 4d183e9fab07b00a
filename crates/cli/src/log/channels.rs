//! `offhook log channels`.

use clap::Args;
use offhook_brokers::ChannelSummary;
use serde::Serialize;

use super::Which;
use crate::{failure::Failure, screen};

/// List the channels of a log: how many messages are retained, their bytes, and the newest position.
#[derive(Debug, Args)]
pub(crate) struct Channels {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct Json<'a> {
    channel: &'a str,
    messages: u64,
    bytes: u64,
    first: u64,
    head: String,
}

impl Channels {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (_snapshot, view) = self.which.view()?;
        let mut text = String::new();
        if !self.json {
            text.push_str("  messages         bytes  newest position        channel\n");
        }
        let mut printed = screen::print(&text);
        let listed = view.channels(|channel| {
            if printed.is_ok() {
                printed = screen::print(&self.line(&channel));
            }
        });
        printed?;
        listed.map_err(Failure::Failed)
    }

    fn line(&self, channel: &ChannelSummary) -> String {
        let head = channel.head.to_string();
        let ChannelSummary {
            name,
            first,
            count,
            bytes,
            ..
        } = channel;
        if !self.json {
            let name = screen::shown(name.as_str());
            return format!("{count:>10}  {bytes:>12}  {head:<21}  {name}\n");
        }
        let json = Json {
            channel: name.as_str(),
            messages: *count,
            bytes: *bytes,
            first: *first,
            head,
        };
        let mut line = serde_json::to_string(&json).expect("numbers and texts are JSON");
        line.push('\n');
        line
    }
}
