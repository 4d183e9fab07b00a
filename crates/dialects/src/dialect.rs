//! The interface between the server and the protocols of its clients.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::{
    ChannelName, CloseReason, Command, CommandId, Epoch, Notice, Position, PresenceChange,
    Publication, Refusal, SubscriptionId, SubscriptionSnapshot,
};

pub use crate::identity::{Connect, Known, Named, Welcome, Will};
use crate::pusher::Report;

/// Data received by a transport: a whole message or, on a byte stream, the bytes of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message; valid UTF-8.
    Text(&'a str),
    /// A binary message, or bytes of a stream.
    Binary(&'a [u8]),
}

/// Data for a transport to send: a message, or bytes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A text message.
    Text(String),
    /// A binary message, or bytes of a stream.
    Binary(Vec<u8>),
}

impl Payload {
    /// The content as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

/// A request in a client's message. A message may contain none, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Identifies the connection, and starts or resumes its session.
    Connect(Connect),
    /// A command for the engine.
    Command {
        /// The id of the answer.
        id: CommandId,
        /// What to do.
        command: Command,
    },
    /// A command with a token that permits it, such as a subscription token.
    Granted {
        /// The id of the answer.
        id: CommandId,
        /// The token.
        token: String,
        /// What to do.
        command: Command,
    },
    /// A newer token of the session's user, before the present one expires.
    Refresh {
        /// The id of the answer.
        id: CommandId,
        /// For the server's authentication.
        token: String,
    },
    /// The message is invalid. The refusal is sent by [`Dialect::refused`] or as a [`Notice`], and
    /// counts as a command.
    Refuse {
        /// The id of the answer, if the message had one.
        id: Option<CommandId>,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// Joins the consumers of a queue: each of its publications is delivered to one of them, with
    /// [`Dialect::queued`]. The session must be subscribed to the queue's channel, which is not
    /// checked here. Answered with [`Reply::Pong`](offhook_engine::Reply), or refused.
    Consume {
        /// The id of the answer.
        id: CommandId,
        /// The channel.
        queue: ChannelName,
        /// The dialect's id of the consumer.
        subscription: SubscriptionId,
        /// How many publications may be unsettled; at least 1.
        window: u16,
    },
    /// A consumer has processed a publication of its queue, or gives it back.
    Settle {
        /// The consumer.
        subscription: SubscriptionId,
        /// The publication's place, as delivered.
        place: Position,
        /// Whether it was processed. If not, it is delivered again, to any consumer.
        processed: bool,
    },
    /// A consumer leaves its queue. What it has not settled is delivered to others.
    Quit {
        /// The consumer.
        subscription: SubscriptionId,
    },
    /// Lists channels that have subscribers and that the session may subscribe to. Answered by
    /// [`Dialect::channels`]. It does not count as a command: a command comes first.
    Channels {
        /// The id of the answer.
        id: CommandId,
        /// Which ones.
        listing: Listing,
    },
    /// Sends this immediately: the answer to a dialect's own ping, or a step of its own handshake.
    Say(Payload),
    /// A command that the dialect's own authentication permits, such as a signature: see
    /// [`Engine::handle_permitted`](offhook_engine::Engine::handle_permitted).
    Permitted {
        /// The id of the answer.
        id: CommandId,
        /// What to do.
        command: Command,
    },
    /// The dialect has authenticated the session's user. Answered by [`Dialect::refreshed`].
    Identify {
        /// The id of the answer.
        id: CommandId,
        /// The user's name.
        user: String,
        /// What the dialect has verified is not older than this, in milliseconds since 1970. If the
        /// user was revoked since, it does not count.
        since_ms: u64,
    },
    /// The client is leaving: its session is no longer present once the connection ends, and its
    /// will is not published.
    Leave,
    /// Sets how long the session that the client named outlives the connection; none: it ends with
    /// the connection.
    Keep(Option<Duration>),
    /// Something that the dialect's own webhooks report. It is not answered.
    Report(Box<Report>),
    /// Close the connection.
    Close {
        /// A code as returned by [`Dialect::close_code`].
        code: u16,
        /// At most 123 bytes.
        reason: &'static str,
    },
}

/// A page of the channels that have subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What their names begin with.
    pub prefix: Box<str>,
    /// The name after which it starts.
    pub after: Option<Box<str>>,
    /// How many are looked at. Those that the session may not subscribe to are left out, so that a
    /// page can have fewer, although there is a next one.
    pub limit: u32,
}

