//! Commands of connections.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    channel_name::ChannelName,
    filter::Filter,
    position::Position,
    publication::{Format, Key, Tags},
    subscription::{Subscribe, SubscriptionKey},
};

/// The current time, from outside: both clocks, read once per turn of the event loop.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For timeouts.
    pub instant: Instant,
    /// Wall-clock milliseconds since 1970, for publications.
    pub unix_ms: u64,
}

/// The client's id for a command; the [`Reply`](crate::Reply) carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandId(pub u64);

/// Where in a stream to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// At the next publication.
    Now,
    /// At the oldest retained publication.
    Start,
    /// At the newest retained publications, at most this many.
    Last(u32),
    /// At the channel's state: the newest publication of each value of the tag `key`, and
    /// everything after it.
    State,
    /// After this position; publications after it that are no longer retained are reported as a
    /// gap.
    Position(Position),
}

/// A request of a connection to the engine. Dialects make commands from wire messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish to a channel.
    Publish {
        /// The channel.
        channel: ChannelName,
        /// The data.
        data: Bytes,
        /// The format of `data`, as validated by the dialect.
        format: Format,
        /// Names and values published with it.
        tags: Tags,
        /// Allows publishing again without duplicates.
        key: Option<Key>,
    },
    /// Receive the publications of a channel, or of all channels that match a filter.
    Subscribe(Subscribe),
    /// Stop receiving them.
    Unsubscribe {
        /// The session's subscription.
        subscription: SubscriptionKey,
    },
    /// Report that a publication of an acknowledged subscription was processed.
    Done {
        /// The session's subscription.
        subscription: SubscriptionKey,
        /// The publication.
        position: Position,
        /// Whether all publications before it were processed, too.
        cumulative: bool,
    },
    /// Give back a publication of a shared subscription that was not processed: it is delivered
    /// again, perhaps to another member of the group. Answered as [`Done`](Self::Done) is.
    Return {
        /// The session's subscription.
        subscription: SubscriptionKey,
        /// The publication.
        position: Position,
    },
    /// Read retained publications, once.
    History {
        /// The channel.
        channel: ChannelName,
        /// Where to start; [`Since::Now`] returns only the stream's head.
        since: Since,
        /// The maximum number; the engine's page limits also apply.
        limit: u32,
    },
    /// Read the newest retained publications before a position, once.
    HistoryBefore {
        /// The channel.
        channel: ChannelName,
        /// The position; the publication at it is not read.
        before: Position,
        /// The maximum number; the engine's page limits apply too.
        limit: u32,
    },
    /// Read a channel's state, once.
    State {
        /// The channel.
        channel: ChannelName,
        /// Only values that were published after this position, to continue after a page.
        after: Option<Position>,
        /// The maximum number; the engine's page limits apply too.
        limit: u32,
    },
    /// Read the states of all channels that match a filter and that the session may subscribe to,
    /// once. Channels without state are skipped.
    Values {
        /// The filter.
        filter: Filter,
        /// Only channels whose names come after this one, to continue after a page.
        after: Option<ChannelName>,
        /// The approximate number of values: each channel's state is read completely.
        limit: u32,
    },
    /// Store a note of the dialect with the session, replacing the previous one. If the session is
    /// durable, the answer is sent once the note is durable, and later publications are not written
    /// before the note.
    Remember {
        /// The note. The engine does not read it.
        note: Bytes,
        /// Whether the session is saved at once. If not, it is answered immediately, and the note is
        /// saved with the session's next change: for a note that an older one may stand in for.
        at_once: bool,
    },
    /// Query the members of a channel.
    Presence {
        /// The channel.
        channel: ChannelName,
    },
    /// Change the session's info, wherever it is a member.
    UpdateInfo {
        /// One JSON value, or nothing.
        info: Bytes,
    },
    /// Call the backend.
    Call {
        /// The name of the method.
        method: Box<str>,
        /// The data of the call.
        data: Bytes,
        /// The format of `data`.
        format: Format,
        /// How long to wait for the answer; none leaves it to the server.
        within: Option<Duration>,
        /// Without a key, the backend gets the call at most once; with one, at least once, and it
        /// recognizes a repetition by the key.
        key: Option<Key>,
    },
    /// Store a consumer's position, or query it.
    Ack {
        /// The channel.
        channel: ChannelName,
        /// The consumer's name, among those of its user.
        consumer: Key,
        /// Everything up to this position was processed; none only queries.
        position: Option<Position>,
    },
    /// Query which subscribers received a publication.
    Receipts {
        /// The channel.
        channel: ChannelName,
        /// The publication's position.
        position: Position,
    },
    /// Request a pong, in order with other replies.
    Ping,
}
