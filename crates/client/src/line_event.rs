//! What happens to the line.

use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::error::Error;

/// What happens to the line between a client and its server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LineEvent {
    /// An attempt to open a line begins.
    Connecting {
        /// Which one since the last stable line, from 1.
        attempt: u32,
    },
    /// The line is open and the server knows who we are.
    Open {
        /// The name other members see.
        session: Box<str>,
        /// The user, unless it is a stranger.
        user: Option<Box<str>>,
        /// How subscriptions go on.
        recovery: Recovery,
    },
    /// The server is going away, and asked to come back on a new line after this pause.
    Moving {
        /// The pause, different for each client.
        after: Duration,
    },
    /// The line was lost, or none could be opened. The next attempt follows.
    Lost {
        /// Why.
        cause: Error,
        /// When the next attempt begins.
        pause: Duration,
    },
    /// A publication was refused for now; it and those behind it are sent again.
    Held {
        /// Why.
        cause: Error,
        /// When.
        pause: Duration,
    },
    /// The line was lost, or none could be opened, in a way that says "do not come back". The
    /// last that comes.
    GivenUp {
        /// Why.
        cause: Error,
    },
}

/// How subscriptions go on after a line is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// There was no line before.
    New,
    /// The server took the sealed token: same session, subscriptions and positions restored.
    Resumed,
    /// It could not, or there was none: a new session; subscriptions are made again with their
    /// positions.
    Positions,
}

/// The events of a client's line, from [`Client::events`](crate::Client::events).
#[derive(Debug)]
pub struct LineEvents {
    events: broadcast::Receiver<LineEvent>,
}

/// What a slow listener may fall behind; then the oldest events are left out. 64: an hour of
/// attempts.
pub(crate) const LINE_EVENTS: usize = 64;

impl LineEvents {
    pub(crate) fn new(events: broadcast::Receiver<LineEvent>) -> Self {
        Self { events }
    }

    /// The next event. `None` once the client is closed. Whoever listens more slowly than lines
    /// come and go misses the oldest events. Cancel-safe.
    pub async fn next(&mut self) -> Option<LineEvent> {
        loop {
            match self.events.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