/// A publication, encoded once for all recipients of one [`Encoding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// A message that every recipient gets before this one, such as a gap.
    pub ahead: Option<Payload>,
    /// The message.
    pub message: Payload,
    /// The offset in `message` at which a recipient's own head is inserted; see [`Head::Insert`].
    pub head: usize,
    /// The publication, for dialects whose recipients have messages of their own. The server adds
    /// it.
    pub publication: Option<Arc<Publication>>,
    /// The join or leave, if it is one. The server adds it.
    pub change: Option<Arc<PresenceChange>>,
}

impl Shared {
    /// A message that is identical for all recipients.
    #[must_use]
    pub fn whole(message: impl Into<Payload>) -> Self {
        Self {
            ahead: None,
            message: message.into(),
            head: 0,
            publication: None,
            change: None,
        }
    }

    /// The message with a recipient's head inserted.
    #[must_use]
    pub fn with_head(&self, head: &[u8]) -> Payload {
        let bytes = self.message.as_bytes();
        let (before, after) = bytes.split_at_checked(self.head).unwrap_or((bytes, &[]));
        let spliced = [before, head, after].concat();
        match &self.message {
            Payload::Binary(_) => Payload::Binary(spliced),
            Payload::Text(_) => match String::from_utf8(spliced) {
                Ok(text) => Payload::Text(text),
                // A head that is not text does not belong in a text message; the result makes the
                // mistake visible.
                Err(error) => Payload::Binary(error.into_bytes()),
            },
        }
    }
}

/// A recipient of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The subscription's id, if it has one.
    pub subscription: Option<SubscriptionId>,
    /// For a subscription to a filter, its position after this publication.
    pub at: Option<Position>,
    /// How often the publication was delivered to this subscription before, if its flow is
    /// acknowledged.
    pub redelivered: u16,
    /// It is delivered as a value of the channel's state.
    pub state: bool,
    /// The publication's position in the subscription, as named by acknowledgements.
    pub place: Position,
    /// The time of day in milliseconds since 1970.
    pub unix_ms: u64,
}

impl Recipient {
    /// A subscription without an id, identified by its channel.
    pub const PLAIN: Self = Self {
        subscription: None,
        at: None,
        redelivered: 0,
        state: false,
        place: Position {
            epoch: Epoch(0),
            offset: 0,
        },
        unix_ms: 0,
    };

    /// Whether nothing about it needs a head.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.subscription.is_none() && self.at.is_none() && self.redelivered == 0 && !self.state
    }
}

/// The part of a message that differs between recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// None: the shared message is used, at the cost of a reference.
    None,
    /// Bytes to insert at [`Shared::head`].
    Insert(Vec<u8>),
    /// A separate message.
    Whole(Payload),
    /// Separate messages, in this order.
    Several(Vec<Payload>),
    /// No message, or not yet.
    Nothing,
}

/// Whether a dialect accepts more received data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It has handled everything that it was given.
    Ready,
    /// It holds data that it has not handled: call [`Dialect::receive`] again, with empty data.
    HasMore,
    /// It waits for answers of the server or for a timeout. Until then, nothing more is read from
    /// the client.
    Waits,
}

/// What a dialect holds for a client: an incomplete message, and what waits for the client's decision,
/// such as an open transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// How many bytes it holds.
    pub bytes: usize,
    /// When the message began; none if the client is not waited for.
    pub since: Option<Instant>,
}

/// How publications are encoded for a class of connections: once for any number of them.
pub trait Encoding: fmt::Debug + Send + Sync {
    /// The encoding's name. Connections whose encodings have the same name share messages.
    fn name(&self) -> &'static str;

    /// Encodes a publication.
    fn publication(&self, publication: &Publication) -> Shared;

    /// Whether every copy has its own head, such as a packet id.
    fn has_heads(&self) -> bool {
        false
    }

    /// The same for joins and leaves.
    fn has_presence_heads(&self) -> bool {
        self.has_heads()
    }

    /// Whether a publication's message depends on the time. Then each copy for a connection that
    /// catches up has its own head.
    fn is_timed(&self, _publication: &Publication) -> bool {
        false
    }

    /// Encodes a member joining or leaving; `None` if the dialect has no such message.
    fn presence(&self, change: &PresenceChange) -> Option<Shared>;

    /// Whether connections are told how many members their channels have: see [`Dialect::counted`].
    fn is_counted(&self) -> bool {
        false
    }
}

/// The protocol of one connection: a translator with the state of that connection and without I/O.
/// It does not depend on the transport.
///
/// [`receive`](Self::receive) decodes received data into [`Intent`]s, and
/// [`handle_timeout`](Self::handle_timeout) creates those caused by the passing of time. All other
/// functions encode the server's output into [`Payload`]s, pushed to `out` in the order in which
/// they are sent.
pub trait Dialect: fmt::Debug {
    /// The encoding of publications for this connection. Called once, for the [`Intent::Connect`]
    /// that was accepted.
    fn encoding(&self, connect: &Connect) -> &'static dyn Encoding;

