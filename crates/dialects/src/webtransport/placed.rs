//! Where a message goes: the form in which the dialect passes messages to its transport.

use super::framing::{LENGTH, write_framed};

const CONTROL: u8 = 0;
const STREAM: u8 = 1;
const LAST: u8 = 2;
const DATAGRAM: u8 = 3;

/// Bytes before the text of a message for the control stream.
pub(super) const CONTROL_HEAD: usize = LENGTH + 1;

/// A message of the server, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed<'a> {
    /// To the control stream, with its length in front.
    Control(&'a [u8]),
    /// To the stream of a subscription, with its length in front.
    Stream {
        /// The number of the stream. The first message opens it.
        number: u32,
        /// Whether the stream ends after this message.
        is_last: bool,
        /// The message.
        framed: &'a [u8],
    },
    /// Into a datagram, without its length. If a newer message with the same subject is placed before
    /// it was sent, it is not sent.
    Datagram {
        /// What the message is about.
        subject: &'a [u8],
        /// The message.
        message: &'a [u8],
    },
}

impl<'a> Placed<'a> {
    /// Reads what the dialect has written; none if it is anything else.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            CONTROL => Some(Self::Control(rest)),
            STREAM | LAST => {
                let (number, framed) = rest.split_first_chunk::<4>()?;
                Some(Self::Stream {
                    number: u32::from_be_bytes(*number),
                    is_last: *kind == LAST,
                    framed,
                })
            }
            DATAGRAM => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (subject, message) = rest.split_at_checked(length)?;
                Some(Self::Datagram { subject, message })
            }
            _ => None,
        }
    }
}

pub(super) fn to_control(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(CONTROL_HEAD.saturating_add(text.len()));
    out.push(CONTROL);
    write_framed(text, &mut out);
    out
}

pub(super) fn to_stream(number: u32, is_last: bool, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_add(16));
    out.push(if is_last { LAST } else { STREAM });
    out.extend_from_slice(&number.to_be_bytes());
    write_framed(text, &mut out);
    out
}

pub(super) fn to_datagram(subject: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_add(subject.len()));
    out.push(DATAGRAM);
    write_framed(subject, &mut out);
    out.extend_from_slice(text);
    out
}
