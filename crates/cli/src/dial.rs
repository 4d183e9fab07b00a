//! `offhook dial`: sends and receives messages, typed or piped.
//!
//! [`Dial`] holds the flags. [`mod@connection`] talks to any WebSocket server, [`channels`] to the
//! channels of an Offhook server. Lines come from [`input`], and messages go to [`output`].

mod bridge;
mod channels;
mod commands;
mod connection;
mod editor;
mod frames;
mod input;
mod lines;
mod listen;
mod output;
mod request;
mod script;
mod trust;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use offhook_client::Since;
use tokio::runtime::Builder;

use self::bridge::End;
use self::input::Input;
use self::listen::Role;
use self::output::Output;
pub(crate) use self::request::{header, time};
pub(crate) use self::trust::{AnyCertificate, Trust};
use crate::{failure::Failure, screen};

/// Talk to a WebSocket server, line by line; or act as one.
///
/// Each line typed or piped in is sent as a text message. Messages are printed to stdout, one per
/// line, and everything else to stderr. In a terminal, lines can be edited and recalled, and lines
/// that start with / are commands: /help lists them, // sends a slash. Lines of a pipe are always
/// data.
///
/// With --subscribe or --publish, it uses the channels of an Offhook server: it resumes when the
/// connection is lost, misses nothing that the channel retains, and publishes each line once.
///
/// With --listen it acts as a server for trying out clients, with --bridge it connects two servers
/// and prints the messages between them, and with --script it plays a conversation from a file and
/// checks the answers.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dial {
    /// The server: ws://, wss://, http:// or https://
    #[arg(required_unless_present_any = ["listen", "bridge"])]
    url: Option<String>,
    /// Act as a server at this address instead: a port, or HOST:PORT
    #[arg(long, value_name = "ADDRESS", value_parser = listen::address, conflicts_with_all = ["url", "frames", "header", "insecure", "ca", "cert", "proxy", "no_proxy", "subscribe", "filter", "publish", "script"])]
    listen: Option<String>,
    /// What the server does with what it receives
    #[arg(
        long = "as",
        value_enum,
        value_name = "ROLE",
        default_value = "pipe",
        requires = "listen"
    )]
    role: Role,
    /// Connect two servers: each end is a URL, or listen:PORT to wait for a client there
    #[arg(long, num_args = 2, value_names = ["END", "END"], value_parser = End::read, conflicts_with_all = ["url", "listen", "count", "linger", "subscribe", "filter", "publish", "script"])]
    bridge: Vec<End>,
    /// Send and expect the messages in this file; the exit code says whether the server answered as
    /// expected
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "linger", "subscribe", "filter", "publish"])]
    script: Option<PathBuf>,
    /// Subprotocols to offer, the preferred one first
    #[arg(short, long, value_name = "NAME")]
    subprotocol: Vec<String>,
    /// A header of the request, such as 'Authorization: Bearer 42'
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The Origin that a browser would send for a page of this site; with --listen: the site whose
    /// pages may connect, or * for all
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// Show every frame in both directions, with the rules it breaks
    #[arg(long)]
    frames: bool,
    /// Offer compression (permessage-deflate)
    #[arg(long)]
    deflate: bool,
    /// Lines are bytes in hexadecimal, sent as binary messages; received messages are shown the same way
    #[arg(long)]
    hex: bool,
    /// Stop after this many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// After the end of piped input, stop when nothing was received for this long [default: 1s;
    /// with --count or --subscribe: no limit]
    #[arg(long, value_name = "TIME", value_parser = time)]
    linger: Option<Duration>,
    #[command(flatten)]
    trust: Trust,
    /// Use this proxy, whatever the environment says
    #[arg(long, value_name = "URL", conflicts_with = "no_proxy")]
    proxy: Option<String>,
    /// Use no proxy, whatever the environment says
    #[arg(long)]
    no_proxy: bool,
    #[command(flatten)]
    channels: Channels,
}

