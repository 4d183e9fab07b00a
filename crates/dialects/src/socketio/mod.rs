//! Socket.IO v5 over Engine.IO v4: see `docs/dialects/socketio.md`.
//!
//! | Socket.IO | here |
//! |---|---|
//! | an event of the client | a command (`events`), answered by its acknowledgement (`answer`) |
//! | an event of the server | a publication (`publication`) or a notice (`answer`) |
//! | a binary attachment | data of the format binary |
//! | an event that a rule assigns to a room | a publication in the room's channel (`rooms`) |
//! | an acknowledgement of the client | `done` of an acknowledged subscription |
//! | a namespace | a set of subscriptions of the one session (`spaces`) |
//! | connection state recovery | a session that the client names, with a note that the dialect stores (`recovery`) |

mod answer;
mod connecting;
mod dialect;
mod engine_io;
mod events;
pub mod packet;
mod publication;
mod receiving;
mod recovery;
mod rooms;
mod spaces;
mod subscribing;
mod telling;

use std::{sync::Arc, time::Duration};

pub use dialect::SocketIo;
pub use engine_io::{Due, EngineIo, EngineSettings, Heard};
pub use rooms::{NamedBy, Room, Rooms};

/// The settings of all connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The time between two pings of the server.
    pub ping_interval: Duration,
    /// How long the client may take to answer a ping.
    pub ping_timeout: Duration,
    /// The largest message that the server accepts, attachments included.
    pub max_payload: usize,
    /// How long the session of a client that requested recovery outlives its connection.
    pub recovery: Duration,
    /// Whether unknown events are passed on to the backend as calls.
    pub calls_backend: bool,
    /// The events that join and leave rooms, or are published in them.
    pub rooms: Arc<Rooms>,
    /// Whether the connection can be upgraded to a WebSocket.
    pub can_upgrade: bool,
}

impl Settings {
    fn engine(&self) -> EngineSettings {
        EngineSettings {
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            max_payload: self.max_payload,
            can_upgrade: self.can_upgrade,
        }
    }
}
