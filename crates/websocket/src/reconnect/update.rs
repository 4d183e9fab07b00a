//! Messages and changes reported by a reconnecting connection.

use std::time::Duration;

use crate::error::Error;
use crate::message::Message;
use crate::sender::Sender;

/// Returned by [`Reconnecting::next`](super::Reconnecting::next).
#[derive(Debug)]
#[non_exhaustive]
pub enum Update {
    /// A message.
    Message(Message),
    /// An attempt to connect starts.
    Connecting {
        /// The number of the attempt since the last stable connection, from 1.
        attempt: u32,
    },
    /// A connection is open.
    ///
    /// The next call of [`next`](super::Reconnecting::next) sends the messages queued while
    /// disconnected. Messages that must precede them, such as authentication and subscriptions, can
    /// be sent with this sender now.
    Open(Sender),
    /// The attempt failed; there will be another one.
    Failed {
        /// The reason.
        cause: Error,
    },
    /// The connection was lost, or closed with a code that allows reconnecting. An attempt follows.
    Lost {
        /// How it ended.
        cause: Error,
        /// How many bytes, at least, were queued and never written; they are lost. How many of the
        /// written bytes arrived is unknown.
        unsent: usize,
    },
    /// The next attempt begins after this time.
    Waiting {
        /// The delay.
        delay: Duration,
    },
    /// The connection ended, or the attempt failed, in a way that rules out reconnecting, or the
    /// limit on attempts was reached. This is the last update.
    GivenUp {
        /// The reason.
        cause: Error,
        /// As in [`Lost`](Self::Lost).
        unsent: usize,
    },
}