/// Options for the channels of an Offhook server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Channels of an Offhook server")]
struct Channels {
    /// Print publications in this channel; may be given several times
    #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["hex", "subprotocol"])]
    subscribe: Vec<String>,
    /// Print publications in all channels that match, such as 'sensors/+' (one part) or 'sensors/#'
    /// (all further parts); may be given several times
    #[arg(long, value_name = "FILTER", conflicts_with_all = ["hex", "subprotocol"])]
    filter: Vec<String>,
    /// Publish each line in this channel [default: the first subscribed channel]
    #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["hex", "subprotocol"])]
    publish: Option<String>,
    /// Where to start: now, start (everything retained), a number (the newest ones), a position, or
    /// state (the newest value of each key, in a channel that keeps state)
    #[arg(long, value_name = "WHERE", default_value = "now", value_parser = request::since)]
    since: Since,
    /// Report members that join and leave
    #[arg(long)]
    presence: bool,
    /// The token for the server's authentication
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Print each publication as JSON with its position, publisher and time
    #[arg(long)]
    json: bool,
}

impl Channels {
    fn are_asked_for(&self) -> bool {
        self.are_read() || self.publish.is_some()
    }

    /// Whether publications are to be printed.
    fn are_read(&self) -> bool {
        !self.subscribe.is_empty() || !self.filter.is_empty()
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook dial wss://echo.websocket.org                 talk
  echo hello | offhook dial ws://localhost:9001         one message, and what comes back
  offhook dial --frames --deflate wss://example.com/    see what is on the wire
  offhook dial ws://localhost:8000/ws --subscribe room --since 20
  tail -f app.log | offhook dial ws://localhost:8000/ws --publish log
  offhook dial --listen 9001 --as echo                  a server that echoes
  offhook dial --bridge listen:9002 ws://localhost:9001 see what a client and a server say
  offhook dial ws://localhost:9001 --script hello.txt   send and expect

A script has a step on each line: `send TEXT`, `send-hex 01 02`, `expect TEXT`, `expect-match hello *`,
`expect-json {\"type\":\"welcome\"}` (other members may be there), `expect-hex`, `expect-any`,
`expect-close 1000`, `expect-nothing 1s`, `await` in the place of `expect` (passes over messages
before), `ping`, `timeout 5s`, `close 1000 bye`. Lines that begin with # are comments.

Exit codes: 0 closed as it should, 1 it could not be opened, was cut off or did not do as the script
expected, 2 mistakes in flags or in the script.";

impl Dial {
    /// How long to wait for messages after the end of a pipe before closing the connection; `None`:
    /// until the number of messages is reached.
    fn linger(&self, default: Duration) -> Option<Duration> {
        let default = self.count.is_none().then_some(default);
        self.linger.or(default)
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(self.talk());
        // A name lookup or a read of the terminal may never end.
        runtime.shutdown_background();
        screen::tell(&ended?);
        Ok(())
    }

    async fn talk(&self) -> Result<String, Failure> {
        if !self.bridge.is_empty() {
            return bridge::join(self, &self.bridge, Arc::new(Output::plain())).await;
        }
        if let (Some(url), Some(script)) = (&self.url, &self.script) {
            return script::run(self, url, script, Arc::new(Output::plain())).await;
        }
        let commands = match &self.listen {
            Some(_) => commands::OF_A_SERVER,
            None if self.channels.are_asked_for() => commands::OF_CHANNELS,
            None => commands::OF_A_CONNECTION,
        };
        let Input {
            typed,
            output,
            terminal,
        } = input::listen(commands)?;
        let ended = match (&self.listen, &self.url) {
            (Some(address), _) => listen::serve(self, address, typed, Arc::clone(&output)).await,
            (None, Some(url)) if self.channels.are_asked_for() => {
                channels::talk(self, url, typed, Arc::clone(&output)).await
            }
            (None, Some(url)) => connection::talk(self, url, typed, Arc::clone(&output)).await,
            (None, None) => Err(Failure::usage("expected a URL, --listen or --bridge")),
        };
        output.finish();
        drop(terminal);
        ended
    }
}
