//! A message that is not complete yet: the data received so far, validated as it arrives.

use std::borrow::Cow;
use std::mem;

use bytes::BufMut as _;
use bytes::buf::Limit;

use crate::config::Limits;
use crate::deflate::{Decompressor, InflateError};
use crate::error::{Error, LimitError, PeerError};
use crate::frame::FrameHeader;
use crate::mask::mask_rotated;
use crate::message::{Chunk, Kind, Message};
use crate::utf8::Utf8Stream;

/// How much memory is allocated for a frame ahead of the data that has arrived. A frame header can
/// announce any length; this is the most that an announcement alone can cost.
const TRUST: usize = 64 * 1024;

/// The same limit once data has arrived, as a multiple of the data. A message of 1 MiB is moved
/// once while it grows; to make this endpoint allocate 1 MiB without sending it, a peer must send
/// 128 KiB.
const EARNED: usize = 8;

/// The most that is read into a message at once: an amount that stays in a core's cache until it is
/// unmasked.
const ROOM: usize = 128 * 1024;

/// The most that one step of inflating a chunk produces.
const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Assembly {
    kind: Kind,
    /// Data received and not handed out yet. For text this includes the
    /// [carried](Utf8Stream::carried) bytes at its end.
    held: Vec<u8>,
    utf8: Utf8Stream,
    pub(crate) compressed: bool,
    /// Whether the message is handed out in chunks. Data in `held` then goes with the next chunk.
    pub(crate) chunked: bool,
    /// Whether a chunk was handed out.
    begun: bool,
    /// Frames received of this message.
    fragments: u32,
    /// Payload bytes held or handed out, after decompression.
    len: u64,
    /// Compressed bytes waiting to be inflated, from `inflated` on. Only used in chunk mode.
    backlog: Vec<u8>,
    inflated: usize,
    /// Whether the message ends with `backlog`.
    backlog_ends: bool,
}

impl Assembly {
    pub(crate) fn new(kind: Kind, compressed: bool, chunked: bool) -> Self {
        Self {
            kind,
            held: Vec::new(),
            utf8: Utf8Stream::default(),
            compressed,
            chunked,
            begun: false,
            fragments: 0,
            len: 0,
            backlog: Vec::new(),
            inflated: 0,
            backlog_ends: false,
        }
    }

    /// Switches to chunks, or back if no chunk was handed out yet. The announced length is not
    /// checked in chunk mode; after switching back, the limit is enforced where bytes are
    /// [added](Self::append).
    pub(crate) fn set_chunked(&mut self, chunked: bool) {
        if chunked == self.chunked || !chunked && (self.begun || self.has_backlog()) {
            return;
        }
        self.chunked = chunked;
        // In chunk mode, `utf8` alone keeps the bytes of an incomplete character.
        if chunked {
            let whole = self.held.len().saturating_sub(self.utf8.carried());
            self.held.truncate(whole);
        } else {
            self.held.extend_from_slice(self.utf8.carry());
        }
    }

    /// Counts a frame of this message and checks the length its header announces.
    pub(crate) fn admit(&mut self, header: &FrameHeader, limits: &Limits) -> Result<(), Error> {
        self.fragments = self.fragments.saturating_add(1);
        if self.fragments > limits.fragments {
            return Err(LimitError::TooManyFragments {
                limit: limits.fragments,
            }
            .into());
        }
        let promised = self.len.saturating_add(header.payload_len);
        if !self.chunked && !self.compressed && promised > limits.message_size {
            return Err(too_long(limits));
        }
        Ok(())
    }

    /// Adds a piece of an uncompressed message. `coming` is the number of bytes of its frame that
    /// are still to arrive.
    pub(crate) fn append(
        &mut self,
        piece: &[u8],
        coming: u64,
        limits: &Limits,
    ) -> Result<(), Error> {
        self.len = self.len.saturating_add(piece.len() as u64);
        let promised = self.len.saturating_add(coming);
        if promised > limits.message_size {
            return Err(too_long(limits));
        }
        self.check(piece)?;
        let held = &mut self.held;
        reserve(held.len(), held.capacity(), piece.len(), coming, |more| {
            held.reserve_exact(more);
        });
        self.held.extend_from_slice(piece);
        Ok(())
    }

    /// RFC 6455 §8.1: text must be UTF-8. Fails at the first byte that no valid text could have.
    fn check(&mut self, piece: &[u8]) -> Result<(), PeerError> {
        if self.kind == Kind::Text {
            self.utf8.feed(piece)?;
        }
        Ok(())
    }

    /// Bytes of memory that it takes.
    pub(crate) fn capacity(&self) -> usize {
        self.held.capacity().saturating_add(self.backlog.capacity())
    }

