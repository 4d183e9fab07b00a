//! Messages framed separately from their connection.

use std::fmt;
use std::sync::Arc;

use super::MaskKeys;
use super::commit::COPIED;
use crate::frame::FrameHeader;
use crate::mask::mask_rotated;
use crate::message::Sendable;

/// Short messages, framed and not sent yet. Use it to answer a batch of messages without taking the
/// lock that a connection's other senders share. Made by
/// [`Outbound::frames`](super::Outbound::frames).
pub struct Frames {
    bytes: Vec<u8>,
    mask_keys: Option<Arc<dyn MaskKeys>>,
    /// Longer messages are not accepted.
    longest: usize,
}

impl Frames {
    pub(super) fn new(mask_keys: Option<Arc<dyn MaskKeys>>, fragment_size: usize) -> Self {
        Self {
            bytes: Vec::new(),
            mask_keys,
            longest: COPIED.min(fragment_size),
        }
    }

    /// Collects frames in this buffer, which should be empty.
    #[must_use]
    pub fn in_buffer(mut self, buffer: Vec<u8>) -> Self {
        self.bytes = buffer;
        self
    }

    /// Frames a message if it is short. Returns `false` if it is not: send it through the
    /// connection, after the frames collected here.
    #[inline]
    pub fn push<'a>(&mut self, message: &impl Sendable<'a>) -> bool {
        let payload = message.as_bytes();
        if payload.len() > self.longest {
            return false;
        }
        let header = FrameHeader {
            fin: true,
            rsv1: false,
            rsv23: false,
            opcode: message.kind().opcode(),
            mask: self.mask_keys.as_ref().map(|keys| keys.next_key()),
            payload_len: payload.len() as u64,
        };
        let encoded = header.encode();
        self.bytes
            .reserve(payload.len().saturating_add(size_of_val(&encoded)));
        encoded.append_to(&mut self.bytes);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        if let Some(key) = header.mask {
            mask_rotated(self.bytes.get_mut(start..).unwrap_or_default(), key);
        }
        true
    }

    /// The number of bytes collected.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no frame is collected.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the buffer, with the frames that were not sent.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) const fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
