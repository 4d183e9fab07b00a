//! Messages in, bytes out: the sending half of a connection.
//!
//! Small messages are [committed](super::commit) to the wire at once. Beyond [`COMMITTED`] bytes on
//! the wire, and behind a long message, they are queued unframed, so that control frames and urgent
//! messages can overtake them.

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
use crate::message::{Kind, Outgoing, Payload, Sendable};

/// How many bytes are committed ahead of the transport. 256 KiB: about what one write can use, and
/// what a control frame may have to wait for.
pub(super) const COMMITTED: usize = 256 * 1024;

/// The message that is being written piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    None,
    Begun(Kind),
}

/// The sending half of a [`Connection`](crate::Connection): output, the closing handshake, and all
/// timeouts.
pub struct Outbound {
    pub(super) config: Arc<Config>,
    /// `Some` for a client.
    pub(super) mask_keys: Option<Arc<dyn MaskKeys>>,
    pub(super) wire: Wire,
    pub(super) backlog: Option<Box<Backlog>>,
    pub(super) stream: Stream,
    pub(super) compressor: Option<Box<Compressor>>,
    /// `Some` from the first Close, failure or loss of the transport.
    pub(super) closing: Option<Box<Closing>>,
    pub(super) liveness: Liveness,
    /// The number of messages sent, modulo 2^32; a larger counter would not fit next to `stream`.
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

    /// The connection's configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether this is the server's end.
    #[must_use]
    #[inline]
    pub const fn is_server(&self) -> bool {
        self.mask_keys.is_none()
    }

    /// Sends a message: `&str` and `String` are sent as text, bytes as binary, and
    /// [`Prepared`](crate::Prepared) messages as what they were made of.
    ///
    /// The message is queued as a whole or not at all. A message that is being written piece by
    /// piece is finished first. There is no limit here: check
    /// [`buffered_amount`](Self::buffered_amount) to see whether the peer keeps up.
    ///
    /// # Errors
    /// The connection is closing; nothing was queued.
    #[inline]
    pub fn send<'a>(&mut self, message: impl Sendable<'a>) -> Result<(), SendError> {
        if self.send_short(message.kind(), message.as_bytes())? {
            return Ok(());
        }
        self.send_long(message.into());
        Ok(())
    }

    /// Sends a message if it is short, needs no compression and need not wait behind others: its
    /// bytes are copied behind the header, as for nearly every message. Returns `false` otherwise;
    /// then call [`send`](Self::send). The bytes of a text must be UTF-8.
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

    /// Whether a message can be committed at once.
    #[inline]
    fn has_room(&self) -> bool {
        self.stream == Stream::None && self.may_commit()
    }

    #[inline]
    fn may_commit(&self) -> bool {
        self.queue_is_empty() && self.wire.len() < COMMITTED
    }

    /// Sends a message before all queued messages that are not urgent and not partly sent.
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

    /// A buffer in which to frame messages separately from the connection. `None` unless they could
    /// be sent at once: nothing is queued, and nothing is compressed.
    #[must_use]
    pub fn frames(&self) -> Option<Frames> {
        let at_once = self.closing.is_none() && self.compressor.is_none() && self.has_room();
        at_once.then(|| Frames::new(self.mask_keys.clone(), self.config.fragment_size))
    }

    /// Sends messages that were framed separately, as [`send`](Self::send) would have, and empties
    /// `frames`.
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

    /// Sends a message piece by piece: the first call starts it, the call with `last` ends it. Each
    /// piece becomes a fragment.
    ///
    /// # Errors
    /// The connection is closing, or the piece is not of the type with which the message started.
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

    /// How many of the [unsent bytes](Self::buffered_amount) wait for a message that is written
    /// piece by piece. The task that writes it must not wait for them.
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

    /// Bytes sent by the caller and not yet taken by the transport.
    #[must_use]
    #[inline]
    pub fn buffered_amount(&self) -> usize {
        let queued = self.backlog.as_ref().map_or(0, |backlog| backlog.bytes);
        self.wire.len().saturating_add(queued)
    }

    /// Whether there is output to write.
    #[must_use]
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.wire.is_empty()
            || self
                .backlog
                .as_ref()
                .is_some_and(|backlog| backlog.has_output())
    }

    /// Fills `slices` with the output to write now, for one vectored write, and returns how many
    /// slices are used. Report what was written with [`transmitted`](Self::transmitted).
    #[must_use = "what is not written is not sent"]
    pub fn transmit<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.backlog.is_some() {
            self.commit_pong();
            self.pump();
        }
        self.wire.slices(slices)
    }

    /// Records that the transport took the first `count` bytes of the slices from
    /// [`transmit`](Self::transmit).
    pub fn transmitted(&mut self, count: usize) {
        self.wire.advance(count);
        if self.backlog.is_some() {
            self.pump();
        }
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
        let kind = message.kind;
        self.enqueue(match message.payload {
            Payload::Prepared(message) => Queued::Prepared { message, urgent },
            payload @ (Payload::Borrowed(_) | Payload::Owned(_) | Payload::Shared(_)) => {
                Queued::Message {
                    kind,
                    payload: payload.into_shared(),
                    urgent,
                }
            }
        });
    }

    /// Queues a message after those that wait, and after one that is being written piece by piece.
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