    /// The buffer to read the next bytes of the frame into, if they can be read to their final
    /// place. `coming` is the number of bytes of the frame that are still to arrive.
    pub(crate) fn room(&mut self, coming: u64, limits: &Limits) -> Option<Limit<&mut Vec<u8>>> {
        let promised = self.len.saturating_add(coming);
        if self.compressed || self.chunked || promised > limits.message_size {
            return None;
        }
        let held = &mut self.held;
        let after = coming.saturating_sub(1);
        reserve(held.len(), held.capacity(), 1, after, |more| {
            held.reserve_exact(more);
        });
        let spare = held.capacity().saturating_sub(held.len()).min(ROOM);
        let most = usize::try_from(coming).unwrap_or(usize::MAX).min(spare);
        Some(held.limit(most))
    }

    /// Unmasks and validates the bytes that were read into [`room`](Self::room), and returns how
    /// many there are.
    pub(crate) fn take_fresh(&mut self, key: [u8; 4]) -> Result<usize, PeerError> {
        if self.compressed || self.chunked {
            return Ok(0);
        }
        let known = usize::try_from(self.len).unwrap_or(usize::MAX);
        self.len = self.held.len() as u64;
        let fresh = self.held.get_mut(known..).unwrap_or_default();
        if key != [0; 4] {
            mask_rotated(fresh, key);
        }
        if self.kind == Kind::Text {
            self.utf8.feed(fresh)?;
        }
        Ok(fresh.len())
    }

    /// Inflates a piece of a compressed message that is received as a whole.
    pub(crate) fn append_compressed(
        &mut self,
        piece: &[u8],
        last: bool,
        decompressor: &mut Decompressor,
        limits: &Limits,
    ) -> Result<(), Error> {
        let before = self.held.len();
        inflate_all(piece, last, decompressor, &mut self.held, self.len, limits)?;
        let inflated = self.held.get(before..).unwrap_or_default();
        self.len = self.len.saturating_add(inflated.len() as u64);
        if self.kind == Kind::Text {
            self.utf8.feed(inflated)?;
        }
        Ok(())
    }

    /// Completes the message.
    pub(crate) fn finish(self) -> Result<Message<'static>, PeerError> {
        match self.kind {
            // RFC 6455 §8.1: text that ends inside a character is not UTF-8.
            Kind::Text => whole_text(self.held),
            Kind::Binary => Ok(Message::Binary(Cow::Owned(self.held))),
        }
    }

    /// Hands out a piece of an uncompressed message, together with the bytes held from before.
    /// `None` if there is nothing to hand out, as for an empty piece in the middle of a message.
    pub(crate) fn chunk<'b>(
        &mut self,
        piece: &'b [u8],
        last: bool,
    ) -> Result<Option<Chunk<'b>>, PeerError> {
        self.len = self.len.saturating_add(piece.len() as u64);
        let held = &mut self.held;
        let data = match self.kind {
            Kind::Text => {
                let (completed, valid) = self.utf8.feed(piece)?;
                if last && !self.utf8.is_complete() {
                    return Err(PeerError::InvalidUtf8);
                }
                if let Some(character) = completed {
                    held.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                if held.is_empty() {
                    Message::Text(Cow::Borrowed(valid))
                } else {
                    held.extend_from_slice(valid.as_bytes());
                    whole_text(mem::take(held))?
                }
            }
            Kind::Binary if held.is_empty() => Message::Binary(Cow::Borrowed(piece)),
            Kind::Binary => {
                held.extend_from_slice(piece);
                Message::Binary(Cow::Owned(mem::take(held)))
            }
        };
        if data.as_bytes().is_empty() && !last {
            return Ok(None);
        }
        // A message in chunks may have any length, so only frames without data are counted.
        self.fragments = 0;
        Ok(Some(Chunk {
            data,
            first: !mem::replace(&mut self.begun, true),
            last,
        }))
    }

    /// Keeps a compressed piece until [`inflate_chunk`](Self::inflate_chunk) has consumed it.
    pub(crate) fn hold(&mut self, piece: &[u8], last: bool) {
        self.backlog.extend_from_slice(piece);
        self.backlog_ends = last;
    }

    /// Whether a stored compressed piece is not fully consumed.
    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog_ends || self.inflated < self.backlog.len()
    }

    /// Inflates at most one chunk from the stored compressed bytes.
    pub(crate) fn inflate_chunk(
        &mut self,
        decompressor: &mut Decompressor,
    ) -> Result<Option<Chunk<'static>>, Error> {
        let input = self.backlog.get(self.inflated..).unwrap_or_default();
        let mut out = Vec::new();
        let step = decompressor
            .decompress(input, self.backlog_ends, &mut out, CHUNK)
            .map_err(|error| inflate_error(&error, u64::MAX))?;
        self.inflated = self.inflated.saturating_add(step.consumed);
        if self.inflated >= self.backlog.len() {
            self.backlog = Vec::new();
            self.inflated = 0;
        }
        let last = self.backlog_ends && step.finished;
        self.backlog_ends = self.backlog_ends && !step.finished;
        Ok(self.chunk(&out, last)?.map(Chunk::into_owned))
    }
}

