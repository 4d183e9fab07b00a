//! Text, without an allocation while it is short.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use offhook_protocol::{self as protocol, Kind, Outgoing, Sendable};

use super::short::Short;

/// The text of a message: a string that keeps up to 23 bytes without an allocation.
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    /// UTF-8.
    Short(Short),
    Long(String),
}

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It was text when it was put there. Without `unsafe`, that is to be seen again: a few
            // nanoseconds for 23 bytes.
            Repr::Short(short) => str::from_utf8(short.as_slice()).unwrap_or_default(),
            Repr::Long(text) => text,
        }
    }

    /// The text's bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short(short) => short.as_slice(),
            Repr::Long(text) => text.as_bytes(),
        }
    }

    /// The text as a `String`; long ones are not copied.
    #[must_use]
    pub fn into_string(self) -> String {
        match self.0 {
            Repr::Short(_) => self.as_str().to_owned(),
            Repr::Long(text) => text,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::from("")
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Text {
    /// As `str` does, of which it can be borrowed.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl From<&str> for Text {
    #[inline]
    fn from(text: &str) -> Self {
        match Short::new(text.as_bytes()) {
            Some(short) => Self(Repr::Short(short)),
            None => Self(Repr::Long(text.to_owned())),
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Repr::Long(text))
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.into_string()
    }
}

impl From<Text> for Outgoing<'_> {
    #[inline]
    fn from(text: Text) -> Self {
        text.into_string().into()
    }
}

impl<'a> From<&'a Text> for Outgoing<'a> {
    #[inline]
    fn from(text: &'a Text) -> Self {
        text.as_str().into()
    }
}

impl protocol::sealed::Sealed for Text {}
impl protocol::sealed::Sealed for &Text {}

impl Sendable<'_> for Text {
    #[inline]
    fn kind(&self) -> Kind {
        Kind::Text
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        Text::as_bytes(self)
    }
}

impl<'a> Sendable<'a> for &'a Text {
    #[inline]
    fn kind(&self) -> Kind {
        Kind::Text
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        Text::as_bytes(self)
    }
}
