//! What happens to the connection.

use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::error::Error;

/// What happens to the connection between a client and its server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// An attempt to open a connection begins.
    Connecting {
        /// Which one since the last stable connection, from 1.
        attempt: u32,
    },
    /// The connection is open and the server knows who we are.
    Open {
        /// The name other members see.
        session: Box<str>,
        /// The user; `None` for an anonymous session.
        user: Option<Box<str>>,
        /// How subscriptions continue.
        recovery: Recovery,
    },
    /// The server goes away and asked to open a new connection after this pause.
    Moving {
        /// The pause, different for each client.
        after: Duration,
    },
    /// The connection was lost, or none could be opened. The next attempt follows.
    Lost {
        /// Why.
        cause: Error,
        /// When the next attempt begins.
        pause: Duration,
    },
    /// A publication was refused for now. It and those behind it are sent again after a pause.
    Held {
        /// Why.
        cause: Error,
        /// When.
        pause: Duration,
    },
    /// The connection was lost, or could not be opened, for good. The last event.
    GivenUp {
        /// Why.
        cause: Error,
    },
}

/// How subscriptions continue on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// There was no connection before.
    New,
    /// The server took the sealed token: same session, subscriptions and positions restored.
    Resumed,
    /// It could not, or there was none: a new session; subscriptions are made again with their
    /// positions.
    Positions,
}

/// The events of a client's connection, from [`Client::events`](crate::Client::events).
#[derive(Debug)]
pub struct ConnectionEvents {
    events: broadcast::Receiver<ConnectionEvent>,
}

/// What a slow listener may fall behind; then the oldest events are left out. 64: an hour of
/// attempts.
pub(crate) const CONNECTION_EVENTS: usize = 64;

impl ConnectionEvents {
    pub(crate) fn new(events: broadcast::Receiver<ConnectionEvent>) -> Self {
        Self { events }
    }

    /// The next event. `None` once the client is closed. Whoever listens more slowly than connections
    /// come and go misses the oldest events. Cancel-safe.
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
