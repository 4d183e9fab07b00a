//! Frames of STOMP: a command, headers and a body.

mod decode;
mod encode;

use std::borrow::Cow;

use bytes::Bytes;

pub use decode::Decoder;
pub(super) use encode::{Encoder, escaped};

/// A version of the protocol. Versions are ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// STOMP 1.0: no escapes, and subscriptions may have no id.
    V10,
    /// STOMP 1.1: escapes, heart-beats and NACK.
    V11,
    /// STOMP 1.2: acknowledgements by the `ack` header, and lines may end with CR LF.
    V12,
}

impl Version {
    /// All versions, the newest first.
    pub const ALL: [Self; 3] = [Self::V12, Self::V11, Self::V10];

    /// The version's number, such as `1.2`.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
            Self::V12 => "1.2",
        }
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The command.
    pub command: Box<str>,
    /// Names and values, in order.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The body.
    pub body: Bytes,
}

impl Frame {
    /// Creates a frame without headers and body.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self {
            command: command.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The value of a header. If a header is repeated, the first one counts (1.2 "Repeated Header
    /// Entries").
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| &**known == name);
        found.map(|(_, value)| &**value)
    }

    /// The frame's bytes, with the terminating NUL.
    #[must_use]
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let mut encoder = Encoder::new(&self.command, version);
        for (name, value) in &self.headers {
            encoder.header(name, value);
        }
        encoder.end(&self.body)
    }
}

/// Why a frame is invalid. The connection ends with an ERROR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The close code, if the transport is a WebSocket.
    pub code: u16,
    /// A short description, for the header `message`.
    pub message: &'static str,
    /// What is wrong, and what to do.
    pub detail: Cow<'static, str>,
}

impl Invalid {
    /// A violation of the protocol.
    pub(super) fn new(message: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let (code, detail) = (1002, detail.into());
        Self {
            code,
            message,
            detail,
        }
    }

    /// A frame that cannot be read.
    pub(super) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new("malformed frame", detail)
    }

    /// Something exceeds a limit.
    pub(super) fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: 1009,
            ..Self::new("too large", detail)
        }
    }

    /// Changes the close code.
    pub(super) fn code(mut self, code: u16) -> Self {
        self.code = code;
        self
    }
}