impl Chunk<'_> {
    /// The same piece, owned.
    #[must_use]
    pub fn into_owned(self) -> Chunk<'static> {
        Chunk {
            data: self.data.into_owned(),
            first: self.first,
            last: self.last,
        }
    }
}

/// Inflates a whole message that is contiguous in the input.
pub(crate) fn inflate_whole(
    kind: Kind,
    payload: &[u8],
    decompressor: &mut Decompressor,
    limits: &Limits,
) -> Result<Message<'static>, Error> {
    let mut out = Vec::new();
    inflate_all(payload, true, decompressor, &mut out, 0, limits)?;
    match kind {
        Kind::Binary => Ok(Message::Binary(Cow::Owned(out))),
        Kind::Text => Ok(whole_text(out)?),
    }
}

/// Turns the bytes of a complete text into a message. Safe code validates them again in place,
/// which costs less than the copy it avoids.
fn whole_text(bytes: Vec<u8>) -> Result<Message<'static>, PeerError> {
    let text = String::from_utf8(bytes).map_err(|_| PeerError::InvalidUtf8)?;
    Ok(Message::Text(Cow::Owned(text)))
}

fn too_long(limits: &Limits) -> Error {
    LimitError::MessageTooLong {
        limit: limits.message_size,
    }
    .into()
}

fn inflate_all(
    mut input: &[u8],
    last: bool,
    decompressor: &mut Decompressor,
    out: &mut Vec<u8>,
    already: u64,
    limits: &Limits,
) -> Result<(), Error> {
    let start = out.len();
    loop {
        let grown = out.len().saturating_sub(start) as u64;
        let room = limits
            .message_size
            .saturating_sub(already.saturating_add(grown));
        // One byte more than allowed: it shows that a message is too long.
        let room = usize::try_from(room)
            .unwrap_or(usize::MAX)
            .saturating_add(1)
            .min(CHUNK);
        let step = decompressor
            .decompress(input, last, out, room)
            .map_err(|error| inflate_error(&error, limits.message_size))?;
        let grown = out.len().saturating_sub(start) as u64;
        if already.saturating_add(grown) > limits.message_size {
            return Err(too_long(limits));
        }
        input = input.get(step.consumed..).unwrap_or_default();
        if input.is_empty() && (step.finished || !last) {
            return Ok(());
        }
    }
}

fn inflate_error(error: &InflateError, limit: u64) -> Error {
    match error {
        InflateError::Corrupt => PeerError::CorruptDeflate.into(),
        InflateError::WindowExceeded => PeerError::DeflateWindow.into(),
        InflateError::TooLarge { .. } => LimitError::MessageTooLong { limit }.into(),
        InflateError::Ratio { limit } => LimitError::ExpansionRatio { limit: *limit }.into(),
    }
}

/// Reserves memory for data that has arrived, and ahead of it for the length its frame announces,
/// up to the larger of [`TRUST`] and [`EARNED`] times the data held: an announcement alone costs
/// little. The capacity at least doubles, so that small fragments are not copied again and again.
fn reserve(held: usize, capacity: usize, arrived: usize, coming: u64, more: impl FnOnce(usize)) {
    if capacity.saturating_sub(held) >= arrived {
        return;
    }
    let trusted = held.saturating_mul(EARNED).max(TRUST);
    let coming = usize::try_from(coming).unwrap_or(usize::MAX).min(trusted);
    more(arrived.saturating_add(coming).max(held));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many times memory was allocated for 1 MiB received in pieces of the given size, each in
    /// a separate frame or all in one frame.
    fn growths(piece: usize, one_frame: bool) -> usize {
        const WHOLE: usize = 1024 * 1024;
        let (mut capacity, mut growths) = (0, 0);
        for held in (0..WHOLE).step_by(piece) {
            let coming = if one_frame { WHOLE - held - piece } else { 0 };
            reserve(held, capacity, piece, coming as u64, |more| {
                capacity = held + more;
                growths += 1;
            });
        }
        growths
    }

    #[test]
    fn small_fragments_are_not_copied_repeatedly() {
        assert!(growths(16, false) <= 20);
    }

    #[test]
    fn a_long_frame_is_moved_once_while_it_grows() {
        assert_eq!(growths(64 * 1024, true), 2);
    }

    #[test]
    fn a_long_text_split_inside_characters_gets_no_more_room_than_needed() {
        let bytes = "€".repeat(100_000).into_bytes();
        let mut assembly = Assembly::new(Kind::Text, false, false);
        let mut coming = bytes.len();
        for piece in bytes.chunks(65_536) {
            coming -= piece.len();
            let limits = Limits::default();
            assembly
                .append(piece, coming as u64, &limits)
                .expect("valid text");
        }
        assert_eq!(assembly.held, bytes);
        assert_eq!(assembly.held.capacity(), bytes.len());
    }

    #[test]
    fn an_announced_length_alone_uses_little_memory() {
        let mut taken = 0;
        reserve(0, 0, 1, u64::MAX, |more| taken = more);
        assert_eq!(taken, 1 + TRUST);
    }
}
