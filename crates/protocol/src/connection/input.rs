//! Bytes read from the transport, lent to the connection until they are consumed.

use std::time::Instant;

/// A cursor over bytes that were read from the transport.
///
/// The connection takes frames from the front and unmasks them in place; events borrow from it.
/// When [`Connection::receive`](crate::Connection::receive) returns an event, the bytes left here
/// are for the next call. When it returns `None`, no bytes are left.
#[derive(Debug)]
pub struct Input<'b> {
    rest: &'b mut [u8],
    at: Instant,
    noted: bool,
}

impl<'b> Input<'b> {
    /// Bytes that arrived at the given time.
    #[must_use]
    #[inline]
    pub const fn new(bytes: &'b mut [u8], at: Instant) -> Self {
        Self {
            rest: bytes,
            at,
            noted: false,
        }
    }

    /// The rest of bytes from an earlier `Input`: their arrival was already recorded.
    #[must_use]
    #[inline]
    pub const fn rest(bytes: &'b mut [u8], at: Instant) -> Self {
        Self {
            rest: bytes,
            at,
            noted: true,
        }
    }

    /// When the bytes arrived.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// The number of bytes left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether no bytes are left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn as_slice(&self) -> &[u8] {
        self.rest
    }

    /// Whether these bytes are seen for the first time, and there are any.
    pub(crate) const fn note(&mut self) -> bool {
        !std::mem::replace(&mut self.noted, true) && !self.is_empty()
    }

    /// Takes up to `len` bytes from the front.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> &'b mut [u8] {
        let rest = std::mem::take(&mut self.rest);
        if len >= rest.len() {
            return rest;
        }
        let (taken, rest) = rest.split_at_mut(len);
        self.rest = rest;
        taken
    }

    pub(crate) fn discard(&mut self) {
        self.rest = &mut [];
    }
}
