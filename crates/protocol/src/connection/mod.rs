//! An open connection: turns bytes into events and messages into bytes, and handles timeouts.

mod assembly;
mod backlog;
mod closing;
mod commit;
mod deflating;
mod direct;
mod frame_position;
mod frames;
mod inbound;
mod input;
mod lending;
mod liveness;
mod outbound;
mod wire;

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::buf::Limit;
pub use closing::{CloseFrame, Closed, ClosedBy, ReadyState};
pub use deflating::Deflate;
pub use frames::Frames;
pub use inbound::Inbound;
pub use input::Input;
pub use lending::{lend, lend_with, reclaim};
pub use liveness::SentPing;
pub use outbound::Outbound;

use crate::Config;
use crate::error::Error;
use crate::message::{Chunk, Message};

#[doc = include_str!("connection.md")]
pub struct Connection {
    inbound: Inbound,
    outbound: Outbound,
}

/// What was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// A whole message.
    Message(Message<'b>),
    /// A piece of a message, in [`ReceiveMode::Chunks`].
    Chunk(Chunk<'b>),
    /// A ping; the answer is already queued.
    Ping(Cow<'b, [u8]>),
    /// A pong.
    Pong {
        /// The pong's payload.
        payload: Cow<'b, [u8]>,
        /// The round-trip time, if it answers [`Connection::ping`](crate::halves::Outbound::ping)
        /// or a keepalive ping.
        rtt: Option<Duration>,
    },
    /// The peer's Close; nothing follows it. If the peer started the close, the answer is already
    /// queued.
    Close(CloseFrame),
}

/// How messages are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveMode {
    /// Each as a whole, up to [`Limits::message_size`](crate::Limits::message_size).
    #[default]
    Whole,
    /// Piece by piece as data arrives, of any length, in constant memory.
    Chunks,
}

/// The source of masking keys.
///
/// RFC 6455 §5.3 and §10.3: each frame needs a fresh key from a strong source of entropy that
/// cannot be predicted from earlier keys. Otherwise a script in a page could choose the bytes that
/// a proxy sees.
pub trait MaskKeys: Send + Sync {
    /// An unpredictable key.
    fn next_key(&self) -> [u8; 4];
}

impl<F: Fn() -> [u8; 4] + Send + Sync> MaskKeys for F {
    fn next_key(&self) -> [u8; 4] {
        self()
    }
}

impl Connection {
    /// The server's end of a connection, after the opening handshake.
    #[must_use]
    pub fn server(config: Arc<Config>, now: Instant) -> Self {
        Self::new(config, None, now)
    }

    /// The client's end of a connection, after the opening handshake.
    #[must_use]
    pub fn client(config: Arc<Config>, mask_keys: Arc<dyn MaskKeys>, now: Instant) -> Self {
        Self::new(config, Some(mask_keys), now)
    }

    fn new(config: Arc<Config>, mask_keys: Option<Arc<dyn MaskKeys>>, now: Instant) -> Self {
        Self {
            inbound: Inbound::new(Arc::clone(&config), mask_keys.is_none()),
            outbound: Outbound::new(config, mask_keys, now),
        }
    }

    /// Adds permessage-deflate, as negotiated in the opening handshake.
    #[must_use]
    pub fn with_deflate(mut self, deflate: Deflate) -> Self {
        self.inbound.set_decompressor(deflate.decompressor);
        self.outbound.set_compressor(deflate.compressor);
        self
    }

    /// Splits the connection into its halves, for a driver that reads and writes in different
    /// places; see [`halves`](crate::halves).
    #[must_use]
    pub fn into_halves(self) -> (Inbound, Outbound) {
        (self.inbound, self.outbound)
    }

    /// Takes the next event from `input`, or consumes all of `input` and returns `None`.
    ///
    /// Call it until it returns `None`; you may send between the calls. What is complete in `input`
    /// is unmasked in place and borrowed; only an incomplete rest is copied. Pings and closes are
    /// answered before you see them.
    ///
    /// # Errors
    /// Returned once, when the connection must be failed. The Close frame with the matching code is
    /// already queued, and all later input is ignored. Write the output, then disconnect.
    #[inline]
    pub fn receive<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Event<'b>>, Error> {
        if input.note() {
            self.outbound.heard(input.at());
        }
        let mut received = self.inbound.receive(input);
        if let Ok(Some(Event::Message(_))) = received {
            self.outbound.received();
        } else {
            self.react(&mut received, input.at());
        }
        received
    }

    fn react(&mut self, received: &mut Result<Option<Event<'_>>, Error>, at: Instant) {
        if self.inbound.take_progress() || matches!(received, Ok(Some(Event::Chunk(_)))) {
            self.outbound.received();
        }
        self.outbound.react(received, at);
    }

    /// How messages are handed out from now on; see [`Inbound::set_receive_mode`].
    #[inline]
    pub fn set_receive_mode(&mut self, mode: ReceiveMode) {
        self.inbound.set_receive_mode(mode);
    }

    /// The buffer to read the rest of a long message into; see [`Inbound::payload_room`].
    pub fn payload_room(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        self.inbound.payload_room()
    }

    /// Processes the bytes read into [`payload_room`](Self::payload_room). Returns the message if
    /// they complete it.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn payload_read(&mut self, at: Instant) -> Result<Option<Event<'static>>, Error> {
        self.outbound.heard(at);
        let mut received = self.inbound.payload_read();
        self.outbound.received();
        self.outbound.react(&mut received, at);
        received
    }
}

/// Sending, timeouts and state belong to the [`Outbound`] half.
impl Deref for Connection {
    type Target = Outbound;

    #[inline]
    fn deref(&self) -> &Outbound {
        &self.outbound
    }
}

impl DerefMut for Connection {
    #[inline]
    fn deref_mut(&mut self) -> &mut Outbound {
        &mut self.outbound
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field(
                "role",
                if self.is_server() {
                    &"server"
                } else {
                    &"client"
                },
            )
            .field("state", &self.ready_state())
            .field("buffered", &self.buffered_amount())
            .finish_non_exhaustive()
    }
}
