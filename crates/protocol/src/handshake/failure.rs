//! Why a client fails the handshake.

use std::fmt;

use super::head::{HeadError, MalformedHead};
use super::headers::{Repeated, name};
use crate::deflate::{ExtensionsError, NegotiationError};

/// Which side caused the handshake to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Culprit {
    /// The server violated the protocol, or is not a WebSocket server.
    Peer,
    /// The server's answer exceeds this client's limits.
    Limit,
}

/// The server's answer is invalid. RFC 6455 §4.1: the client MUST fail the connection, that is,
/// close it.
///
/// A server that refuses in valid HTTP is not a failure but a [`Refused`](super::Refused).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The answer is not HTTP.
    Malformed(MalformedHead),
    /// The head did not end within the limit.
    HeadTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// There are more header fields than allowed.
    TooManyHeaders {
        /// The limit, in fields.
        limit: usize,
    },
    /// There are more interim responses (1xx) than allowed.
    TooManyInterim {
        /// The limit, in responses.
        limit: u8,
    },
    /// The status line does not name HTTP/1.1.
    HttpVersion,
    /// The server switches protocols without this header field.
    HeaderMissing {
        /// The field's name.
        name: &'static str,
    },
    /// A field that may occur once occurs several times.
    HeaderRepeated {
        /// The field's name.
        name: &'static str,
    },
    /// A field has the wrong value.
    HeaderInvalid {
        /// The field's name.
        name: &'static str,
    },
    /// `Sec-WebSocket-Accept` does not match our key: something that does not implement WebSocket
    /// sent this answer, or it was meant for another client.
    WrongAccept,
    /// The server chose a subprotocol that was not offered.
    SubprotocolNotOffered(String),
    /// The server chose no subprotocol, but one is required.
    SubprotocolMissing,
    /// The extensions in the answer violate the grammar.
    Extensions(ExtensionsError),
    /// The extensions in the answer do not match the offer.
    Negotiation(NegotiationError),
}

impl HandshakeFailure {
    /// Which side caused the failure.
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
            Self::HeaderRepeated { name } => write!(f, "the {name} header appears twice"),
            Self::HeaderInvalid { name } => write!(f, "the {name} header has the wrong value"),
            Self::WrongAccept => write!(
                f,
                "{} does not match our key; is this a WebSocket server, or a cache in front of one?",
                name::ACCEPT
            ),
            Self::SubprotocolNotOffered(name) => {
                write!(f, "the subprotocol {name:?} was not offered")
            }
            Self::SubprotocolMissing => {
                f.write_str("the server chose no subprotocol, but one is required")
            }
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
