//! Messages in, bytes out: the sending half of a connection. What is committed to the wire, and
//! what waits its turn behind it.
//!
//! Small messages are committed at once. Past [`COMMITTED`] bytes on the wire, and behind a long
//! message, they queue unframed, so that control frames and urgent messages get ahead of them.

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::MaskKeys;
use super::backlog::{Backlog, Queued};
use super::closing::Closing;
use super::frames::Frames;
use super::liveness::Liveness;
use super::wire::Wire;
use crate::Config;
use crate::deflate::Compressor;
use crate::error::SendError;
use crate::frame::{FrameHeader, OpCode};
use crate::mask::mask_rotated;
use crate::message::{Kind, Outgoing, Payload, Sendable};
use crate::prepared::Prepared;

/// How many bytes are committed ahead of what the transport takes. 256 KiB: what one write can
/// use, and what a control frame may have to wait for.
const COMMITTED: usize = 256 * 1024;

/// A shared payload up to this long is copied behind its header: cheaper than a slice of its own.
pub(super) const COPIED: usize = 4 * 1024;

/// The longest message that goes out masked in one frame while nothing else is to be sent. 256 KiB:
/// masking needs a copy, and buffers up to twice that are used again.
const LONE_MASKED: usize = 256 * 1024;

/// The message that is being written piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    None,
    Begun(Kind),
}

/// The sending half of a [`Connection`](crate::Connection): output, the closing handshake, and
/// every deadline.
pub struct Outbound {
    pub(super) config: Arc<Config>,
    /// `Some` makes it a client.
    mask_keys: Option<Arc<dyn MaskKeys>>,
    pub(super) wire: Wire,
    pub(super) backlog: Option<Box<Backlog>>,
    stream: Stream,
    compressor: Option<Box<Compressor>>,
    /// `Some` from the first Close, failure or loss on.
    pub(super) closing: Option<Box<Closing>>,
    pub(super) liveness: Liveness,
}

impl Outbound {
    pub(super) fn new(
        config: Arc<Config>,
        mask_keys: Option<Arc<dyn MaskKeys>>,
        now: Instant,
    ) -> Self {
        Self {
            config,
            mask_keys,
            wire: Wire::default(),
            backlog: None,
            stream: Stream::None,
            compressor: None,
            closing: None,
            liveness: Liveness::new(now),
        }
    }

    pub(super) fn set_compressor(&mut self, compressor: Compressor) {
        self.compressor = Some(Box::new(compressor));
    }

    /// The limits and times it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether it is the server's end.
    #[must_use]
    #[inline]
    pub const fn is_server(&self) -> bool {
        self.mask_keys.is_none()
    }

