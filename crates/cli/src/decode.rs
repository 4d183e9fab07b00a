//! `offhook decode`: explains captured bytes.

mod capture;
mod connections;
mod dump;
mod follow;
mod input;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use self::capture::tls::KeyLog;
use self::connections::{Carried, carried};
use self::input::Input;
use crate::explain::page::Amount;
use crate::explain::{Conversation, Piece, Place, Side, json, page};
use crate::screen::{BOLD, DIM};
use crate::{failure::Failure, screen};

/// Explain captured WebSocket traffic, frame by frame.
///
/// Accepts a capture (pcap or pcapng, from tcpdump, Wireshark or tshark), a hex dump (digits,
/// `xxd`, `hexdump -C`, Wireshark's or tshark's "follow" as hex or raw), or the raw bytes of one
/// direction. Shows every header bit, the payload unmasked and inflated, and each violated rule
/// with its section of the RFC.
///
/// In a capture, each TCP connection with a WebSocket is shown separately. TLS is decrypted with a
/// key log: run the client or the server with SSLKEYLOGFILE=keys.txt, and pass --key-log keys.txt.
///
/// For other input, the sender is recognised by the HTTP head or by the mask of the first frame.
/// Compression is taken from the server's answer; if that is missing, messages marked as compressed
/// are inflated tentatively.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Decode {
    /// One file, or two files with one direction each; none or `-` reads stdin
    #[arg(value_name = "FILE", num_args = 0..=2)]
    files: Vec<PathBuf>,
    /// Who sent the bytes of the first file
    #[arg(long, value_enum, value_name = "WHO")]
    from: Option<Who>,
    /// The format of the file; recognised by default
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// The secrets of TLS connections, as SSLKEYLOGFILE writes them
    #[arg(long, value_name = "FILE")]
    key_log: Option<PathBuf>,
    /// Show only this connection of a capture, by its number
    #[arg(long, value_name = "N")]
    connection: Option<usize>,
    /// Show payloads in full
    #[arg(long)]
    full: bool,
    /// One line of JSON for each frame, for programs
    #[arg(long, conflicts_with = "full")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  echo '81 85 37 fa 21 3d 7f 9f 4d 51 58' | offhook decode
  offhook decode capture.bin                     raw bytes, one direction
  offhook decode from-client.bin from-server.bin
  offhook decode capture.pcapng --key-log keys.txt
  tcpdump -i lo -w - -U 'tcp port 8000' | offhook decode
  offhook decode --json follow.txt | jq 'select(.broken != [])'

Exit codes: 0 nothing is wrong, 1 a rule is broken or the file can't be read, 2 the file holds no
traffic that can be recognised.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Raw bytes
    Raw,
    /// A hex dump, or the output of tshark's "follow" as hex or raw
    Hex,
    /// pcap or pcapng
    Capture,
}

/// Bytes of one side, in file order.
#[derive(Debug)]
struct Chunk {
    side: Side,
    bytes: Vec<u8>,
}

