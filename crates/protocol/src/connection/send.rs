//! Messages in, bytes out: what is committed to the wire, and what waits its turn behind it.
//!
//! Small messages are committed at once. Past [`COMMITTED`] bytes on the wire, and behind a long
//! message, they queue unframed, so that control frames and urgent messages get ahead of them.

use std::io::IoSlice;

use bytes::Bytes;

use super::Connection;
use super::backlog::Queued;
use crate::error::SendError;
use crate::frame::{FrameHeader, OpCode};
use crate::mask::mask_rotated;
use crate::message::{Kind, Outgoing, Payload, Sendable};
use crate::prepared::Prepared;

/// How many bytes are committed ahead of what the transport takes. 256 KiB: what one write can
/// use, and what a control frame may have to wait for.
const COMMITTED: usize = 256 * 1024;

/// A shared payload up to this long is copied behind its header: cheaper than a slice of its own.
const COPIED: usize = 4 * 1024;

/// The message that is being written piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    None,
    Begun(Kind),
}

impl Connection {
    /// Sends a message: text from `&str` and `String`, binary from the rest.
    ///
    /// It is queued whole or not at all. There is no limit here: ask
    /// [`buffered_amount`](Self::buffered_amount) whether the peer keeps up.
    ///
    /// # Errors
    /// The connection closes, or a message is being written piece by piece; nothing was queued.
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
        self.check_free()?;
        let short = bytes.len() <= COPIED.min(self.config.fragment_size);
        if !short || self.deflate.is_some() || !self.has_room() {
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
        self.queue_is_empty() && self.wire.len() < COMMITTED
    }

    /// Sends a message ahead of all that have not begun to be sent and are not urgent.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_urgent<'a>(&mut self, message: impl Into<Outgoing<'a>>) -> Result<(), SendError> {
        self.check_free()?;
        self.enqueue_message(message.into(), true);
        self.pump();
        Ok(())
    }

    /// Sends a message that was framed, and perhaps compressed, once for many connections.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_prepared(&mut self, message: &Prepared) -> Result<(), SendError> {
        self.check_free()?;
        if self.has_room() {
            self.begin_prepared(message);
        } else {
            self.enqueue(Queued::Prepared {
                message: message.clone(),
                urgent: false,
            });
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
        self.stream = if last {
            Stream::None
        } else {
            Stream::Begun(kind)
        };
        if self.has_room() {
            self.commit_piece(kind, piece.payload, first, last);
        } else {
            let payload = piece.payload.into_shared();
            self.enqueue(Queued::Piece {
                kind,
                payload,
                first,
                last,
            });
        }
        Ok(())
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
        !self.wire.is_empty() || self.backlog.is_some()
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
    fn check_free(&self) -> Result<(), SendError> {
        self.check_open()?;
        match self.stream {
            Stream::None => Ok(()),
            Stream::Begun(_) => Err(SendError::StreamInProgress),
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

    fn enqueue(&mut self, queued: Queued) {
        self.backlog.get_or_insert_default().put(queued);
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
                Queued::Prepared { message, .. } => self.begin_prepared(&message),
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
                .is_some_and(|backlog| backlog.pong.is_none())
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

    /// Commits a message, or its beginning.
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
        let deflate = self.deflate.as_mut()?;
        let mut compressed = Vec::new();
        deflate
            .compressor
            .compress(payload, &mut compressed)
            .then_some(compressed)
    }

    fn commit_message(&mut self, opcode: OpCode, rsv1: bool, payload: Payload<'_>) {
        if payload.as_slice().len() <= self.config.fragment_size.max(1) {
            self.commit_frame(opcode, true, rsv1, payload);
        } else {
            self.commit_rest(opcode, rsv1, payload.into_shared());
        }
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
        let Some(deflate) = &mut self.deflate else {
            return self.commit_frame(opcode, last, false, payload);
        };
        let mut compressed = Vec::new();
        deflate
            .compressor
            .compress_chunk(payload.as_slice(), last, &mut compressed);
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
        let compressed = self.deflate.as_mut().and_then(|deflate| {
            let framed = message.compressed(deflate.compressor.window_bits())?;
            deflate.compressor.note_sent(message.as_bytes());
            Some(framed)
        });
        let framed = compressed.unwrap_or_else(|| message.plain());
        let frame = framed.frame();
        if framed.payload_bytes().len() > self.config.fragment_size {
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
