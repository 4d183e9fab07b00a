//! Why a client gives the handshake up.

use std::fmt;

use super::head::{HeadError, MalformedHead};
use super::headers::{Repeated, name};
use crate::deflate::{ExtensionsError, NegotiationError};

/// Who is to blame for a failed handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Culprit {
    /// The server broke the protocol, or is none of WebSocket.
    Peer,
    /// The server's answer is more than this client's limits allow.
    Limit,
}

/// The server's answer is no valid one. RFC 6455 §4.1: the client MUST fail the
/// connection, that is, close it.
///
/// A server that says no in proper HTTP is no failure but
/// [`Refused`](super::Refused).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The answer is no HTTP.
    Malformed(MalformedHead),
    /// The head did not end within the limit.
    HeadTooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// More fields than allowed.
    TooManyHeaders {
        /// Fields allowed.
        limit: usize,
    },
    /// More interim responses (1xx) than allowed.
    TooManyInterim {
        /// Responses allowed.
        limit: u8,
    },
    /// The status line names no HTTP/1.1.
    HttpVersion,
    /// The server switches protocols without this field.
    HeaderMissing {
        /// Which one.
        name: &'static str,
    },
    /// A field that may stand once stands more often.
    HeaderRepeated {
        /// Which one.
        name: &'static str,
    },
    /// A field's value is not what it must be.
    HeaderInvalid {
        /// Which one.
        name: &'static str,
    },
    /// `Sec-WebSocket-Accept` does not fit our key: this answer was made by
    /// something that does not know WebSocket, or for somebody else.
    WrongAccept,
    /// The server chose a subprotocol that was not offered.
    SubprotocolNotOffered(String),
    /// The server chose no subprotocol, and one is required.
    SubprotocolMissing,
    /// The extensions in the answer break their grammar.
    Extensions(ExtensionsError),
    /// The extensions in the answer are not what was offered.
    Negotiation(NegotiationError),
}

impl HandshakeFailure {
    /// Who is to blame.
    #[must_use]
    pub const fn culprit(&self) -> Culprit {
        match self {
            Self::HeadTooLarge { .. }
            | Self::TooManyHeaders { .. }
            | Self::TooManyInterim { .. } => Culprit::Limit,
            Self::Malformed(_)
            | Self::HttpVersion
            | Self::HeaderMissing { .. }
            | Self::HeaderRepeated { .. }
            | Self::HeaderInvalid { .. }
            | Self::WrongAccept
            | Self::SubprotocolNotOffered(_)
            | Self::SubprotocolMissing
            | Self::Extensions(_)
            | Self::Negotiation(_) => Culprit::Peer,
        }
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server's answer to the WebSocket handshake: ")?;
        match self {
            Self::Malformed(why) => why.fmt(f),
            Self::HeadTooLarge { limit } => write!(f, "the head is larger than {limit} bytes"),
            Self::TooManyHeaders { limit } => write!(f, "more than {limit} header fields"),
            Self::TooManyInterim { limit } => write!(f, "more than {limit} interim responses"),
            Self::HttpVersion => f.write_str("not HTTP/1.1"),
            Self::HeaderMissing { name } => write!(f, "the {name} header is missing"),
            Self::HeaderRepeated { name } => write!(f, "the {name} header stands there twice"),
            Self::HeaderInvalid { name } => write!(f, "the {name} header is wrong"),
            Self::WrongAccept => write!(
                f,
                "{} does not fit our key; is this a WebSocket server, or a cache in between?",
                name::ACCEPT
            ),
            Self::SubprotocolNotOffered(name) => {
                write!(f, "the subprotocol {name:?} was not offered")
            }
            Self::SubprotocolMissing => f.write_str("no subprotocol chosen, and one is required"),
            Self::Extensions(why) => why.fmt(f),
            Self::Negotiation(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for HandshakeFailure {}

impl From<HeadError> for HandshakeFailure {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(why) => Self::Malformed(why),
            HeadError::TooLarge { limit } => Self::HeadTooLarge { limit },
            HeadError::TooManyHeaders { limit } => Self::TooManyHeaders { limit },
            HeadError::Version => Self::HttpVersion,
        }
    }
}

impl From<Repeated> for HandshakeFailure {
    fn from(Repeated(name): Repeated) -> Self {
        Self::HeaderRepeated { name }
    }
}
