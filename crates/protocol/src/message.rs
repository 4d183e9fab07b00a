//! Messages: incoming ones are borrowed where possible, outgoing ones are copied only where
//! necessary.

use std::borrow::Cow;

use bytes::Bytes;

use crate::frame::OpCode;
use crate::prepared::Prepared;

/// The two types of message (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    pub(crate) const fn opcode(self) -> OpCode {
        match self {
            Self::Text => OpCode::Text,
            Self::Binary => OpCode::Binary,
        }
    }
}

/// A received message.
///
/// It borrows from the bytes passed to [`receive`](crate::Connection::receive) if those hold the
/// whole message uncompressed. Otherwise it owns the assembled data, and the connection keeps none
/// of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'b> {
    /// Valid UTF-8.
    Text(Cow<'b, str>),
    /// Any bytes.
    Binary(Cow<'b, [u8]>),
}

impl Message<'_> {
    /// The type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
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

    /// The same message, owned.
    #[must_use]
    pub fn into_owned(self) -> Message<'static> {
        match self {
            Self::Text(text) => Message::Text(Cow::Owned(text.into_owned())),
            Self::Binary(bytes) => Message::Binary(Cow::Owned(bytes.into_owned())),
        }
    }
}

/// A piece of a received message, in [chunk mode](crate::ReceiveMode::Chunks).
///
/// Text is split between characters, so every piece is valid UTF-8. Pieces may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk<'b> {
    /// The piece.
    pub data: Message<'b>,
    /// Whether this is the first piece of a message.
    pub first: bool,
    /// Whether this is the last piece of a message.
    pub last: bool,
}

/// A message to be sent, or a piece of one.
///
/// Borrowed bytes are copied once, into the frame. Shared ([`Bytes`]) and owned bytes are written
/// without a copy if they are long. A [`Prepared`] message is neither framed nor compressed again.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    pub(crate) kind: Kind,
    pub(crate) payload: Payload<'a>,
}

/// Types that can be sent: text or bytes, borrowed, owned or shared, and [`Prepared`] messages.
///
/// A short message is copied directly after its header; only a long one is converted to an
/// [`Outgoing`] and stored.
///
/// Sealed: text must be UTF-8, and only the types here are known to guarantee that.
pub trait Sendable<'a>: Into<Outgoing<'a>> + sealed::Sealed {
    /// The type.
    fn kind(&self) -> Kind;

    /// The content as bytes; UTF-8 for text.
    fn as_bytes(&self) -> &[u8];
}

macro_rules! sendable {
    ($($kind:ident: $($type:ty),*;)*) => {
        $($(impl<'a> Sendable<'a> for $type {
            #[inline]
            fn kind(&self) -> Kind {
                Kind::$kind
            }

            #[inline]
            fn as_bytes(&self) -> &[u8] {
                self.as_ref()
            }
        })*)*
    };
}

sendable! {
    Text: &'a str, &'a String, String;
    Binary: &'a [u8], &'a Vec<u8>, Vec<u8>, &'a Bytes, Bytes;
}

impl<'a> Sendable<'a> for Cow<'a, str> {
    #[inline]
    fn kind(&self) -> Kind {
        Kind::Text
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        str::as_bytes(self)
    }
}

impl<'a> Sendable<'a> for Cow<'a, [u8]> {
    #[inline]
    fn kind(&self) -> Kind {
        Kind::Binary
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

/// Not part of the API: this crate and `offhook` define which types can be sent.
#[doc(hidden)]
pub mod sealed {
    use std::borrow::Cow;

    use bytes::Bytes;

    /// Guarantees that text is UTF-8.
    pub trait Sealed {}

    macro_rules! seal {
        ($($type:ty),*) => { $(impl Sealed for $type {})* };
    }

    seal!(
        &str,
        &String,
        String,
        Cow<'_, str>,
        &[u8],
        &Vec<u8>,
        Vec<u8>,
        &Bytes,
        Bytes,
        Cow<'_, [u8]>,
        super::Outgoing<'_>,
        super::Message<'_>,
        &super::Message<'_>,
        &super::Prepared
    );
    impl<const N: usize> Sealed for &[u8; N] {}
}

impl<'a, const N: usize> Sendable<'a> for &'a [u8; N] {
    #[inline]
    fn kind(&self) -> Kind {
        Kind::Binary
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<'a> Sendable<'a> for Outgoing<'a> {
    #[inline]
    fn kind(&self) -> Kind {
        self.kind
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self.payload.as_slice()
    }
}

impl<'a> Sendable<'a> for Message<'a> {
    #[inline]
    fn kind(&self) -> Kind {
        Message::kind(self)
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        Message::as_bytes(self)
    }
}

