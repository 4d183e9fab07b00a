//! Splits a server's bytes into units.

use std::str;

use anyhow::{Context as _, Result, ensure};

/// The length limit of a line.
const LONGEST_LINE: usize = 4096;

/// How a protocol delimits its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Frames of RFC 6455 §5.2, from a server.
    WebSocket,
    /// Lines; `MSG` and `HMSG` are followed by the number of bytes that they announce.
    Nats,
    /// MQTT packets: a type, a length in groups of seven bits, a body.
    Mqtt,
    /// An HTTP response with server-sent events. The units are its head and the events; the marks of
    /// chunks are part of the units around them.
    Events,
    /// HTTP responses, each with the length of its body.
    Responses,
}

/// One unit: a frame, a line, a packet, an event or a response.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// The first byte of a frame or packet, a NATS line or status line without its end.
    pub head: &'a [u8],
    /// The payload.
    pub body: &'a [u8],
    /// The number of bytes up to the next unit.
    pub length: usize,
}

impl Unit<'_> {
    /// A unit without content, for the end of the opening handshake.
    pub const EMPTY: Unit<'static> = Unit {
        head: &[],
        body: &[],
        length: 0,
    };
}

impl Framing {
    /// The unit at the start of `bytes`, if it is complete.
    pub fn next(self, bytes: &[u8]) -> Result<Option<Unit<'_>>> {
        match self {
            Self::WebSocket => websocket(bytes),
            Self::Nats => nats(bytes),
            Self::Mqtt => mqtt(bytes),
            Self::Events => Ok(events(bytes)),
            Self::Responses => response(bytes),
        }
    }
}

fn websocket(bytes: &[u8]) -> Result<Option<Unit<'_>>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    ensure!(
        first & 0x70 == 0 && second & 0x80 == 0,
        "a masked frame, or a reserved bit (RFC 6455 §5.2)"
    );
    let (start, size) = match (second, rest) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let size = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (10, usize::try_from(size)?)
        }
        (126 | 127, _) => return Ok(None),
        (size, _) => (2, usize::from(*size)),
    };
    Ok(unit(bytes, 1, start, size, 0))
}

fn nats(bytes: &[u8]) -> Result<Option<Unit<'_>>> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        ensure!(
            bytes.len() < LONGEST_LINE,
            "a line longer than {LONGEST_LINE} bytes"
        );
        return Ok(None);
    };
    let line = bytes[..end]
        .strip_suffix(b"\r")
        .context("a bare line feed")?;
    if !line.starts_with(b"MSG ") && !line.starts_with(b"HMSG ") {
        return Ok(unit(bytes, line.len(), end + 1, 0, 0));
    }
    let size = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let size = str::from_utf8(size)?.parse()?;
    Ok(unit(bytes, line.len(), end + 1, size, 2))
}

fn mqtt(bytes: &[u8]) -> Result<Option<Unit<'_>>> {
    let mut size = 0;
    for (place, byte) in bytes.iter().skip(1).enumerate() {
        // MQTT 3.1.1 §2.2.3: at most four bytes, the least significant group first.
        ensure!(place < 4, "a length of more than four bytes");
        size |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(unit(bytes, 1, place + 2, size, 0));
        }
    }
    Ok(None)
}

/// An event ends with an empty line; so do the response's head and its last chunk, where lines end
/// with CR LF.
fn events(bytes: &[u8]) -> Option<Unit<'_>> {
    memchr::memchr_iter(b'\n', bytes).find_map(|end| {
        let body = &bytes[..=end];
        let is_last = body.ends_with(b"\n\n") || body.ends_with(b"\r\n\r\n");
        is_last.then_some(Unit {
            head: &[],
            body,
            length: body.len(),
        })
    })
}

fn response(bytes: &[u8]) -> Result<Option<Unit<'_>>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        ensure!(
            bytes.len() < LONGEST_LINE,
            "a response's head longer than {LONGEST_LINE} bytes"
        );
        return Ok(None);
    };
    let mut lines = str::from_utf8(&bytes[..end])?.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let size = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then_some(value.trim())
    });
    let size = size.context("a response without content-length")?.parse()?;
    Ok(unit(bytes, status.len(), end + 4, size, 0))
}

fn unit(bytes: &[u8], head: usize, start: usize, size: usize, after: usize) -> Option<Unit<'_>> {
    let length = start.checked_add(size)?.checked_add(after)?;
    bytes.get(..length).map(|_| Unit {
        head: &bytes[..head],
        body: &bytes[start..start + size],
        length,
    })
}
