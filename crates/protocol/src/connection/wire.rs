//! Bytes committed to the wire, in order: small frames are corked in one buffer; long payloads are
//! not copied and are placed between them.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::frame::EncodedHeader;
use crate::mask::mask_rotated;

/// Move the unsent rest to the front when at least this much before it was sent, and more than half
/// of the buffer.
const COMPACT_FROM: usize = 64 * 1024;

/// How much is copied and then masked at once. 4 KiB: a small part of a first-level cache, and a
/// multiple of the key's length.
const MASKED_AT_ONCE: usize = 4 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Wire {
    cork: Vec<u8>,
    /// `cork[..sent]` was written.
    sent: usize,
    /// How many bytes were written since the connection started.
    gone: u64,
    /// Whether `cork` is a lent buffer.
    lent: bool,
    placed: Option<Box<Placed>>,
}

/// Payloads that were not copied. Invariant: `parts` is not empty, and its `at`s ascend from
/// `Wire::sent`.
#[derive(Debug, Default)]
struct Placed {
    parts: VecDeque<Part>,
    bytes: usize,
}

#[derive(Debug)]
struct Part {
    /// These bytes are written before `cork[at..]`.
    at: usize,
    bytes: Bytes,
}

impl Wire {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        let placed = self.placed.as_ref().map_or(0, |placed| placed.bytes);
        self.cork
            .len()
            .saturating_sub(self.sent)
            .saturating_add(placed)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.cork.len() && self.placed.is_none()
    }

    /// How many bytes were written since the connection started.
    pub(crate) const fn gone(&self) -> u64 {
        self.gone
    }

    /// The value [`gone`](Self::gone) will have when everything committed so far was written.
    pub(crate) fn mark(&self) -> u64 {
        self.gone.saturating_add(self.len() as u64)
    }

    /// Whether everything committed before the mark was written.
    pub(crate) const fn has_sent(&self, mark: u64) -> bool {
        mark <= self.gone
    }

    /// Appends a header and its payload.
    #[inline]
    pub(crate) fn push(&mut self, header: &EncodedHeader, payload: &[u8]) {
        self.cork
            .reserve(payload.len().saturating_add(size_of::<EncodedHeader>()));
        header.append_to(&mut self.cork);
        self.cork.extend_from_slice(payload);
    }

    /// Appends a header and its payload, masked.
    #[inline]
    pub(crate) fn push_masked(&mut self, header: &EncodedHeader, payload: &[u8], key: [u8; 4]) {
        self.cork
            .reserve(payload.len().saturating_add(size_of::<EncodedHeader>()));
        header.append_to(&mut self.cork);
        // Piece by piece: each is masked while it is in the processor's first cache.
        for piece in payload.chunks(MASKED_AT_ONCE) {
            let start = self.cork.len();
            self.cork.extend_from_slice(piece);
            mask_rotated(self.cork.get_mut(start..).unwrap_or_default(), key);
        }
    }

    /// Appends a whole frame.
    pub(crate) fn push_framed(&mut self, frame: &[u8]) {
        self.cork.extend_from_slice(frame);
    }

    /// Appends whole frames and empties their list. Takes the list itself if the wire has no
    /// buffer.
    pub(crate) fn append(&mut self, frames: &mut Vec<u8>) {
        if self.cork.capacity() == 0 && self.placed.is_none() {
            std::mem::swap(&mut self.cork, frames);
            self.lent = true;
            return;
        }
        self.cork.append(frames);
    }

    /// Appends bytes by reference.
    pub(crate) fn place(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let placed = self.placed.get_or_insert_default();
        placed.bytes = placed.bytes.saturating_add(bytes.len());
        placed.parts.push_back(Part {
            at: self.cork.len(),
            bytes,
        });
    }

    /// Fills `slices` from the front with the bytes to write, in order.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut from = self.sent;
        let mut filled = 0_usize;
        let mut room = slices.iter_mut();
        let mut put = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let Some(slot) = room.next() else {
                return false;
            };
            *slot = IoSlice::new(bytes);
            filled = filled.saturating_add(1);
            true
        };
        for part in self.placed.iter().flat_map(|placed| &placed.parts) {
            let corked = self.cork.get(from..part.at).unwrap_or_default();
            if !put(corked) || !put(&part.bytes) {
                return filled;
            }
            from = part.at;
        }
        put(self.cork.get(from..).unwrap_or_default());
        filled
    }

    /// Records that the first `count` bytes were written.
    pub(crate) fn advance(&mut self, mut count: usize) {
        self.gone = self.gone.saturating_add(count.min(self.len()) as u64);
        while count > 0 {
            let boundary = self
                .placed
                .as_ref()
                .and_then(|p| p.parts.front())
                .map_or(usize::MAX, |p| p.at);
            let corked = boundary.min(self.cork.len()).saturating_sub(self.sent);
            if corked > 0 {
                let step = corked.min(count);
                self.sent = self.sent.saturating_add(step);
                count = count.saturating_sub(step);
            } else if self.placed.is_some() {
                count = count.saturating_sub(self.advance_placed(count));
            } else {
                break;
            }
        }
        if !self.is_empty() {
            self.compact();
            return;
        }
        self.clear();
    }

    /// Drops unwritten bytes.
    pub(crate) fn discard(&mut self) {
        self.gone = self.mark();
        self.placed = None;
        self.clear();
    }

    /// An idle connection owns no buffer; a lent one is kept until it is reclaimed.
    fn clear(&mut self) {
        self.sent = 0;
        if self.lent {
            self.cork.clear();
        } else {
            self.cork = Vec::new();
        }
    }

    fn advance_placed(&mut self, count: usize) -> usize {
        let Some(placed) = &mut self.placed else {
            return 0;
        };
        let Some(part) = placed.parts.front_mut() else {
            return 0;
        };
        let step = part.bytes.len().min(count);
        part.bytes.advance(step);
        placed.bytes = placed.bytes.saturating_sub(step);
        if part.bytes.is_empty() {
            placed.parts.pop_front();
        }
        if placed.parts.is_empty() {
            self.placed = None;
        }
        step
    }

    /// Prevents written bytes from accumulating before the unwritten ones on a slow connection.
    /// Amortised: each move is paid for by at least as many bytes written.
    fn compact(&mut self) {
        let rest = self.cork.len().saturating_sub(self.sent);
        if self.sent < COMPACT_FROM || self.sent < rest || rest == 0 {
            return;
        }
        self.cork.drain(..self.sent);
        for part in self.placed.iter_mut().flat_map(|placed| &mut placed.parts) {
            part.at = part.at.saturating_sub(self.sent);
        }
        self.sent = 0;
    }

    /// Whether it has no buffer to cork in.
    #[inline]
    pub(crate) const fn has_no_buffer(&self) -> bool {
        self.cork.capacity() == 0
    }

    pub(crate) fn lend(&mut self, buffer: Vec<u8>) -> Option<Vec<u8>> {
        if self.cork.capacity() > 0 || !buffer.is_empty() {
            return Some(buffer);
        }
        self.cork = buffer;
        self.lent = true;
        None
    }

    /// Returns the lent buffer once everything in it was written.
    pub(crate) fn reclaim(&mut self) -> Option<Vec<u8>> {
        if !self.lent || !self.cork.is_empty() {
            return None;
        }
        self.lent = false;
        Some(std::mem::take(&mut self.cork))
    }
}
