//! A server's messages, borrowed from their text.

use std::{borrow::Cow, time::Duration};

use offhook_engine::{CommandId, Position, Retry};

/// One message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The answer to `connect`.
    Welcome {
        /// The id of the request.
        id: CommandId,
        /// The session's name, visible to other members.
        session: Cow<'a, str>,
        /// The user, unless it is anonymous.
        user: Option<Cow<'a, str>>,
        /// The sealed session to resume with.
        resume: Cow<'a, str>,
    },
    /// A fresh sealed session.
    Token {
        /// It replaces the previous one.
        resume: Cow<'a, str>,
    },
    /// The session's token expires soon.
    Expiring,
    /// The answer to `refresh`.
    Refreshed {
        /// The id of the request.
        id: CommandId,
    },
    /// A publication.
    Message {
        /// The subscription.
        about: About<'a>,
        /// The publication.
        message: Message<'a>,
        /// It is a value of the channel's state.
        state: bool,
    },
    /// Sent instead of a message of this session to a subscription that does not want its own
    /// messages.
    Own {
        /// The subscription.
        about: About<'a>,
        /// The message's position.
        position: Position,
        /// The position of the message before it.
        previous: Position,
        /// For a filter, the position of the subscription after it.
        at: Option<Position>,
    },
    /// Every restored subscription was announced.
    Restored,
    /// The answer to `subscribe`; without an id, a restored subscription.
    Subscribed {
        /// The id of the request.
        id: Option<CommandId>,
        /// The subscription.
        about: About<'a>,
        /// The newest message at this time.
        position: Position,
        /// Whether no message is missing.
        live: bool,
        /// Whether the server's side has made it just now; without that, one without an id is restored.
        by_server: bool,
    },
    /// A subscription ended at the client's request.
    Unsubscribed {
        /// The id of the request.
        id: CommandId,
        /// The subscription.
        about: About<'a>,
    },
    /// The server ended a subscription.
    Ended {
        /// The subscription.
        about: About<'a>,
        /// The reason.
        refused: Refused<'a>,
    },
    /// All retained messages were delivered.
    Live {
        /// The subscription.
        about: About<'a>,
        /// The position up to which messages were delivered.
        position: Position,
    },
    /// The connection did not read fast enough; the messages it missed are delivered from history.
    CatchingUp {
        /// The subscription.
        about: About<'a>,
        /// The position after which they start.
        position: Position,
    },
    /// Messages are missing.
    Gap {
        /// The subscription.
        about: About<'a>,
        /// The position before the first missing message.
        from: Position,
        /// The position of the last missing message.
        to: Position,
        /// The name of the reason.
        reason: Cow<'a, str>,
        /// For a stream that diverged: the last position that client and server have in common.
        agreed: Option<Position>,
    },
    /// The answer to `publish`.
    Published {
        /// The id of the request.
        id: CommandId,
        /// The position of the publication.
        position: Position,
        /// Whether a publication with this key already existed.
        duplicate: bool,
    },
    /// The answer to `history`.
    History {
        /// The id of the request.
        id: CommandId,
        /// The channel.
        channel: Cow<'a, str>,
        /// The newest message at the time of the read.
        head: Position,
        /// Oldest first.
        messages: Vec<Message<'a>>,
        /// Why messages between the requested position and the nearest of these are missing.
        gap: Option<Cow<'a, str>>,
        /// Whether older messages are retained, if it was read backward.
        more: bool,
    },
    /// The answer to `state`.
    State {
        /// The id of the request.
        id: CommandId,
        /// The channel.
        channel: Cow<'a, str>,
        /// The newest message as of the read.
        head: Position,
        /// The newest message of each value of the tag `key`, in the order of their positions.
        messages: Vec<Message<'a>>,
        /// Whether there are more.
        more: bool,
    },
    /// The answer to `call`.
    Called {
        /// The id of the request.
        id: CommandId,
        /// The backend's answer.
        payload: Payload<'a>,
    },
    /// The answer to `presence_update`.
    InfoUpdated {
        /// The id of the request.
        id: CommandId,
    },
    /// The members of a channel; without an id, it replaces joins and leaves that were dropped.
    Members {
        /// The id of the request.
        id: Option<CommandId>,
        /// The subscription.
        about: About<'a>,
        /// Some of the members.
        members: Vec<Member<'a>>,
        /// The number of members.
        total: u64,
    },
    /// The answer to `ack`.
    Acked {
        /// The id of the request.
        id: CommandId,
        /// The consumer's position, if it ever acknowledged anything.
        position: Option<Position>,
    },
    /// The answer to `receipts`.
    Received {
        /// The id of the request.
        id: CommandId,
        /// How many subscribers have received it.
        received: u64,
        /// The number of members.
        subscribers: u64,
        /// Some of the sessions that have received it.
        sessions: Vec<Cow<'a, str>>,
    },
    /// A member joined.
    Join {
        /// The subscription.
        about: About<'a>,
        /// The member.
        member: Member<'a>,
    },
    /// A member left.
    Leave {
        /// The subscription.
        about: About<'a>,
        /// The member.
        member: Member<'a>,
    },
    /// The answer to `ping`.
    Pong {
        /// The id of the request.
        id: CommandId,
    },
    /// A request was refused.
    Error {
        /// The id of the request, if it could be read.
        id: Option<CommandId>,
        /// The reason, and what to do.
        refused: Refused<'a>,
    },
    /// The server is going away: open a new connection after this delay.
    Reconnect {
        /// The delay.
        after: Duration,
    },
    /// The server will now close this connection.
    Closing {
        /// The name of the reason.
        reason: Cow<'a, str>,
    },
    /// Data that the server's backend sends to this session alone.
    Told {
        /// The data.
        payload: Payload<'a>,
    },
    /// A type unknown to this version, to be ignored.
    Unknown,
}

