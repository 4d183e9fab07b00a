//! Input of the command: a capture, a hex dump, or raw bytes, and how they are recognised.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    path::Path,
};

use super::Format;
use super::capture::{self, Unreadable};
use super::{dump, follow};
use crate::explain::Header;
use crate::{failure::Failure, screen};

/// The largest file. 256 MiB: it is read into memory, and holds more frames than a person can read.
const LONGEST: u64 = 256 << 20;

/// A file with its recognised format.
#[derive(Debug)]
pub(super) enum Input {
    /// pcap or pcapng.
    Capture(Vec<u8>),
    /// Bytes of one or both directions.
    Runs(Vec<dump::Run>),
}

/// Reads a file, or stdin for `-`.
pub(super) fn read(path: &Path, format: Option<Format>) -> Result<Input, Failure> {
    let name = name(path);
    let bytes =
        bytes(path).map_err(|error| Failure::Failed(format!("{name} cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST {
        let why = format!("{name} is longer than {LONGEST} bytes");
        let cut = "cut it first: `editcap -c 100000 IN OUT`, or `tshark -Y websocket -w OUT`";
        return Err(Failure::Failed(why).hint(cut));
    }
    match format {
        Some(Format::Raw) => Ok(raw(bytes)),
        Some(Format::Hex) => hex(&name, &bytes),
        Some(Format::Capture) => capture(&name, bytes),
        None => find_out(&name, bytes),
    }
}

fn find_out(name: &str, bytes: Vec<u8>) -> Result<Input, Failure> {
    match capture::read(&bytes) {
        Ok(_) => return Ok(Input::Capture(bytes)),
        Err(Unreadable::Fault(why)) => {
            return Err(Failure::usage(format!("{name} cannot be decoded: {why}")));
        }
        Err(Unreadable::Other) => {}
    }
    if follow::read(&bytes).is_some() {
        return hex(name, &bytes);
    }
    if dump::is_likely(&bytes) {
        return hex(name, &bytes);
    }
    if is_likely_raw(&bytes) {
        return Ok(raw(bytes));
    }
    let what = if bytes.is_empty() {
        format!("{name} is empty")
    } else {
        format!("{name} contains no recognisable WebSocket traffic")
    };
    Err(Failure::usage(what).hint(EXPECTED))
}

const EXPECTED: &str = "\
expected one of: a capture (pcap, pcapng); a hex dump (digits, xxd, hexdump -C, or Wireshark's and
tshark's \"follow\" as raw or hex); or raw bytes that begin with an HTTP head or a frame
--format raw reads any bytes as frames";

/// Whether the bytes start with an HTTP head, or with a valid frame.
fn is_likely_raw(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"GET ") || bytes.starts_with(b"HTTP/") {
        return true;
    }
    Header::read(bytes).is_some_and(|header| {
        let is_known = matches!(header.opcode, 0..=2 | 8..=10);
        // RSV1 may indicate compression; the others are unused.
        is_known && header.rsv & 3 == 0 && header.broken().is_none()
    })
}

fn raw(bytes: Vec<u8>) -> Input {
    Input::Runs(vec![dump::Run {
        is_other_side: false,
        bytes,
    }])
}

fn hex(name: &str, bytes: &[u8]) -> Result<Input, Failure> {
    let body = match follow::read(bytes) {
        Some(follow::Followed::Lossy(form)) => {
            let why = format!("{name}: a stream followed as {form} has lost bytes");
            return Err(Failure::usage(why).hint("follow it as raw: `tshark -z follow,tcp,raw,0`"));
        }
        Some(follow::Followed::Bytes(body)) => Some(body),
        None => None,
    };
    let runs = dump::read(body.as_deref().unwrap_or(bytes)).map_err(|error| {
        Failure::usage(format!("{name}:{error}")).hint("raw bytes are read with --format raw")
    })?;
    Ok(Input::Runs(runs))
}

fn capture(name: &str, bytes: Vec<u8>) -> Result<Input, Failure> {
    match capture::read(&bytes) {
        Ok(_) => Ok(Input::Capture(bytes)),
        Err(Unreadable::Fault(why)) => Err(Failure::usage(format!("{name}: {why}"))),
        Err(Unreadable::Other) => Err(Failure::usage(format!("{name} is neither pcap nor pcapng"))),
    }
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            screen::tell(
                "reading from the terminal; Ctrl-D ends the input, --help shows other ways",
            );
        }
        io::stdin()
            .lock()
            .take(LONGEST + 1)
            .read_to_end(&mut bytes)?;
    } else {
        File::open(path)?
            .take(LONGEST + 1)
            .read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") {
        return "stdin".to_owned();
    }
    path.display().to_string()
}