impl Decode {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let stdin = PathBuf::from("-");
        let path = self.files.first().unwrap_or(&stdin);
        let first = input::read(path, self.format)?;
        let broken = match (first, self.files.get(1)) {
            (Input::Capture(file), None) => self.capture(path, &file)?,
            (Input::Runs(first), None) => self.chunks(&self.sides(first))?,
            (Input::Runs(first), Some(second)) => {
                let Input::Runs(second) = input::read(second, self.format)? else {
                    return Err(two_captures());
                };
                let (first, second) = (plain(first), plain(second));
                let side = self.first_side(&first);
                self.chunks(&in_turn(side, first, second))?
            }
            (Input::Capture(_), Some(_)) => return Err(two_captures()),
        };
        match broken {
            0 => Ok(()),
            1 => Err(Failure::Failed("a rule is broken".to_owned())),
            count => Err(Failure::Failed(format!("{count} rules are broken"))),
        }
    }

    /// Prints these bytes and returns the number of violated rules.
    fn chunks(&self, chunks: &[Chunk]) -> Result<usize, Failure> {
        let mut conversation = Conversation::new();
        let mut broken = 0;
        let place = Place::default();
        for Chunk { side, bytes } in chunks {
            broken += self.print(conversation.take(*side, bytes), place)?;
        }
        Ok(broken + self.print(conversation.finish(), place)?)
    }

    /// Prints the WebSockets in a capture and returns the number of violated rules.
    fn capture(&self, path: &Path, file: &[u8]) -> Result<usize, Failure> {
        let unreadable = |_| Failure::Failed(format!("{} cannot be read", input::name(path)));
        let capture = capture::read(file).map_err(unreadable)?;
        let mut keys = KeyLog::default();
        for secrets in &capture.secrets {
            keys.read(secrets);
        }
        if let Some(path) = &self.key_log {
            read_key_log(&mut keys, path)?;
        }
        let found = capture.streams();
        for note in &found.notes {
            screen::tell(&format!("note: {note}"));
        }
        let start = found.streams.first().map_or(0, |stream| stream.start);
        let (mut broken, mut shown) = (0, 0);
        let mut others = Vec::new();
        for (number, stream) in (1..).zip(&found.streams) {
            let (client, server) = (stream.client, stream.server);
            if self.connection.is_some_and(|only| only != number) {
                continue;
            }
            match carried(stream, &keys) {
                Carried::WebSocket { data, is_tls } => {
                    shown += 1;
                    let place = Place {
                        connection: Some(number),
                        time: None,
                    };
                    let tls = if is_tls { ", TLS" } else { "" };
                    self.title(number, &format!("{client} → {server}{tls}"))?;
                    broken += self.stream(&data, place, start)?;
                    for note in &stream.notes {
                        screen::tell(&format!("note: connection {number}: {note}"));
                    }
                }
                Carried::Other(what) => {
                    others.push(format!("connection {number}, {client} → {server}: {what}"));
                }
            }
        }
        report_others(shown, &others, found.streams.len())?;
        Ok(broken)
    }

    fn stream(
        &self,
        data: &[connections::Data<'_>],
        place: Place,
        start: u64,
    ) -> Result<usize, Failure> {
        let mut conversation = Conversation::new();
        let mut broken = 0;
        for part in data {
            let since = part.time.saturating_sub(start);
            let place = Place {
                time: Some(std::time::Duration::from_nanos(since)),
                ..place
            };
            broken += self.print(conversation.take(part.side, &part.bytes), place)?;
        }
        Ok(broken + self.print(conversation.finish(), place)?)
    }

    fn title(&self, number: usize, addresses: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        let line = format!("{BOLD}connection {number}{BOLD:#}  {DIM}{addresses}{DIM:#}\n\n");
        Ok(screen::print(&line)?)
    }

    /// Prints pieces and returns the number of violated rules.
    fn print(&self, pieces: Vec<Piece>, place: Place) -> Result<usize, Failure> {
        let amount = if self.full {
            Amount::Everything
        } else {
            Amount::Some
        };
        let mut broken = 0;
        for piece in pieces {
            let text = if self.json {
                json::text(&piece, place)
            } else {
                page::text(&piece, amount, place) + "\n"
            };
            screen::print(&text)?;
            broken += match &piece {
                Piece::Head(_, head) => head.broken.len(),
                Piece::Frame(frame) => frame.broken.len(),
                Piece::Rest(..) => 0,
            };
        }
        Ok(broken)
    }

    /// The bytes of one file; Wireshark's hex dumps contain both directions.
    fn sides(&self, runs: Vec<dump::Run>) -> Vec<Chunk> {
        let Some(first) = runs.first() else {
            return Vec::new();
        };
        let side = self.first_side(&first.bytes);
        let side = if first.is_other_side {
            side.other()
        } else {
            side
        };
        let chunk = |dump::Run {
                         is_other_side,
                         bytes,
                     }| Chunk {
            side: if is_other_side { side.other() } else { side },
            bytes,
        };
        runs.into_iter().map(chunk).collect()
    }

    fn first_side(&self, bytes: &[u8]) -> Side {
        match self.from {
            Some(Who::Client) => Side::Client,
            Some(Who::Server) => Side::Server,
            None => Side::of(bytes),
        }
    }
}

fn two_captures() -> Failure {
    Failure::usage("a capture has both directions: expected it alone")
}

fn read_key_log(keys: &mut KeyLog, path: &Path) -> Result<(), Failure> {
    let name = path.display();
    let text = std::fs::read(path)
        .map_err(|error| Failure::Failed(format!("{name} cannot be read: {error}")))?;
    if keys.read(&text) == 0 {
        return Err(Failure::usage(format!(
            "{name} has no secrets: expected lines as SSLKEYLOGFILE writes them, such as \
             CLIENT_TRAFFIC_SECRET_0 …"
        )));
    }
    Ok(())
}

/// How many connections without a WebSocket are listed: a screen.
const LISTED: usize = 20;

fn report_others(shown: usize, others: &[String], all: usize) -> Result<(), Failure> {
    let listed = others.get(..LISTED).unwrap_or(others);
    let more = match others.len() - listed.len() {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    if shown > 0 {
        for other in listed {
            screen::tell(&format!("left out: {other}"));
        }
        if !more.is_empty() {
            screen::tell(more.trim());
        }
        return Ok(());
    }
    let failure = match all {
        0 => Failure::Failed("the capture has no TCP connection".to_owned()),
        all => Failure::Failed(format!("no WebSocket among {all} TCP connections")),
    };
    Err(failure.hint(listed.join("\n") + &more))
}

fn plain(runs: Vec<dump::Run>) -> Vec<u8> {
    runs.into_iter().flat_map(|run| run.bytes).collect()
}

/// Both heads first: they determine what the frames of either side mean.
fn in_turn(side: Side, first: Vec<u8>, second: Vec<u8>) -> Vec<Chunk> {
    let (client, server) = match side {
        Side::Client => (first, second),
        Side::Server => (second, first),
    };
    let head = |bytes: &[u8]| {
        let is_head = bytes.starts_with(b"GET ") || bytes.starts_with(b"HTTP/");
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        end.filter(|_| is_head).map_or(0, |at| at + 4)
    };
    let (of_client, of_server) = (head(&client), head(&server));
    let chunk = |side, bytes: &[u8]| Chunk {
        side,
        bytes: bytes.to_vec(),
    };
    vec![
        chunk(Side::Client, &client[..of_client]),
        chunk(Side::Server, &server[..of_server]),
        chunk(Side::Client, &client[of_client..]),
        chunk(Side::Server, &server[of_server..]),
    ]
}