    /// Sends a message: text from `&str` and `String`, binary from the rest.
    ///
    /// It is queued whole or not at all, behind a message that is being written piece by piece.
    /// There is no limit here: ask [`buffered_amount`](Self::buffered_amount) whether the peer
    /// keeps up.
    ///
    /// # Errors
    /// The connection closes; nothing was queued.
    #[inline]
    pub fn send<'a>(&mut self, message: impl Sendable<'a>) -> Result<(), SendError> {
        if self.send_short(message.kind(), message.as_bytes())? {
            return Ok(());
        }
        self.send_long(message.into());
        Ok(())
    }

    /// Sends a message if it is short, need not be compressed and need not wait behind others:
    /// it is copied behind its header, the way of nearly every message. `false` where it is not;
    /// [`send`](Self::send) does what is right then. The bytes of a text must be UTF-8.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_short(&mut self, kind: Kind, bytes: &[u8]) -> Result<bool, SendError> {
        self.check_open()?;
        let short = bytes.len() <= COPIED.min(self.config.fragment_size);
        if !short || self.compressor.is_some() || !self.has_room() {
            return Ok(false);
        }
        self.liveness.sent();
        self.push_frame(kind.opcode(), true, false, bytes);
        Ok(true)
    }

    fn send_long(&mut self, message: Outgoing<'_>) {
        if self.has_room() {
            self.begin(message);
        } else {
            self.enqueue_message(message, false);
        }
    }

    /// Whether a message may be committed at once.
    #[inline]
    fn has_room(&self) -> bool {
        self.stream == Stream::None && self.may_commit()
    }

    #[inline]
    fn may_commit(&self) -> bool {
        self.queue_is_empty() && self.wire.len() < COMMITTED
    }

    /// Sends a message ahead of all that have not begun to be sent and are not urgent.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_urgent<'a>(&mut self, message: impl Into<Outgoing<'a>>) -> Result<(), SendError> {
        self.check_open()?;
        self.enqueue_message(message.into(), true);
        self.pump();
        Ok(())
    }

    /// Sends a message that was framed, and perhaps compressed, once for many connections.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_prepared(&mut self, message: &Prepared) -> Result<(), SendError> {
        self.check_open()?;
        if self.has_room() {
            self.begin_prepared(message);
        } else {
            self.enqueue(Queued::Prepared {
                message: message.clone(),
            });
        }
        Ok(())
    }

    /// A list to frame messages in apart from the connection, if they could leave at once by now:
    /// nothing waits, nothing is compressed.
    #[must_use]
    pub fn frames(&self) -> Option<Frames> {
        let at_once = self.closing.is_none() && self.compressor.is_none() && self.has_room();
        at_once.then(|| Frames::new(self.mask_keys.clone(), self.config.fragment_size))
    }

    /// Sends the messages that were framed apart, as [`send`](Self::send) would have, and leaves
    /// the list empty.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_frames(&mut self, frames: &mut Frames) -> Result<(), SendError> {
        if frames.is_empty() {
            return Ok(());
        }
        self.check_open()?;
        self.liveness.sent();
        if self.has_room() {
            self.wire.append(frames.bytes_mut());
        } else {
            let frames = std::mem::take(frames.bytes_mut()).into();
            self.enqueue(Queued::Framed { frames });
        }
        Ok(())
    }

    /// Sends a message piece by piece: the first call begins it, the one with `last` ends it.
    /// Each piece is a fragment of its own.
    ///
    /// # Errors
    /// The connection closes, or the piece is not of the type that the message began with.
    pub fn send_piece<'a>(
        &mut self,
        piece: impl Into<Outgoing<'a>>,
        last: bool,
    ) -> Result<(), SendError> {
        self.check_open()?;
        let piece = piece.into();
        let (kind, first) = match self.stream {
            Stream::None => (piece.kind, true),
            Stream::Begun(kind) if kind != piece.kind => return Err(SendError::KindMismatch),
            Stream::Begun(kind) => (kind, false),
        };
        if self.may_commit() {
            self.commit_piece(kind, piece.payload, first, last);
        } else {
            let payload = piece.payload.into_shared();
            self.backlog.get_or_insert_default().put(Queued::Piece {
                kind,
                payload,
                first,
                last,
            });
        }
        if !last {
            self.stream = Stream::Begun(kind);
            return Ok(());
        }
        self.stream = Stream::None;
        if let Some(backlog) = &mut self.backlog {
            backlog.release();
            self.pump();
        }
        Ok(())
    }

    /// Of the [unsent bytes](Self::buffered_amount) those that wait for a message that is written
    /// piece by piece to be finished. Whoever writes it must not wait for them.
    #[must_use]
    pub fn amount_behind_stream(&self) -> usize {
        self.backlog
            .as_ref()
            .map_or(0, |backlog| backlog.bytes_behind)
    }

    /// Bytes that were sent by the caller and not yet taken by the transport.
    #[must_use]
    #[inline]
    pub fn buffered_amount(&self) -> usize {
        let queued = self.backlog.as_ref().map_or(0, |backlog| backlog.bytes);
        self.wire.len().saturating_add(queued)
    }

    /// Whether there is something to write.
    #[must_use]
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.wire.is_empty()
            || self
                .backlog
                .as_ref()
                .is_some_and(|backlog| backlog.has_output())
    }

    /// Fills `slices` with what is to be written now, for one vectored write, and gives their
    /// number. Then tell how much was taken by [`transmitted`](Self::transmitted).
    #[must_use = "what is not written is not sent"]
    pub fn transmit<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.backlog.is_some() {
            self.commit_pong();
            self.pump();
        }
        self.wire.slices(slices)
    }

    /// Notes that the transport took the first `count` bytes of what
    /// [`transmit`](Self::transmit) gave.
    pub fn transmitted(&mut self, count: usize) {
        self.wire.advance(count);
        if self.backlog.is_some() {
            self.pump();
        }
    }

    /// Lends a buffer to cork output in, so that one buffer a thread serves every connection.
    /// Gives it back if the connection has one already.
    pub fn lend(&mut self, buffer: Vec<u8>) -> Option<Vec<u8>> {
        self.wire.lend(buffer)
    }

    /// Lends a buffer if the connection has none to cork output in: for when something is about to
    /// be sent, so that a connection that sends nothing borrows nothing.
    #[inline]
    pub fn lend_with(&mut self, buffer: impl FnOnce() -> Vec<u8>) {
        if self.wire.has_no_buffer() {
            let _taken = self.wire.lend(buffer());
        }
    }

    /// Takes the lent buffer back, if all of it has been transmitted. Until then, and without
    /// lending at all, the connection keeps a buffer just as long as something is unsent.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        self.wire.reclaim()
    }

    #[inline]
    pub(crate) fn check_open(&self) -> Result<(), SendError> {
        if self.closing.is_some() {
            Err(SendError::NotOpen)
        } else {
            Ok(())
        }
    }

    #[inline]
    pub(super) fn queue_is_empty(&self) -> bool {
        self.backlog
            .as_ref()
            .is_none_or(|backlog| backlog.is_empty())
    }

    fn enqueue_message(&mut self, message: Outgoing<'_>, urgent: bool) {
        let payload = message.payload.into_shared();
        self.enqueue(Queued::Message {
            kind: message.kind,
            payload,
            urgent,
        });
    }

    /// Puts a message behind those that wait, and behind one that is being written piece by piece.
    fn enqueue(&mut self, queued: Queued) {
        let backlog = self.backlog.get_or_insert_default();
        match self.stream {
            Stream::None => backlog.put(queued),
            Stream::Begun(_) => backlog.put_behind(queued),
        }
    }

    /// Commits what waits, as far as there is room, and the Close when its turn has come.
    pub(crate) fn pump(&mut self) {
        while self.wire.len() < COMMITTED {
            let Some(next) = self.backlog.as_mut().and_then(|backlog| backlog.take()) else {
                break;
            };
            match next {
                Queued::Message { kind, payload, .. } => {
                    self.begin(Outgoing {
                        kind,
                        payload: Payload::Shared(payload),
                    });
                }
                Queued::Prepared { message } => self.begin_prepared(&message),
                Queued::Framed { frames } => self.wire.place(frames),
                Queued::Rest {
                    opcode,
                    rsv1,
                    payload,
                } => self.commit_rest(opcode, rsv1, payload),
                Queued::Piece {
                    kind,
                    payload,
                    first,
                    last,
                } => {
                    self.commit_piece(kind, Payload::Shared(payload), first, last);
                }
            }
        }
        if !self.queue_is_empty() {
            return;
        }
        // RFC 6455 §5.5.1: no pong after a Close either.
        let closes = self.closing.is_some();
        if closes
            || self
                .backlog
                .as_ref()
                .is_some_and(|backlog| backlog.is_over())
        {
            self.backlog = None;
        }
        if closes {
            self.commit_close();
        }
    }

    /// Drops what waits; what has been committed still goes out.
    pub(crate) fn abandon_queue(&mut self) {
        self.backlog = None;
    }

    /// Compresses a message if that was agreed and pays, and commits it or its beginning.
    fn begin(&mut self, message: Outgoing<'_>) {
        self.liveness.sent();
        let opcode = message.kind.opcode();
        match self.compress(message.payload.as_slice()) {
            Some(compressed) => self.commit_message(opcode, true, Payload::Owned(compressed)),
            None => self.commit_message(opcode, false, message.payload),
        }
    }

    fn compress(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let compressor = self.compressor.as_mut()?;
        let mut compressed = Vec::new();
        compressor
            .compress(payload, &mut compressed)
            .then_some(compressed)
    }

    fn commit_message(&mut self, opcode: OpCode, rsv1: bool, payload: Payload<'_>) {
        if self.fits_one_frame(payload.as_slice().len()) {
            self.commit_frame(opcode, true, rsv1, payload);
        } else {
            self.commit_rest(opcode, rsv1, payload.into_shared());
        }
    }

    /// Whether a message goes out in one frame. A long one does while nothing else is to be sent:
    /// fragments are there to let others get in between, and cost the peer time.
    fn fits_one_frame(&self, len: usize) -> bool {
        let most = if self.is_server() {
            usize::MAX
        } else {
            LONE_MASKED
        };
        len <= self.config.fragment_size.max(1)
            || self.wire.is_empty() && len <= self.config.lone_frame_size.min(most)
    }

    /// Commits one fragment of a long message and puts what is left to the front of the queue.
    fn commit_rest(&mut self, mut opcode: OpCode, mut rsv1: bool, mut payload: Bytes) {
        self.liveness.sent();
        let fragment_size = self.config.fragment_size.max(1);
        while payload.len() > fragment_size {
            if self.wire.len() >= COMMITTED {
                let backlog = self.backlog.get_or_insert_default();
                backlog.put_back(Queued::Rest {
                    opcode,
                    rsv1,
                    payload,
                });
                return;
            }
            let fragment = payload.split_to(fragment_size);
            self.commit_frame(opcode, false, rsv1, Payload::Shared(fragment));
            // RFC 6455 §5.4, RFC 7692 §6: type and RSV1 are on the first fragment only.
            opcode = OpCode::Continuation;
            rsv1 = false;
        }
        self.commit_frame(opcode, true, rsv1, Payload::Shared(payload));
    }

    fn commit_piece(&mut self, kind: Kind, payload: Payload<'_>, first: bool, last: bool) {
        self.liveness.sent();
        let opcode = if first {
            kind.opcode()
        } else {
            OpCode::Continuation
        };
        let Some(compressor) = &mut self.compressor else {
            return self.commit_frame(opcode, last, false, payload);
        };
        let mut compressed = Vec::new();
        compressor.compress_chunk(payload.as_slice(), last, &mut compressed);
        if compressed.is_empty() && !last && !first {
            return;
        }
        self.commit_frame(opcode, last, first, Payload::Owned(compressed));
    }

    fn begin_prepared(&mut self, message: &Prepared) {
        self.liveness.sent();
        if !self.is_server() {
            // Each frame of a client has a mask of its own: only the payload can be shared.
            let shared = message.to_outgoing();
            if message.deflates() {
                return self.begin(shared);
            }
            return self.commit_message(shared.kind.opcode(), false, shared.payload);
        }
        let compressed = self.compressor.as_mut().and_then(|compressor| {
            let framed = message.compressed()?;
            compressor.note_sent(message.as_bytes());
            Some(framed)
        });
        let framed = compressed.unwrap_or_else(|| message.plain());
        let frame = framed.frame();
        if !self.fits_one_frame(framed.payload_bytes().len()) {
            let payload = Payload::Shared(framed.payload());
            self.commit_message(message.kind().opcode(), framed.rsv1, payload);
        } else if frame.len() <= COPIED {
            self.wire.push_framed(frame);
        } else {
            self.wire.place(frame.clone());
        }
    }

    #[inline]
    fn commit_frame(&mut self, opcode: OpCode, fin: bool, rsv1: bool, payload: Payload<'_>) {
        let placed = match payload {
            // RFC 6455 §5.3: what a client sends is masked; what the caller owns is not touched.
            _ if !self.is_server() => {
                return self.push_frame(opcode, fin, rsv1, payload.as_slice());
            }
            Payload::Shared(bytes) if bytes.len() > COPIED => bytes,
            Payload::Owned(bytes) if bytes.len() > COPIED => bytes.into(),
            Payload::Borrowed(_) | Payload::Owned(_) | Payload::Shared(_) => {
                return self.push_frame(opcode, fin, rsv1, payload.as_slice());
            }
        };
        let header = self.header(opcode, fin, rsv1, placed.len());
        self.wire.push(&header.encode(), &[]);
        self.wire.place(placed);
    }

    /// Commits a frame whose payload is copied behind its header.
    #[inline]
    fn push_frame(&mut self, opcode: OpCode, fin: bool, rsv1: bool, payload: &[u8]) {
        let header = self.header(opcode, fin, rsv1, payload.len());
        let place = self.wire.push(&header.encode(), payload);
        if let Some(key) = header.mask {
            mask_rotated(place, key);
        }
    }

    #[inline]
    fn header(&self, opcode: OpCode, fin: bool, rsv1: bool, len: usize) -> FrameHeader {
        FrameHeader {
            fin,
            rsv1,
            rsv23: false,
            opcode,
            mask: self.mask_keys.as_ref().map(|keys| keys.next_key()),
            payload_len: len as u64,
        }
    }

    /// Commits a control frame: behind what is committed, ahead of all that waits.
    pub(crate) fn commit_control(&mut self, opcode: OpCode, payload: &[u8]) {
        self.commit_frame(opcode, true, false, Payload::Borrowed(payload));
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("state", &self.ready_state())
            .field("buffered", &self.buffered_amount())
            .finish_non_exhaustive()
    }
}
