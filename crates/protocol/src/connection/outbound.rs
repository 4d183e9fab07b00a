//! Messages in, bytes out: the sending half of a connection.
//!
//! Small messages are [committed](super::commit) to the wire at once. Past [`COMMITTED`] bytes on the wire, and behind a long
//! message, they queue unframed, so that control frames and urgent messages get ahead of them.

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use super::MaskKeys;
use super::backlog::{Backlog, Queued};
use super::closing::Closing;
use super::commit::COPIED;
use super::frames::Frames;
use super::liveness::Liveness;
use super::wire::Wire;
use crate::Config;
use crate::deflate::Compressor;
use crate::error::SendError;
use crate::message::{Kind, Outgoing, Sendable};
use crate::prepared::Prepared;

/// How many bytes are committed ahead of what the transport takes. 256 KiB: what one write can
/// use, and what a control frame may have to wait for.
pub(super) const COMMITTED: usize = 256 * 1024;

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
    pub(super) mask_keys: Option<Arc<dyn MaskKeys>>,
    pub(super) wire: Wire,
    pub(super) backlog: Option<Box<Backlog>>,
    pub(super) stream: Stream,
    pub(super) compressor: Option<Box<Compressor>>,
    /// `Some` from the first Close, failure or loss on.
    pub(super) closing: Option<Box<Closing>>,
    pub(super) liveness: Liveness,
    /// How many messages were sent, modulo 2^32: there is room for no more beside `stream`.
    messages: u32,
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
            messages: 0,
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
        self.count_messages(1);
        self.push_frame(kind.opcode(), true, false, bytes);
        Ok(true)
    }

    fn send_long(&mut self, message: Outgoing<'_>) {
        self.count_messages(1);
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
        self.count_messages(1);
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
        self.count_messages(1);
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
        self.count_messages(frames.take_count());
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
        self.count_messages(1);
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

    /// How many messages were sent by the caller, whether or not they have left. One that is
    /// written piece by piece counts when its last piece was sent. Modulo 2^32, to keep an idle
    /// connection small: take the difference to an earlier count.
    #[must_use]
    #[inline]
    pub const fn messages_sent(&self) -> u32 {
        self.messages
    }

    #[inline]
    const fn count_messages(&mut self, more: u32) {
        self.messages = self.messages.wrapping_add(more);
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
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("state", &self.ready_state())
            .field("buffered", &self.buffered_amount())
            .finish_non_exhaustive()
    }
}
