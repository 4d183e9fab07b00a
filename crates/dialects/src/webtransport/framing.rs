//! Messages on a stream of bytes: each is preceded by its length, which is 4 bytes in network order.

use std::time::Instant;

use crate::dialect::Unfinished;

/// The length of a message's length.
pub(super) const LENGTH: usize = 4;

/// A message, preceded by its length.
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(LENGTH.saturating_add(message.len()));
    write_framed(message, &mut out);
    out
}

/// Writes a message, preceded by its length.
pub(super) fn write_framed(message: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
}

/// The messages that a client sends. Holds no buffer while there is nothing unread.
#[derive(Debug)]
pub(super) struct Messages {
    unread: Vec<u8>,
    /// Bytes of `unread` that were read.
    read: usize,
    /// When the first byte of the incomplete message arrived.
    since: Option<Instant>,
    limit: usize,
}

/// Why no more messages can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A message is longer than the limit.
    TooLong,
    /// A message is not UTF-8.
    NotText,
}

impl Messages {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            unread: Vec::new(),
            read: 0,
            since: None,
            limit,
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) {
        if !bytes.is_empty() {
            self.since.get_or_insert(now);
            self.unread.extend_from_slice(bytes);
        }
    }

    /// The next message; none if it is not complete.
    pub(super) fn next(&mut self, now: Instant) -> Result<Option<String>, Wrong> {
        let Some(message) = self.whole()? else {
            return Ok(None);
        };
        let message = message.to_vec();
        let used = LENGTH.saturating_add(message.len());
        self.read = self.read.saturating_add(used);
        if self.rest().is_empty() {
            self.unread = Vec::new();
            (self.read, self.since) = (0, None);
        } else {
            self.since = Some(now);
            self.drop_read();
        }
        let text = String::from_utf8(message).map_err(|_| Wrong::NotText)?;
        Ok(Some(text))
    }

    /// Frees the bytes that were read, once they are most of the buffer, so that each byte is moved
    /// once on average.
    fn drop_read(&mut self) {
        if self.read > self.unread.len() / 2 {
            self.unread.drain(..self.read.min(self.unread.len()));
            self.read = 0;
        }
    }

    /// Whether a whole message, or one that is refused, is there.
    pub(super) fn has_more(&self) -> bool {
        !matches!(self.whole(), Ok(None))
    }

    pub(super) fn unfinished(&self) -> Unfinished {
        if self.has_more() {
            // The client is not waited for.
            return Unfinished::default();
        }
        Unfinished {
            bytes: self.rest().len(),
            since: self.since,
        }
    }

    fn rest(&self) -> &[u8] {
        self.unread.get(self.read..).unwrap_or_default()
    }

    fn whole(&self) -> Result<Option<&[u8]>, Wrong> {
        let Some((length, rest)) = self.rest().split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(Wrong::TooLong);
        }
        Ok(rest.get(..length))
    }
}