impl<'a> Sendable<'a> for &'a Message<'_> {
    #[inline]
    fn kind(&self) -> Kind {
        Message::kind(self)
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        Message::as_bytes(self)
    }
}

impl<'a> Sendable<'a> for &'a Prepared {
    #[inline]
    fn kind(&self) -> Kind {
        Prepared::kind(self)
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        Prepared::as_bytes(self)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Payload<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
    Shared(Bytes),
    Prepared(Prepared),
}

impl Payload<'_> {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Prepared(message) => message.as_bytes(),
        }
    }

    pub(crate) fn into_shared(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Owned(bytes) => bytes.into(),
            Self::Shared(bytes) => bytes,
            Self::Prepared(message) => message.shared_bytes(),
        }
    }
}

impl Outgoing<'static> {
    /// Makes a text message of shared bytes.
    ///
    /// # Errors
    /// Returns the bytes if they are not UTF-8.
    pub fn shared_text(bytes: Bytes) -> Result<Self, Bytes> {
        match simdutf8::basic::from_utf8(&bytes) {
            Ok(_) => Ok(Self {
                kind: Kind::Text,
                payload: Payload::Shared(bytes),
            }),
            Err(_) => Err(bytes),
        }
    }
}

impl Outgoing<'_> {
    /// The type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.payload.as_slice()
    }
}

impl<'a> From<&'a str> for Outgoing<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Self {
            kind: Kind::Text,
            payload: Payload::Borrowed(text.as_bytes()),
        }
    }
}

impl<'a> From<&'a String> for Outgoing<'a> {
    #[inline]
    fn from(text: &'a String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Outgoing<'_> {
    #[inline]
    fn from(text: String) -> Self {
        Self {
            kind: Kind::Text,
            payload: Payload::Owned(text.into_bytes()),
        }
    }
}

impl<'a> From<&'a [u8]> for Outgoing<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Self {
            kind: Kind::Binary,
            payload: Payload::Borrowed(bytes),
        }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Outgoing<'a> {
    #[inline]
    fn from(bytes: &'a [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<'a> From<&'a Vec<u8>> for Outgoing<'a> {
    #[inline]
    fn from(bytes: &'a Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<'a> From<&'a Bytes> for Outgoing<'a> {
    /// Shared, not copied.
    #[inline]
    fn from(bytes: &'a Bytes) -> Self {
        bytes.clone().into()
    }
}

impl<'a> From<Cow<'a, str>> for Outgoing<'a> {
    #[inline]
    fn from(text: Cow<'a, str>) -> Self {
        Message::Text(text).into()
    }
}

impl<'a> From<Cow<'a, [u8]>> for Outgoing<'a> {
    #[inline]
    fn from(bytes: Cow<'a, [u8]>) -> Self {
        Message::Binary(bytes).into()
    }
}

impl From<Vec<u8>> for Outgoing<'_> {
    #[inline]
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            kind: Kind::Binary,
            payload: Payload::Owned(bytes),
        }
    }
}

impl From<Bytes> for Outgoing<'_> {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Binary,
            payload: Payload::Shared(bytes),
        }
    }
}

impl<'a> From<Message<'a>> for Outgoing<'a> {
    #[inline]
    fn from(message: Message<'a>) -> Self {
        match message {
            Message::Text(Cow::Borrowed(text)) => text.into(),
            Message::Text(Cow::Owned(text)) => text.into(),
            Message::Binary(Cow::Borrowed(bytes)) => bytes.into(),
            Message::Binary(Cow::Owned(bytes)) => bytes.into(),
        }
    }
}

impl<'a> From<&'a Prepared> for Outgoing<'a> {
    /// Shared, not copied.
    #[inline]
    fn from(message: &'a Prepared) -> Self {
        Self {
            kind: message.kind(),
            payload: Payload::Prepared(message.clone()),
        }
    }
}

impl<'a> From<&'a Message<'_>> for Outgoing<'a> {
    #[inline]
    fn from(message: &'a Message<'_>) -> Self {
        Self {
            kind: message.kind(),
            payload: Payload::Borrowed(message.as_bytes()),
        }
    }
}
