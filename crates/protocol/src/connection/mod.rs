//! An open connection: events out of bytes, bytes out of messages, and what time asks for.

mod assembly;
mod backlog;
mod closing;
mod commit;
mod deflating;
mod direct;
mod frames;
mod inbound;
mod input;
mod liveness;
mod outbound;
mod stage;
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

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// A whole message.
    Message(Message<'b>),
    /// A piece of a message, in [`ReceiveMode::Chunks`].
    Chunk(Chunk<'b>),
    /// A ping; its answer is queued.
    Ping(Cow<'b, [u8]>),
    /// A pong.
    Pong {
        /// What it carries.
        payload: Cow<'b, [u8]>,
        /// The round trip, if it answers [`Connection::ping`](crate::halves::Outbound::ping) or a keepalive ping.
        rtt: Option<Duration>,
    },
    /// The peer's Close; nothing comes after it. If it began the closing, its answer is queued.
    Close(CloseFrame),
}

/// How messages are given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveMode {
    /// Each as a whole, up to [`Limits::message_size`](crate::Limits::message_size).
    #[default]
    Whole,
    /// Piece by piece as they come, of any length, in constant memory.
    Chunks,
}

/// Where masking keys come from.
///
/// RFC 6455 §5.3 and §10.3: a key must be fresh for each frame, from a strong source of entropy,
/// and not predictable from the ones before; otherwise a page's script could choose the bytes
/// that a proxy sees.
pub trait MaskKeys: Send + Sync {
    /// A key that nobody can foresee.
    fn next_key(&self) -> [u8; 4];
}

impl<F: Fn() -> [u8; 4] + Send + Sync> MaskKeys for F {
    fn next_key(&self) -> [u8; 4] {
        self()
    }
}

impl Connection {
    /// The server's end, right after the opening handshake.
    #[must_use]
    pub fn server(config: Arc<Config>, now: Instant) -> Self {
        Self::new(config, None, now)
    }

    /// The client's end, right after the opening handshake.
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

    /// With permessage-deflate, as the opening handshake agreed on it.
    #[must_use]
    pub fn with_deflate(mut self, deflate: Deflate) -> Self {
        self.inbound.set_decompressor(deflate.decompressor);
        self.outbound.set_compressor(deflate.compressor);
        self
    }

    /// Both halves, for a driver that reads and writes in different places; see
    /// [`halves`](crate::halves).
    #[must_use]
    pub fn into_halves(self) -> (Inbound, Outbound) {
        (self.inbound, self.outbound)
    }

    /// Takes the next event out of `input`, or uses `input` up and returns `None`.
    ///
    /// Call it until it returns `None`; between the calls anything may be sent. What lies whole
    /// in `input` is unmasked in place and borrowed; only what is incomplete at its end is kept.
    /// Pings are answered and closes are answered before you see them.
    ///
    /// # Errors
    /// Once, when the connection has to be failed: the Close frame with the right code is queued
    /// by then, and everything that still comes in is ignored. Write the output, then disconnect.
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

    /// How messages are given out from now on; see [`Inbound::set_receive_mode`].
    #[inline]
    pub fn set_receive_mode(&mut self, mode: ReceiveMode) {
        self.inbound.set_receive_mode(mode);
    }

    /// Where to read the rest of a long message; see [`Inbound::payload_room`].
    pub fn payload_room(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        self.inbound.payload_room()
    }

    /// Takes what was read into [`payload_room`](Self::payload_room), and gives the message if
    /// that was the last of it.
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

/// Sending, closing, times and state are the [`Outbound`] half's.
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
