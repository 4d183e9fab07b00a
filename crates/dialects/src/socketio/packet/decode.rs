//! Decodes packets of Socket.IO, and reassembles packets with attachments.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Invalid, Kind, MAIN, MAX_ATTACHMENTS, MAX_NAMESPACE, Packet};

/// The largest integer that JavaScript represents exactly.
const MAX_ACK: u64 = (1 << 53) - 1;

/// Decodes the packets of one connection.
#[derive(Debug)]
pub struct Decoder {
    /// A packet whose attachments are incomplete, and how many are missing.
    unfinished: Option<(Packet, usize)>,
    /// The bytes of the incomplete packet.
    held: usize,
    limit: usize,
}

impl Decoder {
    /// A decoder for packets of at most `limit` bytes, including attachments.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            unfinished: None,
            held: 0,
            limit,
        }
    }

    /// The bytes of an incomplete packet.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Decodes the text of a packet; none if attachments have to follow.
    ///
    /// # Errors
    /// If the text is not a packet, or if an attachment was expected.
    pub fn text(&mut self, text: &str) -> Result<Option<Packet>, Invalid> {
        if self.unfinished.is_some() {
            return Err(Invalid("expected an attachment, received text"));
        }
        let (packet, attachments) = read(text)?;
        if attachments == 0 {
            return Ok(Some(packet));
        }
        self.held = text.len();
        self.unfinished = Some((packet, attachments));
        Ok(None)
    }

    /// Adds an attachment. Returns the packet if it was the last one.
    ///
    /// # Errors
    /// If no attachment was expected, or the packet becomes too large.
    pub fn binary(&mut self, bytes: &[u8]) -> Result<Option<Packet>, Invalid> {
        let Some((packet, left)) = &mut self.unfinished else {
            return Err(Invalid("received an attachment that belongs to no packet"));
        };
        self.held = self.held.saturating_add(bytes.len());
        if self.held > self.limit {
            self.clear();
            return Err(Invalid("the packet is too large with its attachments"));
        }
        packet.attachments.push(Bytes::copy_from_slice(bytes));
        *left = left.saturating_sub(1);
        if *left > 0 {
            return Ok(None);
        }
        let packet = self.unfinished.take().map(|(packet, _)| packet);
        self.clear();
        Ok(packet)
    }

    /// Discards an incomplete packet.
    pub fn clear(&mut self) {
        self.unfinished = None;
        self.held = 0;
    }
}

/// Decodes a packet and the number of attachments that follow.
fn read(text: &str) -> Result<(Packet, usize), Invalid> {
    let mut chars = text.chars();
    let (kind, is_binary) = match chars.next() {
        Some('0') => (Kind::Connect, false),
        Some('1') => (Kind::Disconnect, false),
        Some('2') => (Kind::Event, false),
        Some('3') => (Kind::Ack, false),
        Some('4') => (Kind::ConnectError, false),
        Some('5') => (Kind::Event, true),
        Some('6') => (Kind::Ack, true),
        _ => return Err(Invalid("not a packet of Socket.IO")),
    };
    let rest = chars.as_str();
    let (attachments, rest) = match is_binary {
        true => attachments(rest)?,
        false => (0, rest),
    };
    let (namespace, rest) = namespace(rest)?;
    let (ack, rest) = ack(rest)?;
    let json = payload(kind, rest)?;
    if kind == Kind::Ack && ack.is_none() {
        return Err(Invalid("an acknowledgement has no number"));
    }
    let packet = Packet {
        kind,
        namespace: namespace.into(),
        ack,
        json: json.into(),
        attachments: Vec::new(),
    };
    Ok((packet, attachments))
}

/// The number of attachments: `2-` before the namespace.
fn attachments(text: &str) -> Result<(usize, &str), Invalid> {
    let (digits, rest) = text
        .split_once('-')
        .ok_or(Invalid("a binary packet does not say how many attachments"))?;
    let count = number(digits).and_then(|count| usize::try_from(count).ok());
    match count {
        Some(count) if count <= MAX_ATTACHMENTS => Ok((count, rest)),
        Some(_) => Err(Invalid("the packet has more than 8 attachments")),
        None => Err(Invalid("a binary packet does not say how many attachments")),
    }
}

/// The namespace: `/name,` or nothing. The comma is absent if nothing follows.
fn namespace(text: &str) -> Result<(&str, &str), Invalid> {
    if !text.starts_with('/') {
        return Ok((MAIN, text));
    }
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    // Some clients append a query, which is not part of the name.
    let name = name.split_once('?').map_or(name, |(name, _)| name);
    if name.len() > MAX_NAMESPACE || name.chars().any(char::is_control) {
        return Err(Invalid(
            "a namespace is longer than 200 bytes or has a control character",
        ));
    }
    Ok((name, rest))
}

fn ack(text: &str) -> Result<(Option<u64>, &str), Invalid> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match number(digits) {
        Some(ack) if ack <= MAX_ACK => Ok((Some(ack), rest)),
        _ => Err(Invalid("the number of an acknowledgement is too large")),
    }
}

/// Parses digits only: `parse` alone would accept a sign.
fn number(digits: &str) -> Option<u64> {
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().ok())?
}

/// The payload, if it is valid for this type of packet; empty if there is none.
fn payload(kind: Kind, text: &str) -> Result<&str, Invalid> {
    let json = match text {
        "" => "",
        text => serde_json::from_str::<&RawValue>(text)
            .map_err(|_| Invalid("the payload of a packet is not JSON"))?
            .get(),
    };
    let is_right = match kind {
        Kind::Connect => json.is_empty() || json.starts_with('{'),
        Kind::Disconnect => json.is_empty(),
        Kind::Event => json.starts_with('[') && is_named(json),
        Kind::Ack => json.starts_with('['),
        Kind::ConnectError => json.starts_with(['{', '"']),
    };
    match is_right {
        true => Ok(json),
        false => Err(Invalid("the payload is not valid for this type of packet")),
    }
}

/// Whether an array begins with the name of an event, which is a string or a number.
fn is_named(array: &str) -> bool {
    let first = array.strip_prefix('[').unwrap_or_default().trim_start();
    first.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}
