//! `offhook log read`.

use std::{collections::BTreeMap, str};

use clap::Args;
use offhook_brokers::Entry;
use offhook_engine::{ChannelName, Format, Publication};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Which;
use crate::{failure::Failure, screen};

/// Print the retained messages of a channel, one JSON object per line.
///
/// Oldest first: `position`, `time` in milliseconds since 1970, `user`, `key` and `tags` if
/// present, and the message as `data`, `text`, or `hex` for bytes. Damaged messages are reported in
/// their place, as `damaged` with the first and the last offset.
#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The channel to read
    channel: String,
    /// Start after this offset
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    after: u64,
    /// Print at most this many messages
    #[arg(long, value_name = "COUNT", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct PrintedMessage<'a> {
    position: String,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<&'a str, &'a str>,
    #[serde(flatten)]
    message: Message<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Message<'a> {
    Data(&'a RawValue),
    Text(&'a str),
    Hex(String),
}

#[derive(Serialize)]
struct Damaged {
    damaged: [u64; 2],
}

impl Read {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let name = ChannelName::new(&self.channel).map_err(|error| Failure::usage(&error))?;
        let (_snapshot, view) = self.which.view()?;
        let (mut left, mut damaged, mut printed) = (self.limit, 0, Ok(()));
        let known = left == 0
            || view.read(&name, self.after.saturating_add(1), |entry| {
                let mut line = match entry {
                    Entry::Publication(publication) => {
                        left -= 1;
                        line(&publication)
                    }
                    Entry::Damaged(from, to) => {
                        damaged += to + 1 - from;
                        let range = Damaged {
                            damaged: [from, to],
                        };
                        serde_json::to_string(&range).expect("numbers are JSON")
                    }
                };
                line.push('\n');
                printed = screen::print(&line);
                printed.is_ok() && left > 0
            });
        printed?;
        if !known {
            let what = format!("channel {}: the log has no such channel", self.channel);
            return Err(Failure::Failed(what).hint("`offhook log channels` lists them"));
        }
        if damaged > 0 {
            let what = format!("{damaged} messages are damaged and cannot be read");
            return Err(Failure::Failed(what));
        }
        Ok(())
    }
}

fn line(publication: &Publication) -> String {
    let text = str::from_utf8(&publication.data).ok();
    let json = text.filter(|_| publication.format == Format::Json);
    let message = match (json.and_then(|json| serde_json::from_str(json).ok()), text) {
        (Some(json), _) => Message::Data(json),
        (None, Some(text)) if publication.format != Format::Binary => Message::Text(text),
        (None, _) => Message::Hex(screen::hex(&publication.data).replace(' ', "")),
    };
    // Anonymous sessions have no name.
    let user = publication.publisher.as_ref().map(|by| &*by.user);
    let line = PrintedMessage {
        position: publication.position.to_string(),
        time: publication.time_ms,
        user: user.filter(|user| !user.is_empty()),
        key: publication.key.as_ref().map(|key| key.as_str()),
        tags: publication.tags.iter().collect(),
        message,
    };
    serde_json::to_string(&line).expect("texts and numbers are JSON")
}
