//! Committing output to the wire: which frames a message becomes, and what is queued.

use bytes::Bytes;

use super::Outbound;
use super::backlog::Queued;
use super::outbound::COMMITTED;
use crate::frame::{FrameHeader, OpCode};
use crate::message::{Kind, Outgoing, Payload};
use crate::prepared::Prepared;

/// A shared payload up to this length is copied behind its header, which is cheaper than a slice of
/// its own.
pub(super) const COPIED: usize = 4 * 1024;

/// The longest message sent masked in one frame while nothing else is queued. 256 KiB: masking
/// needs a copy, and buffers up to twice that size are reused.
const LONE_MASKED: usize = 256 * 1024;

impl Outbound {
    /// Commits queued messages while there is room, and the Close once nothing is before it.
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
        // RFC 6455 §5.5.1: nothing follows a Close, not even a pong.
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

    /// Drops queued messages. What has been committed is still sent.
    pub(crate) fn abandon_queue(&mut self) {
        self.backlog = None;
    }

    /// Compresses a message if that was negotiated and makes it shorter, and commits it or its
    /// first fragment.
    pub(super) fn begin(&mut self, message: Outgoing<'_>) {
        let payload = match message.payload {
            Payload::Prepared(prepared) => return self.begin_prepared(&prepared),
            payload @ (Payload::Borrowed(_) | Payload::Owned(_) | Payload::Shared(_)) => payload,
        };
        self.compress_and_commit(message.kind, payload);
    }

    fn compress_and_commit(&mut self, kind: Kind, payload: Payload<'_>) {
        self.liveness.sent();
        match self.compress(payload.as_slice()) {
            Some(compressed) => {
                self.commit_message(kind.opcode(), true, Payload::Owned(compressed));
            }
            None => self.commit_message(kind.opcode(), false, payload),
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

    /// Whether a message is sent as one frame. A long one is, while nothing else is queued:
    /// fragments let other frames in between, and they cost the peer time.
    fn fits_one_frame(&self, len: usize) -> bool {
        let most = if self.is_server() {
            usize::MAX
        } else {
            LONE_MASKED
        };
        len <= self.config.fragment_size.max(1)
            || self.wire.is_empty() && len <= self.config.lone_frame_size.min(most)
    }

    /// Commits one fragment of a long message and puts the rest back at the front of the queue.
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

    pub(super) fn commit_piece(
        &mut self,
        kind: Kind,
        payload: Payload<'_>,
        first: bool,
        last: bool,
    ) {
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
        if !self.is_server() {
            // Each frame of a client has its own mask, so only the payload can be shared.
            let payload = Payload::Shared(message.shared_bytes());
            if message.deflates() {
                return self.compress_and_commit(message.kind(), payload);
            }
            self.liveness.sent();
            return self.commit_message(message.kind().opcode(), false, payload);
        }
        self.liveness.sent();
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
            // RFC 6455 §5.3: a client masks what it sends; the caller's own bytes are not modified.
            _ if !self.is_server() => {
                return self.push_frame(opcode, fin, rsv1, payload.as_slice());
            }
            Payload::Shared(bytes) if bytes.len() > COPIED => bytes,
            Payload::Owned(bytes) if bytes.len() > COPIED => bytes.into(),
            // Only a piece of a message is framed again.
            Payload::Prepared(message) if message.as_bytes().len() > COPIED => {
                message.shared_bytes()
            }
            Payload::Borrowed(_)
            | Payload::Owned(_)
            | Payload::Shared(_)
            | Payload::Prepared(_) => {
                return self.push_frame(opcode, fin, rsv1, payload.as_slice());
            }
        };
        let header = self.header(opcode, fin, rsv1, placed.len());
        self.wire.push(&header.encode(), &[]);
        self.wire.place(placed);
    }

    /// Commits a frame whose payload is copied behind its header.
    #[inline]
    pub(super) fn push_frame(&mut self, opcode: OpCode, fin: bool, rsv1: bool, payload: &[u8]) {
        let header = self.header(opcode, fin, rsv1, payload.len());
        match header.mask {
            Some(key) => self.wire.push_masked(&header.encode(), payload, key),
            None => self.wire.push(&header.encode(), payload),
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

    /// Commits a control frame: after what is committed, before everything that is queued.
    pub(crate) fn commit_control(&mut self, opcode: OpCode, payload: &[u8]) {
        self.commit_frame(opcode, true, false, Payload::Borrowed(payload));
    }
}
