//! The seam between the server and the languages that its clients speak.

use std::{fmt, time::Duration};

use bytes::Bytes;
use offhook_engine::{
    CloseReason, Command, CommandId, Notice, Position, PresenceChange, Publication, Refusal,
    SessionId, SubscriptionId, SubscriptionKey,
};

/// What a transport has received: a whole message, or on a byte stream whatever one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message; valid UTF-8.
    Text(&'a str),
    /// A binary message, or bytes of a stream.
    Binary(&'a [u8]),
}

/// What a transport is to send: a message, or bytes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A text message.
    Text(String),
    /// A binary message, or bytes of a stream.
    Binary(Vec<u8>),
}

impl Payload {
    /// The bytes of either.
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

/// Something that a client's message asks for. A message may hold none of these, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Say who the connection is, and begin or resume its session.
    Connect(Connect),
    /// A command for the engine.
    Command {
        /// The number to answer under.
        id: CommandId,
        /// What to do.
        command: Command,
    },
    /// A command that a token for it comes with, such as a subscription token.
    Granted {
        /// The number to answer under.
        id: CommandId,
        /// What allows it.
        token: String,
        /// What to do.
        command: Command,
    },
    /// A new token of the session's user, before the one before ends.
    Refresh {
        /// The number to answer under.
        id: CommandId,
        /// For the server's authentication.
        token: String,
    },
    /// The message can't be understood. The refusal is sent by [`Dialect::refused`] or as a
    /// [`Notice`], and costs the client what a command does.
    Refuse {
        /// The number to answer under, if the message had one.
        id: Option<CommandId>,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// Send this at once: the answer to a dialect's own ping, or a step of its own handshake.
    Say(Payload),
    /// The client says that it leaves: its session is no longer present once the connection ends.
    Leave,
    /// Close the connection.
    Close {
        /// As [`Dialect::close_code`] gives it.
        code: u16,
        /// At most 123 bytes.
        reason: &'static str,
    },
}

/// Who a connection says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The number to answer under.
    pub id: CommandId,
    /// For the server's authentication.
    pub token: Option<String>,
    /// The sealed session to resume.
    pub resume: Option<String>,
    /// What members may see of a session that authentication says nothing of: one JSON value, or
    /// nothing.
    pub info: Bytes,
    /// The client's own positions, which are newer than those in the sealed session.
    pub positions: Vec<(SubscriptionKey, Position)>,
    /// The client knows that a message may name the one before it.
    pub lineage: bool,
}

/// What a connection is told once it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The number of the [`Connect`].
    pub id: CommandId,
    /// The session's name, which other members see.
    pub session: SessionId,
    /// Empty for an anonymous session.
    pub user: &'a str,
    /// The sealed session to come back with; empty if there is none.
    pub resume: &'a str,
    /// When what says who the session is ends; none if it does not.
    pub expires_in: Option<Duration>,
}

/// A publication, encoded once for all recipients of one [`Encoding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// A message that every recipient gets before this one, such as a gap.
    pub ahead: Option<Payload>,
    /// The message.
    pub message: Payload,
    /// The byte of `message` at which a recipient's own head is inserted, see [`Head::Insert`].
    pub head: usize,
}

impl Shared {
    /// A message that is the same for everybody.
    #[must_use]
    pub fn whole(message: impl Into<Payload>) -> Self {
        Self {
            ahead: None,
            message: message.into(),
            head: 0,
        }
    }

    /// The message with a recipient's head in its place.
    #[must_use]
    pub fn with_head(&self, head: &[u8]) -> Payload {
        let bytes = self.message.as_bytes();
        let (before, after) = bytes.split_at_checked(self.head).unwrap_or((bytes, &[]));
        let spliced = [before, head, after].concat();
        match &self.message {
            Payload::Binary(_) => Payload::Binary(spliced),
            Payload::Text(_) => match String::from_utf8(spliced) {
                Ok(text) => Payload::Text(text),
                // A head that is no text belongs to no text message; what it becomes is visible.
                Err(error) => Payload::Binary(error.into_bytes()),
            },
        }
    }
}

/// Who gets a publication, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The number of the subscription, where it has one.
    pub subscription: Option<SubscriptionId>,
    /// For a subscription to a filter, its position after this publication.
    pub at: Option<Position>,
    /// How often the publication was delivered to this subscription before, where its flow is
    /// acknowledged.
    pub redelivered: u16,
}

impl Recipient {
    /// A subscription that its channel is name enough for.
    pub const PLAIN: Self = Self {
        subscription: None,
        at: None,
        redelivered: 0,
    };
}

/// What one recipient's message has that the others' has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// Nothing: the shared message, which costs no more than a reference.
    None,
    /// Bytes to insert at [`Shared::head`].
    Insert(Vec<u8>),
    /// Another message altogether.
    Whole(Payload),
}

/// How publications look to all connections that are told the same: encoded once for any number
/// of them.
pub trait Encoding: fmt::Debug + Send + Sync {
    /// Connections with encodings of one name share their messages.
    fn name(&self) -> &'static str;

    /// A publication.
    fn publication(&self, publication: &Publication) -> Shared;

    /// Whether every copy has a head of its own, such as a packet's number.
    fn has_heads(&self) -> bool {
        false
    }

    /// A member who joined or left; none where the dialect has no word for it.
    fn presence(&self, change: &PresenceChange) -> Option<Shared>;
}

/// The language of one connection: a translator with the state of that connection and without
/// I/O. It knows no transport.
///
/// [`receive`](Self::receive) turns what came into [`Intent`]s. Everything else turns what the
/// server has to say into [`Payload`]s, pushed to `out` in the order in which they are sent.
pub trait Dialect: fmt::Debug {
    /// How this connection gets publications. Asked once, for the [`Intent::Connect`] that was
    /// granted.
    fn encoding(&self, connect: &Connect) -> &'static dyn Encoding;

    /// Takes what a transport has received.
    fn receive(&mut self, incoming: Incoming<'_>, intents: &mut Vec<Intent>);

    /// What this recipient's copy of a publication, or of a join or leave, has of its own. Not asked
    /// for a [`Recipient::PLAIN`], unless [`Encoding::has_heads`].
    fn head(&mut self, _recipient: &Recipient, _shared: &Shared) -> Head {
        Head::None
    }

    /// The connection is connected.
    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>);

    /// A refusal before the connection is connected.
    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>);

    /// A freshly sealed session, which replaces the one before. Dialects that know no resuming
    /// ignore it.
    fn token(&mut self, _resume: &str, _out: &mut Vec<Payload>) {}

    /// The session's new token is good, and ends after this time; none if it does not.
    fn refreshed(
        &mut self,
        _id: CommandId,
        _expires_in: Option<Duration>,
        _out: &mut Vec<Payload>,
    ) {
    }

    /// What says who the session is ends after this time, and the connection with it. Dialects that
    /// know no refresh ignore it.
    fn expiring(&mut self, _expires_in: Duration, _out: &mut Vec<Payload>) {}

    /// Everything else that the engine says to one connection.
    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>);

    /// The code that the connection is closed with.
    fn close_code(&self, reason: CloseReason) -> u16;
}
