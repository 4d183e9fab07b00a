//! Packets of Engine.IO, and the records of a polling payload.

use data_encoding::BASE64;

use super::Invalid;

/// Separates the records of a polling payload.
pub const SEPARATOR: char = '\u{1e}';

/// A text packet of Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine<'a> {
    /// The server's greeting, as JSON.
    Open(&'a str),
    /// The sender ends the connection.
    Close,
    /// Requests a pong with the same text.
    Ping(&'a str),
    /// Answers a ping.
    Pong(&'a str),
    /// A message of the application.
    Message(&'a str),
    /// The client switches to the transport over which this packet is sent.
    Upgrade,
    /// No content; ends a poll.
    Noop,
}

impl<'a> Engine<'a> {
    /// Decodes a text packet.
    ///
    /// # Errors
    /// If it has no valid type, or text that its type does not allow.
    pub fn read(text: &'a str) -> Result<Self, Invalid> {
        let mut chars = text.chars();
        let kind = chars.next();
        let rest = chars.as_str();
        Ok(match (kind, rest) {
            (Some('0'), _) => Self::Open(rest),
            (Some('2'), _) => Self::Ping(rest),
            (Some('3'), _) => Self::Pong(rest),
            (Some('4'), _) => Self::Message(rest),
            (Some('1'), "") => Self::Close,
            (Some('5'), "") => Self::Upgrade,
            (Some('6'), "") => Self::Noop,
            _ => return Err(Invalid("not a packet of Engine.IO")),
        })
    }

    /// The packet as text.
    #[must_use]
    pub fn write(&self) -> String {
        let (kind, rest) = match self {
            Self::Open(rest) => ('0', *rest),
            Self::Close => ('1', ""),
            Self::Ping(rest) => ('2', *rest),
            Self::Pong(rest) => ('3', *rest),
            Self::Message(rest) => ('4', *rest),
            Self::Upgrade => ('5', ""),
            Self::Noop => ('6', ""),
        };
        let mut text = String::with_capacity(rest.len().saturating_add(1));
        text.push(kind);
        text.push_str(rest);
        text
    }
}

/// A record of a polling payload, which corresponds to one message over a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A text packet.
    Text(&'a str),
    /// A binary message.
    Binary(Vec<u8>),
}

/// The records of a polling payload.
pub fn records(payload: &str) -> impl Iterator<Item = Result<Record<'_>, Invalid>> {
    payload.split(SEPARATOR).map(|record| {
        let Some(base64) = record.strip_prefix('b') else {
            return Ok(Record::Text(record));
        };
        let bytes = BASE64.decode(base64.as_bytes());
        let bytes = bytes.map_err(|_| Invalid("a binary record is not base64"))?;
        Ok(Record::Binary(bytes))
    })
}

/// Appends a record to a polling payload.
pub fn write_record(record: &Record<'_>, payload: &mut String) {
    if !payload.is_empty() {
        payload.push(SEPARATOR);
    }
    match record {
        Record::Text(text) => payload.push_str(text),
        Record::Binary(bytes) => {
            payload.push('b');
            BASE64.encode_append(bytes, payload);
        }
    }
}
