//! What can go wrong on an open connection, sorted by who is at fault.
//!
//! [`Error`] ends the connection: the peer misbehaved, a limit was passed, or time ran out.
//! [`SendError`] is the caller's: nothing was sent, the connection goes on.
//! [`Error::close_code`] is the one place that maps an error to the code the peer is told.

use std::fmt;

use crate::CloseCode;

/// Why the connection had to be failed (RFC 6455 §7.1.7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke the protocol.
    Peer(PeerError),
    /// The peer stayed within the protocol but passed a limit of this endpoint.
    Limit(LimitError),
    /// The peer was silent for too long.
    Timeout(TimeoutError),
}

/// A breach of the protocol by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerError {
    /// A reserved bit is set that no negotiated extension gives a meaning.
    ReservedBit,
    /// An opcode that no specification defines.
    ReservedOpcode(u8),
    /// A control frame without FIN.
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    ControlTooLong,
    /// A length that a shorter form could have carried.
    LengthNotMinimal,
    /// A 64-bit length with its top bit set.
    LengthTopBit,
    /// A client's frame without a mask.
    NotMasked,
    /// A server's frame with a mask.
    Masked,
    /// A continuation where no message is under way.
    UnexpectedContinuation,
    /// A new message inside a fragmented one.
    MessageInterrupted,
    /// A Close frame whose body is a single byte.
    CloseTooShort,
    /// A Close frame with a code that must not travel.
    CloseCode(u16),
    /// Text, or a close reason, that is not UTF-8.
    InvalidUtf8,
    /// Compressed data that does not decompress.
    CorruptDeflate,
    /// Compressed data that refers further back than the negotiated window.
    DeflateWindow,
}

/// A limit of this endpoint, passed by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitError {
    /// The message is longer than [`Limits::message_size`](crate::Limits::message_size).
    MessageTooLong {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The message has more frames than [`Limits::fragments`](crate::Limits::fragments).
    TooManyFragments {
        /// The limit, in frames.
        limit: u32,
    },
    /// The message grew by more than the configured factor when decompressed.
    ExpansionRatio {
        /// The limit, as a factor.
        limit: u32,
    },
}

/// Something that did not happen in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutError {
    /// Nothing was heard after a ping: the peer, or the way to it, is gone.
    Pong,
    /// No message in either direction for the configured time.
    Idle,
    /// The peer did not complete the closing handshake.
    Close,
}

/// A call that this connection cannot obey; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closing or closed.
    NotOpen,
    /// Ping and pong payloads are at most 125 bytes.
    ControlTooLong {
        /// The length that was asked for.
        len: usize,
    },
    /// This code must not travel in a Close frame.
    CloseCode(CloseCode),
    /// A close reason is at most 123 bytes.
    ReasonTooLong {
        /// The length that was asked for.
        len: usize,
    },
    /// A piece of binary in a text message, or the other way round.
    KindMismatch,
}

impl Error {
    /// The code the peer is told, or 1006 where nothing can be told any more.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            // RFC 6455 §7.4.1: 1007 for data that is not consistent with the message's type.
            Self::Peer(PeerError::InvalidUtf8 | PeerError::CorruptDeflate) => {
                CloseCode::INVALID_DATA
            }
            Self::Peer(_) => CloseCode::PROTOCOL_ERROR,
            Self::Limit(LimitError::TooManyFragments { .. }) => CloseCode::POLICY_VIOLATION,
            Self::Limit(_) => CloseCode::TOO_BIG,
            Self::Timeout(TimeoutError::Idle) => CloseCode::GOING_AWAY,
            Self::Timeout(_) => CloseCode::ABNORMAL,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(error) => error.fmt(f),
            Self::Limit(error) => error.fmt(f),
            Self::Timeout(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedBit => "peer set a reserved bit that no extension was negotiated for",
            Self::ReservedOpcode(opcode) => {
                return write!(f, "peer sent a frame with the reserved opcode {opcode:#x}");
            }
            Self::FragmentedControl => "peer sent a fragmented control frame",
            Self::ControlTooLong => "peer sent a control frame of more than 125 bytes",
            Self::LengthNotMinimal => "peer sent a frame length in a longer form than needed",
            Self::LengthTopBit => "peer sent a frame length with its top bit set",
            Self::NotMasked => "client sent a frame that is not masked",
            Self::Masked => "server sent a masked frame",
            Self::UnexpectedContinuation => "peer continued a message that was never begun",
            Self::MessageInterrupted => "peer began a message before it ended the one before",
            Self::CloseTooShort => "peer sent a close frame with half a code",
            Self::CloseCode(code) => {
                return write!(f, "peer sent a close frame with the forbidden code {code}");
            }
            Self::InvalidUtf8 => "peer sent text that is not UTF-8",
            Self::CorruptDeflate => "peer sent compressed data that does not decompress",
            Self::DeflateWindow => "peer used a larger compression window than was agreed",
        })
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MessageTooLong { limit } => {
                write!(
                    f,
                    "peer sent a message of more than {limit} bytes (Limits::message_size)"
                )
            }
            Self::TooManyFragments { limit } => {
                write!(
                    f,
                    "peer sent a message in more than {limit} frames (Limits::fragments)"
                )
            }
            Self::ExpansionRatio { limit } => {
                write!(
                    f,
                    "peer sent a message that grows more than {limit}-fold when decompressed"
                )
            }
        }
    }
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pong => "peer did not answer a ping in time: it, or the way to it, is gone",
            Self::Idle => "no message in either direction within the idle timeout",
            Self::Close => "peer did not complete the closing handshake in time",
        })
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("connection is closing or closed"),
            Self::ControlTooLong { len } => {
                write!(f, "ping or pong payload has {len} bytes: 125 is the most")
            }
            Self::CloseCode(code) => write!(
                f,
                "close code {} must not be sent: use 1000, 1001, or one of 3000 to 4999",
                code.get()
            ),
            Self::ReasonTooLong { len } => {
                write!(f, "close reason has {len} bytes: 123 is the most")
            }
            Self::KindMismatch => {
                f.write_str("the pieces of a message are all text, or all binary")
            }
        }
    }
}

impl std::error::Error for Error {}
impl std::error::Error for PeerError {}
impl std::error::Error for LimitError {}
impl std::error::Error for TimeoutError {}
impl std::error::Error for SendError {}

impl From<PeerError> for Error {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}

impl From<LimitError> for Error {
    fn from(error: LimitError) -> Self {
        Self::Limit(error)
    }
}

impl From<TimeoutError> for Error {
    fn from(error: TimeoutError) -> Self {
        Self::Timeout(error)
    }
}
