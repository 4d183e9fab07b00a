//! Bytes, without an allocation if they are few.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;
use offhook_protocol::{self as protocol, Kind, Outgoing, Sendable};

use super::short::Short;

/// The bytes of a binary message: up to 23 are stored without an allocation; longer ones are shared
/// when cloned.
#[derive(Clone)]
pub struct Binary(Repr);

#[derive(Clone)]
enum Repr {
    Short(Short),
    Shared(Bytes),
}

impl Binary {
    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Short(short) => short.as_slice(),
            Repr::Shared(bytes) => bytes,
        }
    }

    /// The bytes, shareable; long ones are not copied.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Short(_) => Bytes::copy_from_slice(self.as_slice()),
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl Default for Binary {
    fn default() -> Self {
        Self::from(&[][..])
    }
}

impl Deref for Binary {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Binary {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.as_slice().escape_ascii())
    }
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Binary {}

impl PartialEq<[u8]> for Binary {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_slice() == other
    }
}

impl PartialEq<&[u8]> for Binary {
    fn eq(&self, other: &&[u8]) -> bool {
        self.as_slice() == *other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Binary {
    fn eq(&self, other: &&[u8; N]) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Hash for Binary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl From<&[u8]> for Binary {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        match Short::new(bytes) {
            Some(short) => Self(Repr::Short(short)),
            None => Self(Repr::Shared(Bytes::copy_from_slice(bytes))),
        }
    }
}

impl From<Vec<u8>> for Binary {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Shared(bytes.into()))
    }
}

impl From<Bytes> for Binary {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Shared(bytes))
    }
}

impl From<Binary> for Bytes {
    fn from(bytes: Binary) -> Self {
        bytes.into_bytes()
    }
}

impl From<Binary> for Vec<u8> {
    fn from(bytes: Binary) -> Self {
        bytes.to_vec()
    }
}

impl From<Binary> for Outgoing<'_> {
    #[inline]
    fn from(bytes: Binary) -> Self {
        match bytes.0 {
            Repr::Short(_) => bytes.to_vec().into(),
            Repr::Shared(bytes) => bytes.into(),
        }
    }
}

impl protocol::sealed::Sealed for Binary {}
impl protocol::sealed::Sealed for &Binary {}

impl Sendable<'_> for Binary {
    #[inline]
    fn kind(&self) -> Kind {
        Kind::Binary
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<'a> Sendable<'a> for &'a Binary {
    #[inline]
    fn kind(&self) -> Kind {
        Kind::Binary
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self.as_slice()
    }
}

impl<'a> From<&'a Binary> for Outgoing<'a> {
    #[inline]
    fn from(bytes: &'a Binary) -> Self {
        match &bytes.0 {
            Repr::Short(_) => bytes.as_slice().into(),
            Repr::Shared(bytes) => bytes.clone().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_bytes_need_no_more_space_than_a_handle_to_long_ones() {
        assert_eq!(size_of::<Binary>(), size_of::<Bytes>());
    }

    #[test]
    fn text_of_every_length_around_the_inline_limit_is_kept_unchanged() {
        for len in 0..40 {
            let bytes: Vec<u8> = (0..len).collect();
            assert_eq!(Binary::from(bytes.as_slice()), bytes.as_slice());
            assert_eq!(Binary::from(bytes.as_slice()).into_bytes(), bytes);
        }
    }
}
