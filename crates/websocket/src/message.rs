//! Messages, owned by the user.

mod binary;
mod short;
mod text;

use std::borrow::Cow;
use std::fmt;

pub use binary::Binary;
use bytes::Bytes;
use offhook_protocol::{self as protocol, Kind, Outgoing, Sendable};
pub use text::Text;

/// A whole message.
///
/// ```
/// use offhook::Message;
///
/// let message = Message::from("hello");
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(message.as_bytes(), b"hello");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// UTF-8 text.
    Text(Text),
    /// Any bytes.
    Binary(Binary),
}

impl Message {
    /// The type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }

    /// The text, if this is a text message.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The content as bytes, for either type.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The content as owned bytes, for either type.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes.into_bytes(),
        }
    }

    /// As the protocol crate's message.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn borrowed(&self) -> protocol::Message<'_> {
        match self {
            Self::Text(text) => protocol::Message::Text(Cow::Borrowed(text)),
            Self::Binary(bytes) => protocol::Message::Binary(Cow::Borrowed(bytes)),
        }
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl fmt::Display for Message {
    /// Formats text unchanged, and binary by its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.pad(text),
            Self::Binary(bytes) => write!(f, "<{} bytes>", bytes.len()),
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Binary> for Message {
    fn from(bytes: Binary) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<protocol::Message<'_>> for Message {
    #[inline]
    fn from(message: protocol::Message<'_>) -> Self {
        match message {
            protocol::Message::Text(Cow::Borrowed(text)) => Self::Text(text.into()),
            protocol::Message::Text(Cow::Owned(text)) => Self::Text(text.into()),
            protocol::Message::Binary(Cow::Borrowed(bytes)) => Self::Binary(bytes.into()),
            protocol::Message::Binary(Cow::Owned(bytes)) => Self::Binary(bytes.into()),
        }
    }
}

impl From<Message> for Outgoing<'_> {
    #[inline]
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes.into(),
        }
    }
}

impl protocol::sealed::Sealed for Message {}
impl protocol::sealed::Sealed for &Message {}

impl Sendable<'_> for Message {
    #[inline]
    fn kind(&self) -> Kind {
        Message::kind(self)
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        Message::as_bytes(self)
    }
}

impl<'a> Sendable<'a> for &'a Message {
    #[inline]
    fn kind(&self) -> Kind {
        Message::kind(self)
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        Message::as_bytes(self)
    }
}

impl<'a> From<&'a Message> for Outgoing<'a> {
    fn from(message: &'a Message) -> Self {
        match message {
            Message::Text(text) => text.as_str().into(),
            Message::Binary(bytes) => bytes.into(),
        }
    }
}
