//! `offhook dial`: talks over a connection, typed or piped.
//!
//! [`Dial`] is what was asked for; [`mod@connection`] talks to any WebSocket server, [`channels`] to the
//! channels of an Offhook server. What is typed comes from [`keyboard`], what is said goes to
//! [`voice`].

mod channels;
mod connection;
mod editor;
mod keyboard;
mod request;
mod tap;
mod trust;
mod voice;

use std::{sync::Arc, time::Duration};

use clap::Args;
use offhook_client::Since;
use tokio::runtime::Builder;

use self::keyboard::{Keyboard, listen};
pub(crate) use self::request::{header, time};
pub(crate) use self::trust::Trust;
use crate::{failure::Failure, screen};

/// Talk to a WebSocket server, line by line.
///
/// Each line that is typed or piped in is sent as a text message; what comes is printed to stdout,
/// a line each, and what happens to stderr. In a terminal, lines can be edited and called back, and
/// lines that begin with / are commands: /help lists them.
///
/// With --subscribe or --publish it speaks to the channels of an Offhook server: it then resumes when
/// the connection is lost, misses nothing that the channel keeps, and publishes each line once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dial {
    /// Where to: ws://, wss://, http:// or https://
    url: String,
    /// Subprotocols to offer, the preferred one first
    #[arg(short, long, value_name = "NAME")]
    subprotocol: Vec<String>,
    /// A header of the request, such as 'Authorization: Bearer 42'
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The Origin that a browser would send for a page of this site
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// Show every frame in both directions, with the rules it breaks
    #[arg(long)]
    frames: bool,
    /// Offer compression (permessage-deflate)
    #[arg(long)]
    deflate: bool,
    /// Lines are bytes in hexadecimal, sent as binary messages; what comes is shown the same way
    #[arg(long)]
    hex: bool,
    /// Leave after so many messages came
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// After the end of the input, leave when nothing has come for this long
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    linger: Duration,
    #[command(flatten)]
    trust: Trust,
    /// Go through this proxy, whatever the environment says
    #[arg(long, value_name = "URL", conflicts_with = "no_proxy")]
    proxy: Option<String>,
    /// Go through no proxy, whatever the environment says
    #[arg(long)]
    no_proxy: bool,
    #[command(flatten)]
    channels: Channels,
}

/// What to do with the channels of an Offhook server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Channels of an Offhook server")]
struct Channels {
    /// Print what is published in this channel; may be given several times
    #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["hex", "subprotocol"])]
    subscribe: Vec<String>,
    /// Publish each line in this channel [default: the first one subscribed to]
    #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["hex", "subprotocol"])]
    publish: Option<String>,
    /// Begin with: now, start (all that is kept), a number (the newest so many), or a position
    #[arg(long, value_name = "WHERE", default_value = "now", value_parser = request::since)]
    since: Since,
    /// Show who comes and goes
    #[arg(long)]
    presence: bool,
    /// What the server's authentication asks for
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Print each publication as JSON with its position, publisher and time
    #[arg(long)]
    json: bool,
}

impl Channels {
    fn are_asked_for(&self) -> bool {
        !self.subscribe.is_empty() || self.publish.is_some()
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook dial wss://echo.websocket.org                 talk
  echo hello | offhook dial ws://localhost:9001         one message, and what comes back
  offhook dial --frames --deflate wss://example.com/    see what is on the wire
  offhook dial ws://localhost:8000/ws --subscribe room --since 20
  tail -f app.log | offhook dial ws://localhost:8000/ws --publish log

Exit codes: 0 closed as it should, 1 it could not be opened or was cut off, 2 mistakes in flags.";

impl Dial {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            let Keyboard {
                typed,
                voice,
                terminal,
            } = listen()?;
            let ended = if self.channels.are_asked_for() {
                channels::talk(&self, typed, Arc::clone(&voice)).await
            } else {
                connection::talk(&self, typed, Arc::clone(&voice)).await
            };
            voice.finish();
            drop(terminal);
            ended
        });
        // A look-up or a read of the keyboard may never end.
        runtime.shutdown_background();
        screen::tell(&ended?);
        Ok(())
    }
}
