//! Questions that the engine asks an outside party, and commands from callers without a connection.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    delivery::{ConnectionId, Reply},
    error::Refusal,
    publication::{Draft, Format, Key, Tags},
    session::{Identity, SessionSnapshot},
    subscription::Target,
};

/// The engine's id for a question to an outside party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerdictId(pub u64);

/// The id of a caller without a connection, such as a request to the HTTP API. Its one reply
/// carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId(pub u64);

/// A question to an outside party: a webhook, a token check, a backend. It is answered with
/// [`Engine::handle_verdict`](crate::Engine::handle_verdict); without an answer in time the rule
/// decides, see [`NoAnswer`].
#[derive(Clone, Debug)]
pub struct Ask {
    /// The id of the answer.
    pub id: VerdictId,
    /// The connection that waits; none for a `connect`, which precedes it.
    pub connection: Option<ConnectionId>,
    /// The identity of the session, as far as known.
    pub identity: Arc<Identity>,
    /// What the session wants to do.
    pub wish: Wish,
    /// How long to wait for the answer.
    pub within: Duration,
}

/// The subject of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To connect.
    Connect {
        /// What is known of the client, such as its token, in the caller's own format.
        facts: Bytes,
    },
    /// To subscribe.
    Subscribe {
        /// The channel or filter.
        target: Target,
    },
    /// To publish.
    Publish {
        /// The publication.
        draft: Draft,
    },
    /// To call the backend, which answers.
    Call {
        /// The client's name for the call.
        method: Box<str>,
        /// The client's data.
        data: Bytes,
        /// The format of `data`.
        format: Format,
        /// The client's idempotency key: with one the backend may be asked again when it did not
        /// answer, since it can tell that it is the same call.
        key: Option<Key>,
    },
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is allowed; a client that connects has the identity known so far, and the answer of a
    /// call is empty.
    Allowed,
    /// Connecting is allowed, with this identity.
    Admitted(Arc<Identity>),
    /// Publishing is allowed, with these instead of the client's.
    Changed {
        /// Replaces the client's data.
        data: Bytes,
        /// The format of `data`.
        format: Format,
        /// Replaces the client's tags.
        tags: Tags,
    },
    /// A call's answer.
    Answered {
        /// The answer.
        data: Bytes,
        /// The format of `data`.
        format: Format,
    },
    /// It is not allowed.
    Refused(Refusal),
}

/// The decision if an [`Ask`] is not answered in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoAnswer {
    /// Refuse with `timed_out`, so that the client tries again. The safe default: nothing is
    /// allowed without an answer.
    #[default]
    Refuse,
    /// Allow: for backends that only observe.
    Allow,
}

/// A reply to a caller without a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerReply {
    /// The reply to its command.
    Reply(Reply),
    /// The verdict on a connect.
    Admitted(Arc<Identity>),
    /// A durable session as it was saved; none if it does not exist or has expired.
    Session(Option<Box<SessionSnapshot>>),
}

/// The sessions that an action of the server's side applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One session.
    Session(crate::SessionId),
    /// All sessions of a user.
    User(Arc<str>),
}

/// How to ask about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskRule {
    /// How long to wait for an answer. Default 5 s: a person is still waiting, and a backend that
    /// takes longer is in trouble.
    pub within: Duration,
    /// The decision without an answer. Default: refuse.
    pub no_answer: NoAnswer,
}

impl Default for AskRule {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(5),
            no_answer: NoAnswer::default(),
        }
    }
}
