//! What a server says, borrowed from the text of the message.

use std::{borrow::Cow, time::Duration};

use offhook_engine::{CommandId, Position, Retry};

/// One message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The answer to `connect`.
    Welcome {
        /// Of which request.
        id: CommandId,
        /// The name other members see.
        session: Cow<'a, str>,
        /// The user, unless it is a stranger.
        user: Option<Cow<'a, str>>,
        /// The sealed session to come back with.
        resume: Cow<'a, str>,
    },
    /// A fresh sealed session.
    Token {
        /// It replaces the one before.
        resume: Cow<'a, str>,
    },
    /// A publication.
    Message {
        /// Where.
        channel: Cow<'a, str>,
        /// What.
        message: Message<'a>,
        /// It is a value of the channel's state.
        state: bool,
    },
    /// In place of a message that this session published and does not want.
    Own {
        /// Where.
        channel: Cow<'a, str>,
        /// Its place in the stream.
        position: Position,
        /// The position of the message before it.
        previous: Position,
    },
    /// Every restored subscription was announced.
    Restored,
    /// A subscription is there; without an id, one that was restored.
    Subscribed {
        /// Of which request.
        id: Option<CommandId>,
        /// To which channel.
        channel: Cow<'a, str>,
        /// The newest message as of now.
        position: Position,
        /// Nothing is missing.
        live: bool,
    },
    /// A subscription is gone, by the client's wish.
    Unsubscribed {
        /// Of which request.
        id: CommandId,
        /// From which channel.
        channel: Cow<'a, str>,
    },
    /// The server ended a subscription.
    Ended {
        /// To which channel.
        channel: Cow<'a, str>,
        /// Why.
        refused: Refused<'a>,
    },
    /// Everything came.
    Live {
        /// In which channel.
        channel: Cow<'a, str>,
        /// As of where.
        position: Position,
    },
    /// The connection did not read fast enough; what it missed comes from what is kept.
    CatchingUp {
        /// In which channel.
        channel: Cow<'a, str>,
        /// From where on.
        position: Position,
    },
    /// Messages don't come.
    Gap {
        /// In which channel.
        channel: Cow<'a, str>,
        /// The message before the first of them.
        from: Position,
        /// The last of them.
        to: Position,
        /// Why, by its name.
        reason: Cow<'a, str>,
        /// For a stream that diverged: the last position that client and server have in common.
        agreed: Option<Position>,
    },
    /// The answer to `publish`.
    Published {
        /// Of which request.
        id: CommandId,
        /// Where it stands.
        position: Position,
        /// The key had been published before.
        duplicate: bool,
    },
    /// The answer to `history`.
    History {
        /// Of which request.
        id: CommandId,
        /// The newest message as of the read.
        head: Position,
        /// Oldest first.
        messages: Vec<Message<'a>>,
        /// Why messages between the nearest of them and the position that was asked for don't come.
        gap: Option<Cow<'a, str>>,
        /// Older ones are kept, where it was read backward.
        more: bool,
    },
    /// The answer to `state`.
    State {
        /// Of which request.
        id: CommandId,
        /// The newest message as of the read.
        head: Position,
        /// The newest message of each value of the tag `key`, in the order of their positions.
        messages: Vec<Message<'a>>,
        /// There are more.
        more: bool,
    },
    /// The answer to `call`.
    Called {
        /// Of which request.
        id: CommandId,
        /// What the backend answered.
        payload: Payload<'a>,
    },
    /// The answer to `presence_update`.
    InfoUpdated {
        /// Of which request.
        id: CommandId,
    },
    /// Who is in a channel; without an id, instead of joins and leaves that were left out.
    Members {
        /// Of which request.
        id: Option<CommandId>,
        /// Where.
        channel: Cow<'a, str>,
        /// Some of them.
        members: Vec<Member<'a>>,
        /// How many there are.
        total: u64,
    },
    /// The answer to `ack`.
    Acked {
        /// Of which request.
        id: CommandId,
        /// How far the consumer has come, if it ever acknowledged anything.
        position: Option<Position>,
    },
    /// The answer to `receipts`.
    Received {
        /// Of which request.
        id: CommandId,
        /// How many of the subscribers have it.
        received: u64,
        /// How many there are.
        subscribers: u64,
        /// Some of those that have it.
        sessions: Vec<Cow<'a, str>>,
    },
    /// Somebody came.
    Join {
        /// Where.
        channel: Cow<'a, str>,
        /// Who.
        member: Member<'a>,
    },
    /// Somebody went.
    Leave {
        /// Where.
        channel: Cow<'a, str>,
        /// Who.
        member: Member<'a>,
    },
    /// The answer to `ping`.
    Pong {
        /// Of which request.
        id: CommandId,
    },
    /// A request was refused.
    Error {
        /// Which, if its number could be read.
        id: Option<CommandId>,
        /// Why, and what to do.
        refused: Refused<'a>,
    },
    /// The server goes away: open a new connection after this pause.
    Reconnect {
        /// The pause.
        after: Duration,
    },
    /// The server closes this connection next.
    Closing {
        /// Why, by its name.
        reason: Cow<'a, str>,
    },
    /// A type this version does not know: to be ignored.
    Unknown,
}

/// A publication, in a channel or out of its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its place in the stream.
    pub position: Position,
    /// The position of the message before it, where that is not one offset less in the same epoch.
    /// Not in histories.
    pub previous: Option<Position>,
    /// What it says.
    pub payload: Payload<'a>,
    /// The publisher, unless it is a stranger or the server itself.
    pub user: Option<Cow<'a, str>>,
    /// The publisher's session, unless it is the server itself.
    pub session: Option<Cow<'a, str>>,
    /// Its idempotency key.
    pub key: Option<Cow<'a, str>>,
    /// Names and values beside it.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Milliseconds since 1970 on the server's clock.
    pub time_ms: u64,
}

/// What a message says.
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
    /// Its user, unless it is a stranger.
    pub user: Option<Cow<'a, str>>,
    /// What others may see of it: one JSON value.
    pub info: Option<&'a str>,
}

/// No, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The stable code.
    pub code: Cow<'a, str>,
    /// For people.
    pub message: Cow<'a, str>,
    /// Whether the same request can succeed.
    pub retry: Retry,
    /// When that makes sense, if it is known.
    pub retry_after: Option<Duration>,
}
