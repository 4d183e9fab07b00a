//! WebTransport over HTTP/3 (draft-ietf-webtrans-http3): the signals at the beginning of its streams,
//! the prefix of its datagrams, and the capsules with which sessions end (RFC 9297 §3.2).

use crate::{Code, Error, varint};

/// The `:protocol` of a CONNECT request that opens a session.
pub const PROTOCOL: &str = "webtransport";

/// The beginning of a bidirectional stream, which the id of its session follows.
pub const BIDIRECTIONAL: u64 = 0x41;

/// The type of a unidirectional stream, which the id of its session follows.
pub const UNIDIRECTIONAL: u64 = 0x54;

/// The capsule `CLOSE_WEBTRANSPORT_SESSION`.
const CLOSE: u64 = 0x2843;

/// The longest reason of a close in bytes (§5).
pub const MAX_REASON: usize = 1024;

/// Writes the beginning of a unidirectional stream of a session.
#[must_use]
pub fn unidirectional(session: u64) -> Vec<u8> {
    signal(UNIDIRECTIONAL, session)
}

/// Writes the beginning of a bidirectional stream of a session.
#[must_use]
pub fn bidirectional(session: u64) -> Vec<u8> {
    signal(BIDIRECTIONAL, session)
}

fn signal(kind: u64, session: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::write(kind, &mut out);
    varint::write(session, &mut out);
    out
}

/// Writes the prefix of a session's datagrams: a quarter of its id (RFC 9297 §2.1).
#[must_use]
pub fn datagram_prefix(session: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::write(session >> 2, &mut out);
    out
}

/// The session of a datagram, and its content.
///
/// # Errors
/// The datagram has no prefix, or names no stream.
pub fn read_datagram(mut bytes: &[u8]) -> Result<(u64, &[u8]), Error> {
    let wrong = Error::new(Code::DATAGRAM_ERROR, "a datagram belongs to no stream");
    let quarter = varint::read(&mut bytes).ok_or_else(|| wrong.clone())?;
    // RFC 9297 §2.1: larger ones correspond to no stream id.
    let session = quarter.checked_mul(4).filter(|id| *id <= varint::MAX);
    Ok((session.ok_or(wrong)?, bytes))
}

/// Writes the capsule that ends a session. A longer reason is cut.
#[must_use]
pub fn close(code: u32, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let reason = reason.get(..end).unwrap_or_default();
    let mut out = Vec::new();
    varint::write(CLOSE, &mut out);
    varint::write(reason.len().saturating_add(4) as u64, &mut out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
    out
}

/// The code and the reason with which a peer has ended a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// The peer's code.
    pub code: u32,
    /// The peer's reason.
    pub reason: String,
}

/// Reads the capsules of a session. Unknown ones are skipped (RFC 9297 §3.2).
#[derive(Debug, Default)]
pub struct Capsules {
    unread: Vec<u8>,
    /// Bytes of an unknown capsule that are still to arrive.
    skipped: u64,
}

impl Capsules {
    /// Passes content of the session's CONNECT stream. Returns how the peer has ended the session, if
    /// it has.
    ///
    /// # Errors
    /// A close capsule that is too short, too long, or whose reason is not UTF-8.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Closed>, Error> {
        self.unread.extend_from_slice(bytes);
        let unread = std::mem::take(&mut self.unread);
        let mut rest = unread.as_slice();
        loop {
            let skipped = usize::try_from(self.skipped).unwrap_or(usize::MAX);
            let skipped = skipped.min(rest.len());
            self.skipped = self.skipped.saturating_sub(skipped as u64);
            rest = rest.get(skipped..).unwrap_or_default();
            let mut content = rest;
            let (Some(kind), Some(length)) =
                (varint::read(&mut content), varint::read(&mut content))
            else {
                break;
            };
            if kind == CLOSE {
                let closed = closed(length, content)?;
                if closed.is_some() {
                    return Ok(closed);
                }
                break;
            }
            self.skipped = length;
            rest = content;
        }
        self.unread = rest.to_vec();
        Ok(None)
    }
}

/// Reads the content of a close capsule; none if it is not complete.
fn closed(length: u64, content: &[u8]) -> Result<Option<Closed>, Error> {
    let wrong = |detail| Error::new(Code::MESSAGE_ERROR, detail);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !(4..=MAX_REASON.saturating_add(4)).contains(&length) {
        return Err(wrong("a close capsule has an impossible length"));
    }
    let Some((code, reason)) = content
        .get(..length)
        .and_then(<[u8]>::split_first_chunk::<4>)
    else {
        return Ok(None);
    };
    let reason = String::from_utf8(reason.to_vec());
    Ok(Some(Closed {
        code: u32::from_be_bytes(*code),
        reason: reason.map_err(|_| wrong("the reason of a close capsule is not UTF-8"))?,
    }))
}
