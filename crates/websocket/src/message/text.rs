//! Text, without an allocation if it is short.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use offhook_protocol::{self as protocol, Kind, Outgoing, Sendable};

use super::short::Short;

/// The text of a message: up to 23 bytes are stored without an allocation; longer ones are shared
/// when cloned.
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    /// Valid UTF-8.
    Short(Short),
    /// Copied from borrowed text: one allocation.
    Shared(Arc<str>),
    /// Text that was already owned, not copied.
    Owned(Arc<String>),
}

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It was valid UTF-8 when it was stored. Without `unsafe` it must be validated again: a
            // few nanoseconds for 23 bytes.
            Repr::Short(short) => str::from_utf8(short.as_slice()).unwrap_or_default(),
            Repr::Shared(text) => text,
            Repr::Owned(text) => text,
        }
    }

    /// The text's bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short(short) => short.as_slice(),
            Repr::Shared(text) => text.as_bytes(),
            Repr::Owned(text) => text.as_bytes(),
        }
    }

    /// The text as a `String`; not copied if it was made of one and is not shared.
    #[must_use]
    pub fn into_string(self) -> String {
        match self.0 {
            Repr::Short(_) | Repr::Shared(_) => self.as_str().to_owned(),
            Repr::Owned(text) => Arc::unwrap_or_clone(text),
        }
    }

    /// The text as shareable bytes; long text is not copied.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Short(_) => Bytes::copy_from_slice(self.as_bytes()),
            Repr::Shared(text) => Bytes::from_owner(SharedText(text)),
            Repr::Owned(text) => match Arc::try_unwrap(text) {
                Ok(text) => text.into(),
                Err(text) => Bytes::from_owner(OwnedText(text)),
            },
        }
    }
}

struct SharedText(Arc<str>);

impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

struct OwnedText(Arc<String>);

impl AsRef<[u8]> for OwnedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
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
    /// Hashes like `str`, as `Borrow<str>` requires.
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
            None => Self(Repr::Shared(text.into())),
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Repr::Owned(Arc::new(text)))
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
        match text.0 {
            Repr::Owned(text) => Arc::unwrap_or_clone(text).into(),
            Repr::Short(_) | Repr::Shared(_) => text.as_str().to_owned().into(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_no_larger_than_a_handle_to_shared_bytes() {
        assert!(size_of::<Text>() <= size_of::<Bytes>());
    }

    #[test]
    fn clones_of_long_text_share_it_and_every_form_is_the_same_text() {
        for len in [0, 1, 22, 23, 24, 1_000] {
            let string = "ü".repeat(len);
            let forms = [Text::from(string.as_str()), Text::from(string.clone())];
            for text in forms {
                let clone = text.clone();
                assert_eq!(clone.as_str(), string);
                let shared = std::ptr::eq(clone.as_bytes(), text.as_bytes());
                assert!(shared || string.len() <= 23, "{len}");
                assert_eq!(clone.into_bytes(), string.as_bytes());
                assert_eq!(text.into_string(), string);
            }
        }
    }
}
