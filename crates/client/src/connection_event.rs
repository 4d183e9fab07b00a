//! Events of the connection.

use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::data::Data;
use crate::error::Error;

/// An event of the connection between a client and its server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// An attempt to open a connection starts.
    Connecting {
        /// The number of the attempt since the last stable connection, from 1.
        attempt: u32,
    },
    /// The connection is open and the server has accepted the session.
    Open {
        /// The session's name, visible to other members.
        session: Box<str>,
        /// The user; `None` for an anonymous session.
        user: Option<Box<str>>,
        /// How subscriptions continue.
        recovery: Recovery,
    },
    /// The server is going away, and asked for a new connection after this delay.
    Moving {
        /// The delay, different for each client.
        after: Duration,
    },
    /// The connection was lost, or could not be opened. The next attempt follows.
    Lost {
        /// The reason.
        cause: Error,
        /// When the next attempt starts.
        pause: Duration,
    },
    /// The server's backend sent something to this session alone. It is not stored: a session without
    /// a connection does not get it.
    Told {
        /// What it sent.
        data: Data,
    },
    /// A publication was refused temporarily. It and the following ones are sent again after a
    /// delay.
    Held {
        /// The reason.
        cause: Error,
        /// The delay.
        pause: Duration,
    },
    /// A token could not be fetched, or the server refused a newer one: of the session, whose token
    /// expires soon, or of a subscription. It is fetched again after a delay.
    TokenFailed {
        /// The reason.
        cause: Error,
        /// The delay.
        pause: Duration,
    },
    /// The connection was lost, or could not be opened, and the client does not try again. The last
    /// event.
    GivenUp {
        /// The reason.
        cause: Error,
    },
}

/// How subscriptions continue on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// There was no connection before.
    New,
    /// The server accepted the resume token: same session, subscriptions and positions restored.
    Resumed,
    /// The server did not accept it, or there was none: a new session, in which subscriptions are
    /// made again from their positions.
    Positions,
}

/// The events of a client's connection, from [`Client::events`](crate::Client::events).
#[derive(Debug)]
pub struct ConnectionEvents {
    events: broadcast::Receiver<ConnectionEvent>,
}

/// How many events a slow listener may fall behind; then the oldest are dropped. 64: an hour of
/// attempts.
pub(crate) const CONNECTION_EVENTS: usize = 64;

impl ConnectionEvents {
    pub(crate) fn new(events: broadcast::Receiver<ConnectionEvent>) -> Self {
        Self { events }
    }

    /// The next event. `None` once the client is closed. A listener that is slower than events
    /// arrive misses the oldest ones. Cancel-safe.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        loop {
            match self.events.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