    /// The transport has opened the connection, which has this id, random and known to the client
    /// alone. What the server says first is pushed to `out`. Called once, before
    /// [`receive`](Self::receive). A dialect whose session begins without a message of the client
    /// returns the [`Intent::Connect`] from the next [`poll_intent`](Self::poll_intent).
    fn opened(&mut self, _id: &str, _out: &mut Vec<Payload>) {}

    /// Decodes data received by a transport.
    fn receive(&mut self, incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>);

    /// When to call [`handle_timeout`](Self::handle_timeout): a heartbeat is due, or the client has
    /// been silent for too long. None if there is nothing to wait for. Queried after every other
    /// call, once the client is connected.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has passed, up to half a second ago. Due
    /// actions are pushed to `intents`; [`Intent::Leave`] and [`Intent::Connect`] have no effect
    /// here.
    fn handle_timeout(&mut self, _now: Instant, _intents: &mut Vec<Intent>) {}

    /// Whether it accepts more received data. Queried after every other call.
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    /// What it holds of a message that is not complete, and what it keeps until the client decides. The
    /// server limits the time of the former and the total of both.
    fn unfinished(&self) -> Unfinished {
        Unfinished::default()
    }

    /// The next intent caused by the server's output. Queried after every other call until there is
    /// none; [`Intent::Connect`] has an effect only after [`opened`](Self::opened).
    fn poll_intent(&mut self) -> Option<Intent> {
        None
    }

    /// Removes the subscriptions of a stored session that do not continue on this connection. The note
    /// was stored with the session. Called before a session that the client named is resumed.
    fn select_restored(&self, _note: &[u8], _subscriptions: &mut Vec<SubscriptionSnapshot>) {}

    /// Whether its clients resume sessions with tokens. If not, none are sealed.
    fn has_tokens(&self) -> bool {
        true
    }

    /// Whether an orderly end of the transport, such as a Close, means that the client is leaving:
    /// see [`Intent::Leave`].
    fn leaves_with_its_transport(&self) -> bool {
        true
    }

    /// The head of this recipient's copy of a publication, or of a join or leave. Not called for a
    /// recipient that [is plain](Recipient::is_plain), unless [`Encoding::has_heads`] or
    /// [`Encoding::has_presence_heads`].
    fn head(&mut self, _recipient: &Recipient, _shared: &Shared) -> Head {
        Head::None
    }

    /// The message of a publication that a consumer of this connection received from its queue; none
    /// if the connection has no such consumer any more. `earlier` is how often the publication was
    /// delivered before, to any consumer.
    fn queued(
        &mut self,
        _consumer: SubscriptionId,
        _publication: &Arc<Publication>,
        _place: Position,
        _earlier: u16,
    ) -> Option<Payload> {
        None
    }

    /// Called when the connection was accepted.
    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>);

    /// Called for a refusal before the connection was accepted.
    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>);

    /// Called with a freshly sealed session, which replaces the previous one. Dialects without
    /// resuming ignore it.
    fn token(&mut self, _resume: &str, _out: &mut Vec<Payload>) {}

    /// The session's new token is valid, and expires after this time; none if it does not expire.
    fn refreshed(
        &mut self,
        _id: CommandId,
        _expires_in: Option<Duration>,
        _out: &mut Vec<Payload>,
    ) {
    }

    /// The session's identity expires after this time, and the connection is closed then. Dialects
    /// without a refresh ignore it.
    fn expiring(&mut self, _expires_in: Duration, _out: &mut Vec<Payload>) {}

    /// The channels that were asked for with [`Intent::Channels`], with their numbers of members, unless
    /// the client may not ask for those; `next` is the name after which the next page starts, if there is one.
    fn channels(
        &mut self,
        _id: CommandId,
        _channels: &[(ChannelName, Option<u64>)],
        _next: Option<&str>,
        _out: &mut Vec<Payload>,
    ) {
    }

    /// The number of members of a channel has changed. Called for subscribers that are not behind, if
    /// [`Encoding::is_counted`].
    fn counted(&mut self, _channel: &ChannelName, _members: u64, _out: &mut Vec<Payload>) {}

    /// The code and the reason with which a connection is closed whose client has not identified
    /// itself in time.
    fn late(&self) -> (u16, &'static str) {
        // RFC 6455 §7.4.1: 1008 is for a violated policy.
        (1008, "no connect was received in time")
    }

    /// All other output of the engine to one connection.
    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>);

    /// The code with which the connection is closed.
    fn close_code(&self, reason: CloseReason) -> u16;
}
