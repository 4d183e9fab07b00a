//! What a connection may ask.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    channel_name::ChannelName,
    position::Position,
    publication::{Format, Key, Tags},
    subscription::{Subscribe, SubscriptionKey},
};

/// The time, from outside: both clocks, read once a turn of the event loop.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For timeouts.
    pub instant: Instant,
    /// Wall-clock milliseconds since 1970, for publications.
    pub unix_ms: u64,
}

/// The client's number for a command; the [`Reply`](crate::Reply) carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandId(pub u64);

/// Where in a stream to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With what comes from now on.
    Now,
    /// With the oldest publication that is retained.
    Start,
    /// With the newest so many that are retained.
    Last(u32),
    /// With the channel's state: the newest publication of each value of the tag `key`, then
    /// what follows.
    State,
    /// After this position; what of that is no longer there is reported as a gap.
    Position(Position),
}

/// What a connection asks of the engine. Dialects make these from wire messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish to a channel.
    Publish {
        /// Where.
        channel: ChannelName,
        /// What.
        data: Bytes,
        /// What `data` is, as checked by the dialect.
        format: Format,
        /// Names and values beside it.
        tags: Tags,
        /// To be able to try again without publishing twice.
        key: Option<Key>,
    },
    /// Receive the publications of a channel, or of all channels that match a filter.
    Subscribe(Subscribe),
    /// Stop receiving them.
    Unsubscribe {
        /// Which of the session's subscriptions.
        subscription: SubscriptionKey,
    },
    /// Say that a publication of an acknowledged subscription has been dealt with.
    Done {
        /// Which of the session's subscriptions.
        subscription: SubscriptionKey,
        /// The publication.
        position: Position,
        /// All publications before it have been dealt with, too.
        cumulative: bool,
    },
    /// Read retained publications, once.
    History {
        /// Of which channel.
        channel: ChannelName,
        /// From where on; [`Since::Now`] gives the stream's head and nothing else.
        since: Since,
        /// At most so many; the engine's page limits hold too.
        limit: u32,
    },
    /// Read the newest retained publications before a position, once.
    HistoryBefore {
        /// Of which channel.
        channel: ChannelName,
        /// The position; the publication at it is not read.
        before: Position,
        /// At most so many; the engine's page limits hold too.
        limit: u32,
    },
    /// Read a channel's state, once.
    State {
        /// Of which channel.
        channel: ChannelName,
        /// Only values that were published after this position: to read on after a page.
        after: Option<Position>,
        /// At most so many; the engine's page limits hold too.
        limit: u32,
    },
    /// Ask who is in a channel.
    Presence {
        /// Which.
        channel: ChannelName,
    },
    /// Show the session differently to others, wherever it is a member.
    UpdateInfo {
        /// One JSON value, or nothing.
        info: Bytes,
    },
    /// Ask the backend for something.
    Call {
        /// What for.
        method: Box<str>,
        /// What goes along.
        data: Bytes,
        /// What `data` is.
        format: Format,
        /// How long an answer is worth waiting for; none leaves it to the server.
        within: Option<Duration>,
    },
    /// Remember how far a consumer has come, or ask it.
    Ack {
        /// In which channel.
        channel: ChannelName,
        /// The consumer's name, one of its user's.
        consumer: Key,
        /// Everything up to here is done; none only asks.
        position: Option<Position>,
    },
    /// Ask who has received a publication.
    Receipts {
        /// In which channel.
        channel: ChannelName,
        /// Which.
        position: Position,
    },
    /// Ask for a pong, in order with the other replies.
    Ping,
}
