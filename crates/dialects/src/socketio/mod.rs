//! Socket.IO v5 over Engine.IO v4: see `docs/dialects/socketio.md`.
//!
//! | Socket.IO | here |
//! |---|---|
//! | an event of the client | a command (`events`), answered by its acknowledgement (`answer`) |
//! | an event of the server | a publication (`publication`) or a notice (`answer`) |
//! | a binary attachment | data of the format binary |
//! | an acknowledgement of the client | `done` of an acknowledged subscription |
//! | a namespace | a set of subscriptions of the one session (`spaces`) |
//! | connection state recovery | a session that the client names, with a note that the dialect stores (`recovery`) |

mod answer;
mod connecting;
mod dialect;
mod events;
pub mod packet;
mod publication;
mod receiving;
mod recovery;
mod spaces;
mod subscribing;
mod telling;

use std::time::Duration;

pub use dialect::SocketIo;

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
    /// Whether the connection can be upgraded to a WebSocket.
    pub can_upgrade: bool,
}
