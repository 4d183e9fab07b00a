//! What can go wrong on an open connection, sorted by who is at fault.
//!
//! [`Error`] ends the connection: the peer misbehaved, a limit was exceeded, or a timeout expired.
//! [`SendError`] reports a mistake of the caller: nothing was sent, and the connection stays open.
//! [`Error::close_code`] is the one place that maps an error to the close code sent to the peer.

use std::fmt;

use crate::CloseCode;

/// Why the connection had to be failed (RFC 6455 §7.1.7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke the protocol.
    Peer(PeerError),
    /// The peer followed the protocol but exceeded a limit of this endpoint.
    Limit(LimitError),
    /// The peer was silent for too long.
    Timeout(TimeoutError),
}

/// A protocol violation by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerError {
    /// A reserved bit is set, and no negotiated extension defines it.
    ReservedBit,
    /// An opcode that no specification defines.
    ReservedOpcode(u8),
    /// A control frame without FIN.
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    ControlTooLong,
    /// A length not encoded in its shortest form.
    LengthNotMinimal,
    /// A 64-bit length with its top bit set.
    LengthTopBit,
    /// An unmasked frame from a client.
    NotMasked,
    /// A masked frame from a server.
    Masked,
    /// A continuation frame without an incomplete message.
    UnexpectedContinuation,
    /// A new message before the fragmented one before it ended.
    MessageInterrupted,
    /// A Close frame whose body is a single byte.
    CloseTooShort,
    /// A Close frame with a code that must not be sent.
    CloseCode(u16),
    /// Text, or a close reason, that is not UTF-8.
    InvalidUtf8,
    /// Compressed data that does not decompress.
    CorruptDeflate,
    /// Compressed data that refers back further than the negotiated window.
    DeflateWindow,
}

/// A limit of this endpoint that the peer exceeded.
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
    /// The message expanded by more than the configured factor when decompressed.
    ExpansionRatio {
        /// The limit, as a factor.
        limit: u32,
    },
}

/// A timeout that expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutError {
    /// Nothing was received after a ping: the peer, or the path to it, is gone.
    Pong,
    /// No message in either direction for the configured time.
    Idle,
    /// The peer did not complete the closing handshake.
    Close,
}

/// A call that this connection cannot carry out; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closing or closed.
    NotOpen,
    /// Ping and pong payloads are limited to 125 bytes.
    ControlTooLong {
        /// The length of the payload.
        len: usize,
    },
    /// This code must not be sent in a Close frame.
    CloseCode(CloseCode),
    /// A close reason is limited to 123 bytes.
    ReasonTooLong {
        /// The length of the reason.
        len: usize,
    },
    /// A binary piece in a text message, or the other way round.
    KindMismatch,
}

impl Error {
    /// The close code sent to the peer, or 1006 if nothing can be sent any more.
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
            Self::UnexpectedContinuation => "peer sent a continuation frame outside a message",
            Self::MessageInterrupted => "peer started a message before the previous one ended",
            Self::CloseTooShort => "peer sent a close frame with an incomplete code",
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
                    "peer sent a message that expands more than {limit} times when decompressed"
                )
            }
        }
    }
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pong => {
                "peer did not answer a ping in time: the peer or the network path to it is gone"
            }
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
                write!(f, "ping or pong payload is {len} bytes; the limit is 125")
            }
            Self::CloseCode(code) => write!(
                f,
                "close code {} must not be sent: use 1000, 1001, or one of 3000 to 4999",
                code.get()
            ),
            Self::ReasonTooLong { len } => {
                write!(f, "close reason is {len} bytes; the limit is 123")
            }
            Self::KindMismatch => {
                f.write_str("the pieces of a message must be all text or all binary")
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
