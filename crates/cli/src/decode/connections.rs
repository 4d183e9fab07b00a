//! Finds the WebSockets among the connections of a capture.

use std::borrow::Cow;

use super::capture::tls::{self, KeyLog, Sealed, Session};
use super::capture::{Chunk, Stream};
use crate::explain::{Conversation, Header, Piece, Side};

/// Bytes of one side, with their time.
pub(super) struct Data<'a> {
    pub(super) side: Side,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) bytes: Cow<'a, [u8]>,
}

/// The protocol that a TCP connection carries.
pub(super) enum Carried<'a> {
    /// A WebSocket.
    WebSocket { data: Vec<Data<'a>>, is_tls: bool },
    /// Something else, described in words.
    Other(String),
}

/// Determines what a connection carries, and decrypts it if there are keys.
pub(super) fn carried<'a>(stream: &Stream<'a>, keys: &KeyLog) -> Carried<'a> {
    let Some(first) = first_of(&stream.chunks, Side::Client).or(stream.chunks.first()) else {
        return Carried::Other("no data".to_owned());
    };
    let is_tls = tls::is_it(first.bytes);
    let data = if is_tls {
        match decrypted(&stream.chunks, keys) {
            Ok(data) => data,
            Err(sealed) => return Carried::Other(sealed.to_string()),
        }
    } else {
        stream.chunks.iter().map(Data::from).collect()
    };
    match why_not(&data) {
        None => Carried::WebSocket { data, is_tls },
        Some(other) if is_tls => Carried::Other(format!("TLS with {other}")),
        Some(other) => Carried::Other(other.to_owned()),
    }
}

impl<'a> From<&Chunk<'a>> for Data<'a> {
    fn from(chunk: &Chunk<'a>) -> Self {
        Self {
            side: chunk.side,
            time: chunk.time,
            bytes: Cow::Borrowed(chunk.bytes),
        }
    }
}

fn first_of<'s, 'a>(chunks: &'s [Chunk<'a>], side: Side) -> Option<&'s Chunk<'a>> {
    chunks.iter().find(|chunk| chunk.side == side)
}

fn decrypted<'a>(chunks: &[Chunk<'a>], keys: &KeyLog) -> Result<Vec<Data<'a>>, Sealed> {
    let mut session = Session::new(keys);
    let mut data = Vec::new();
    for chunk in chunks {
        match session.take(chunk.side, chunk.bytes) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => data.push(Data {
                side: chunk.side,
                time: chunk.time,
                bytes: Cow::Owned(bytes),
            }),
            // Data decrypted before the error is still shown.
            Err(_) if !data.is_empty() => break,
            Err(sealed) => return Err(sealed),
        }
    }
    Ok(data)
}

/// How many bytes at the start are examined. 16 KiB: servers reject longer heads.
const LOOKED_AT: usize = 16 << 10;

/// What the data is if it is not a WebSocket.
fn why_not(data: &[Data<'_>]) -> Option<&'static str> {
    let client = beginning(data, Side::Client);
    let server = beginning(data, Side::Server);
    if client.is_empty() && server.is_empty() {
        return Some("no data");
    }
    if client.starts_with(b"PRI * HTTP/2") {
        return Some("HTTP/2; WebSockets over HTTP/1.1 can be shown");
    }
    if client.starts_with(b"CONNECT ") {
        return Some("a connection to a proxy");
    }
    if client.starts_with(b"GET ") {
        let head = String::from_utf8_lossy(&client).to_ascii_lowercase();
        let head = head.split("\r\n\r\n").next().unwrap_or_default();
        return (!head.contains("\r\nsec-websocket-key:")).then_some("HTTP without an upgrade");
    }
    if server.starts_with(b"HTTP/1.1 101") {
        return None;
    }
    let is_plausible = |side, bytes: &[u8]| bytes.is_empty() || begins_with_a_frame(side, bytes);
    // Without the handshake, frames are accepted if both directions start with a plausible one.
    let is_frames = is_plausible(Side::Client, &client) && is_plausible(Side::Server, &server);
    (!is_frames).then_some("no HTTP and no WebSocket frames")
}

fn beginning(data: &[Data<'_>], side: Side) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in data.iter().filter(|part| part.side == side) {
        let room = LOOKED_AT - bytes.len();
        bytes.extend_from_slice(part.bytes.get(..room).unwrap_or(&part.bytes));
        if bytes.len() >= LOOKED_AT {
            break;
        }
    }
    bytes
}

fn begins_with_a_frame(side: Side, bytes: &[u8]) -> bool {
    let Some(header) = Header::read(bytes) else {
        return false;
    };
    let is_masked_rightly = header.mask.is_some() == (side == Side::Client);
    let mut conversation = Conversation::new();
    let pieces = conversation.take(side, bytes);
    let is_sound = |piece: &Piece| match piece {
        Piece::Frame(frame) => frame.broken.is_empty(),
        Piece::Head(..) | Piece::Rest(..) => true,
    };
    is_masked_rightly && header.broken().is_none() && pieces.iter().all(is_sound)
}
