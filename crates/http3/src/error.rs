//! Errors of a peer, and the codes with which they are answered.

use std::fmt;

/// A code with which a stream or a connection ends (RFC 9114 §8.1, RFC 9204 §6, RFC 9297 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u64);

impl Code {
    /// `H3_NO_ERROR`.
    pub const NO_ERROR: Self = Self(0x100);
    /// `H3_GENERAL_PROTOCOL_ERROR`.
    pub const GENERAL_PROTOCOL_ERROR: Self = Self(0x101);
    /// `H3_INTERNAL_ERROR`.
    pub const INTERNAL_ERROR: Self = Self(0x102);
    /// `H3_STREAM_CREATION_ERROR`.
    pub const STREAM_CREATION_ERROR: Self = Self(0x103);
    /// `H3_CLOSED_CRITICAL_STREAM`.
    pub const CLOSED_CRITICAL_STREAM: Self = Self(0x104);
    /// `H3_FRAME_UNEXPECTED`.
    pub const FRAME_UNEXPECTED: Self = Self(0x105);
    /// `H3_FRAME_ERROR`.
    pub const FRAME_ERROR: Self = Self(0x106);
    /// `H3_EXCESSIVE_LOAD`.
    pub const EXCESSIVE_LOAD: Self = Self(0x107);
    /// `H3_ID_ERROR`.
    pub const ID_ERROR: Self = Self(0x108);
    /// `H3_SETTINGS_ERROR`.
    pub const SETTINGS_ERROR: Self = Self(0x109);
    /// `H3_MISSING_SETTINGS`.
    pub const MISSING_SETTINGS: Self = Self(0x10a);
    /// `H3_REQUEST_REJECTED`.
    pub const REQUEST_REJECTED: Self = Self(0x10b);
    /// `H3_REQUEST_CANCELLED`.
    pub const REQUEST_CANCELLED: Self = Self(0x10c);
    /// `H3_REQUEST_INCOMPLETE`.
    pub const REQUEST_INCOMPLETE: Self = Self(0x10d);
    /// `H3_MESSAGE_ERROR`.
    pub const MESSAGE_ERROR: Self = Self(0x10e);
    /// `QPACK_DECOMPRESSION_FAILED`.
    pub const QPACK_DECOMPRESSION_FAILED: Self = Self(0x200);
    /// `H3_DATAGRAM_ERROR`.
    pub const DATAGRAM_ERROR: Self = Self(0x33);
    /// `WEBTRANSPORT_BUFFERED_STREAM_REJECTED`: a stream of a session that does not exist.
    pub const UNKNOWN_SESSION: Self = Self(0x3994_bd84);
    /// `WEBTRANSPORT_SESSION_GONE`: the session of the stream has ended.
    pub const SESSION_GONE: Self = Self(0x170d_7b68);
}

/// What a peer did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The code to answer it with.
    pub code: Code,
    /// What happened.
    pub detail: &'static str,
}

impl Error {
    pub(crate) const fn new(code: Code, detail: &'static str) -> Self {
        Self { code, detail }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#x})", self.detail, self.code.0)
    }
}

impl std::error::Error for Error {}
