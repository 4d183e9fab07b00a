//! What a reconnecting connection has to say.

use std::time::Duration;

use crate::error::Error;
use crate::message::Message;
use crate::sender::Sender;

/// What [`Reconnecting::next`](super::Reconnecting::next) gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Update {
    /// A message.
    Message(Message),
    /// An attempt to connect begins.
    Connecting {
        /// Which one since the last stable connection, from 1.
        attempt: u32,
    },
    /// There is a connection.
    ///
    /// What was kept while away goes out with the next call of
    /// [`next`](super::Reconnecting::next). What has to come before it, such as "who am I" and
    /// "what do I want to hear", is sent with this sender now.
    Open(Sender),
    /// The attempt failed; there will be another one.
    Failed {
        /// Why.
        cause: Error,
    },
    /// The connection was lost, or closed in a way that does not say "do not come back"; there
    /// will be an attempt to get a new one.
    Lost {
        /// How it ended.
        cause: Error,
        /// How many bytes at least had been sent and not left for the network; they are lost. Of
        /// those that had left nobody knows how many arrived.
        unsent: usize,
    },
    /// The next attempt begins after this time.
    Waiting {
        /// How long.
        delay: Duration,
    },
    /// The connection ended, or the attempt failed, in a way that says "do not come back"; or
    /// there were as many attempts as there may be. The last that is given.
    GivenUp {
        /// Why.
        cause: Error,
        /// As in [`Lost`](Self::Lost).
        unsent: usize,
    },
}
