//! Engine.IO v4 beneath the dialect of one connection: the greeting, the server's pings, and the
//! packets that are not messages.

use std::time::{Duration, Instant};

use super::packet::{Engine, Invalid};
use crate::{dialect::Payload, json::Object};

/// What the greeting tells the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// The time between two pings of the server.
    pub ping_interval: Duration,
    /// How long the client may take to answer a ping.
    pub ping_timeout: Duration,
    /// The largest message that the server accepts.
    pub max_payload: usize,
    /// Whether the connection can be upgraded to a WebSocket.
    pub can_upgrade: bool,
}

/// Engine.IO over one connection.
///
/// ```text
///       begin           ping due                pong due
/// Off ─────────▶ PingDue ─────────▶ PongDue ──────────────▶ the client is dead
///                   ◀────────────────┘
///                    anything received
/// ```
#[derive(Debug)]
pub struct EngineIo {
    settings: EngineSettings,
    heartbeat: Heartbeat,
}

/// The server's pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heartbeat {
    /// No pings are sent.
    Off,
    /// When the next ping is due.
    PingDue(Instant),
    /// When the answer to the last ping is due.
    PongDue(Instant),
}

/// What a client's text packet is to the dialect above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A message.
    Message(&'a str),
    /// Nothing.
    Nothing,
    /// The client has closed the connection.
    Close,
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send this ping.
    Ping(Payload),
    /// Close the connection: the client did not answer the last ping.
    Dead,
}

impl EngineIo {
    /// A new connection, without pings.
    #[must_use]
    pub const fn new(settings: EngineSettings) -> Self {
        Self {
            settings,
            heartbeat: Heartbeat::Off,
        }
    }

    /// The server's first packet, for a connection with this id.
    #[must_use]
    pub fn greeting(&self, id: &str) -> Payload {
        let settings = &self.settings;
        let upgrades = if settings.can_upgrade {
            "[\"websocket\"]"
        } else {
            "[]"
        };
        let json = Object::part()
            .text("sid", id)
            .raw("upgrades", upgrades)
            .raw("pingInterval", settings.ping_interval.as_millis())
            .raw("pingTimeout", settings.ping_timeout.as_millis())
            .raw("maxPayload", settings.max_payload)
            .end();
        Engine::Open(&json).write().into()
    }

    /// Pings are sent from now on.
    pub fn begin(&mut self, now: Instant) {
        self.heartbeat = later(now, self.settings.ping_interval, Heartbeat::PingDue);
    }

    /// No pings are sent any more.
    pub const fn end(&mut self) {
        self.heartbeat = Heartbeat::Off;
    }

    /// The client sent something. Any packet shows that it is alive.
    pub fn heard_something(&mut self, now: Instant) {
        if let Heartbeat::PongDue(_) = self.heartbeat {
            self.begin(now);
        }
    }

    /// Decodes a text packet of the client.
    ///
    /// # Errors
    /// If it is not a packet, or not one that a client sends.
    pub fn read(text: &str) -> Result<Heard<'_>, Invalid> {
        match Engine::read(text)? {
            Engine::Message(text) => Ok(Heard::Message(text)),
            Engine::Pong(_) | Engine::Noop => Ok(Heard::Nothing),
            Engine::Close => Ok(Heard::Close),
            Engine::Ping(_) => Err(Invalid("in Engine.IO v4 only the server pings")),
            Engine::Upgrade => Err(Invalid("there is no other transport to upgrade from")),
            Engine::Open(_) => Err(Invalid("only the server sends an open packet")),
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.heartbeat {
            Heartbeat::Off => None,
            Heartbeat::PingDue(at) | Heartbeat::PongDue(at) => Some(at),
        }
    }

    /// What is due, if anything is.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        match self.heartbeat {
            Heartbeat::PingDue(at) if at <= now => {
                self.heartbeat = later(now, self.settings.ping_timeout, Heartbeat::PongDue);
                Some(Due::Ping(Engine::Ping("").write().into()))
            }
            Heartbeat::PongDue(at) if at <= now => {
                self.end();
                Some(Due::Dead)
            }
            Heartbeat::Off | Heartbeat::PingDue(_) | Heartbeat::PongDue(_) => None,
        }
    }
}

/// A time so far away that it cannot be represented never comes.
fn later(now: Instant, pause: Duration, due: fn(Instant) -> Heartbeat) -> Heartbeat {
    now.checked_add(pause).map_or(Heartbeat::Off, due)
}