/// The subscription that a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About<'a> {
    /// The channel; the filter in a message about a subscription to a filter as a whole.
    pub name: Cow<'a, str>,
    /// Whether the name is that of a filter.
    pub is_filter: bool,
    /// The subscription's number, if it has one.
    pub number: Option<u32>,
}

impl<'a> About<'a> {
    /// The subscription without a number to this channel.
    #[must_use]
    pub fn channel(name: impl Into<Cow<'a, str>>) -> Self {
        Self {
            name: name.into(),
            is_filter: false,
            number: None,
        }
    }
}

/// A publication, delivered in a channel or read from its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its position in the stream.
    pub position: Position,
    /// The position of the message before it, unless that is one offset less in the same epoch. Not
    /// present in histories.
    pub previous: Option<Position>,
    /// In a subscription to a filter: the position of the subscription after this message.
    pub at: Option<Position>,
    /// The content.
    pub payload: Payload<'a>,
    /// The publisher, unless it is anonymous or the server itself.
    pub user: Option<Cow<'a, str>>,
    /// The publisher's session, unless it is the server itself.
    pub session: Option<Cow<'a, str>>,
    /// Its idempotency key.
    pub key: Option<Cow<'a, str>>,
    /// Names and values published with it.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Milliseconds since 1970 on the server's clock.
    pub time_ms: u64,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// One JSON value, byte for byte.
    Json(&'a str),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A session present in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name.
    pub session: Cow<'a, str>,
    /// Its user, unless it is anonymous.
    pub user: Option<Cow<'a, str>>,
    /// What others see of it: one JSON value.
    pub info: Option<&'a str>,
}

/// A refusal, with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The stable code.
    pub code: Cow<'a, str>,
    /// A message for people.
    pub message: Cow<'a, str>,
    /// Whether the same request can succeed.
    pub retry: Retry,
    /// When to try again, if known.
    pub retry_after: Option<Duration>,
    /// What the server's backend says, if it is the one that refused: a JSON object.
    pub backend: Option<&'a str>,
}
