//! `offhook decode`: what captured bytes mean.

mod dump;

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::explain::page::Amount;
use crate::explain::{Conversation, Piece, Side, json, page};
use crate::{failure::Failure, screen};

/// Explain captured WebSocket bytes, frame by frame.
///
/// Takes the bytes of one direction or of two, with the HTTP head or without, as they are (raw) or as a
/// hex dump: plain digits, `xxd`, `hexdump -C`, or Wireshark's "Follow TCP stream, Hex Dump", in which
/// both directions stand. Shows every header bit, the payload unmasked and inflated, and each rule
/// that is broken with its section of the RFC.
///
/// Who sent the bytes is seen from the head, or else from the first frame's mask. Compression is
/// taken from the server's answer; where that is missing, what is marked as compressed is tried.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Decode {
    /// One file, or two: one for each direction; none or `-`: stdin
    #[arg(value_name = "FILE", num_args = 0..=2)]
    files: Vec<PathBuf>,
    /// Who sent the bytes of the first file
    #[arg(long, value_enum, value_name = "WHO")]
    from: Option<Who>,
    /// How the bytes are written down; by default that is found out
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Show payloads to their end
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
  offhook decode --json follow.txt | jq 'select(.broken != [])'

Exit codes: 0 nothing is wrong, 1 a rule is broken or the file can't be read, 2 it is no hex dump.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The bytes themselves
    Raw,
    /// Digits
    Hex,
}

/// Bytes, in the order in which they were written down.
#[derive(Debug)]
struct Chunk {
    side: Side,
    bytes: Vec<u8>,
}

/// Larger captures are cut up first: nobody reads that many frames.
const LONGEST: u64 = 256 << 20;

impl Decode {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let chunks = self.chunks()?;
        let mut conversation = Conversation::new();
        let mut broken = 0;
        for Chunk { side, bytes } in &chunks {
            broken += self.print(conversation.take(*side, bytes))?;
        }
        broken += self.print(conversation.finish())?;
        match broken {
            0 => Ok(()),
            1 => Err(Failure::Failed("a rule is broken".to_owned())),
            count => Err(Failure::Failed(format!("{count} rules are broken"))),
        }
    }

    /// How many rules are broken in what was printed.
    fn print(&self, pieces: Vec<Piece>) -> Result<usize, Failure> {
        let amount = if self.full {
            Amount::Everything
        } else {
            Amount::Some
        };
        let mut broken = 0;
        for piece in pieces {
            let text = if self.json {
                json::text(&piece)
            } else {
                page::text(&piece, amount) + "\n"
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

    fn chunks(&self) -> Result<Vec<Chunk>, Failure> {
        let stdin = PathBuf::from("-");
        let first = self.read(self.files.first().unwrap_or(&stdin))?;
        let Some(second) = self.files.get(1) else {
            return Ok(self.sides(first));
        };
        let first = plain(first);
        let second = plain(self.read(second)?);
        let side = self.first_side(&first);
        Ok(in_turn(side, first, second))
    }

    fn read(&self, path: &Path) -> Result<Vec<dump::Run>, Failure> {
        let bytes = read(path)
            .map_err(|error| Failure::Failed(format!("{} can't be read: {error}", name(path))))?;
        let is_hex = match self.format {
            Some(format) => format == Format::Hex,
            None => dump::is_likely(&bytes),
        };
        if !is_hex {
            return Ok(vec![dump::Run {
                is_other_side: false,
                bytes,
            }]);
        }
        dump::read(&bytes).map_err(|error| {
            Failure::usage(format!("{}:{error}", name(path)))
                .hint("raw bytes are read with --format raw")
        })
    }

    /// One file's bytes; a hex dump of Wireshark's has both directions.
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

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            screen::tell("reading what is typed; Ctrl-D ends it, --help shows other ways");
        }
        io::stdin().lock().take(LONGEST).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn name(path: &Path) -> String {
    if path == Path::new("-") {
        return "stdin".to_owned();
    }
    path.display().to_string()
}

fn plain(runs: Vec<dump::Run>) -> Vec<u8> {
    runs.into_iter().flat_map(|run| run.bytes).collect()
}

/// Both heads first: what the frames of either side mean is agreed on in them.
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
