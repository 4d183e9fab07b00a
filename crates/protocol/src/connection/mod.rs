//! An open connection: events out of bytes, bytes out of messages, and what time asks for.

mod assembly;
mod backlog;
mod closing;
mod deflating;
mod direct;
mod input;
mod liveness;
mod receive;
mod send;
mod stage;
mod wire;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assembly::Assembly;
use backlog::Backlog;
use closing::Closing;
pub use closing::{CloseFrame, Closed, ClosedBy, ReadyState};
pub use deflating::Deflate;
pub use input::Input;
use liveness::Liveness;
pub use liveness::SentPing;
use send::Stream;
use stage::Stage;
use wire::Wire;

use crate::Config;
use crate::message::{Chunk, Message};

#[doc = include_str!("connection.md")]
pub struct Connection {
    config: Arc<Config>,
    /// `Some` makes it a client.
    mask_keys: Option<Arc<dyn MaskKeys>>,
    receive_mode: ReceiveMode,
    stage: Stage,
    /// A control frame that is not whole yet; at most 125 bytes.
    #[expect(
        clippy::box_collection,
        reason = "hardly any connection has one: a third of the size"
    )]
    control: Option<Box<Vec<u8>>>,
    /// `Some` from a message's first frame, if it is not whole in it, to its end.
    assembly: Option<Box<Assembly>>,
    wire: Wire,
    backlog: Option<Box<Backlog>>,
    stream: Stream,
    deflate: Option<Box<Deflate>>,
    /// `Some` from the first Close, failure or loss on.
    closing: Option<Box<Closing>>,
    liveness: Liveness,
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
        /// The round trip, if it answers [`Connection::ping`] or a keepalive ping.
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
            config,
            mask_keys,
            receive_mode: ReceiveMode::default(),
            stage: Stage::default(),
            control: None,
            assembly: None,
            wire: Wire::default(),
            backlog: None,
            stream: Stream::None,
            deflate: None,
            closing: None,
            liveness: Liveness::new(now),
        }
    }

    /// With permessage-deflate, as the opening handshake agreed on it.
    #[must_use]
    pub fn with_deflate(mut self, deflate: Deflate) -> Self {
        self.deflate = Some(Box::new(deflate));
        self
    }

    /// Whether it is the server's end.
    #[must_use]
    #[inline]
    pub const fn is_server(&self) -> bool {
        self.mask_keys.is_none()
    }

    /// The limits and times it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
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
