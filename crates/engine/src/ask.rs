//! What the engine asks somebody outside, and commands from callers that are no connections.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    delivery::{ConnectionId, Reply},
    error::Refusal,
    publication::{Draft, Format},
    session::{Identity, SessionSnapshot},
    subscription::Target,
};

/// The engine's number for a question to somebody outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerdictId(pub u64);

/// The number of a caller that is no connection, such as a request to the HTTP API. Its one reply
/// carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId(pub u64);

/// A question to somebody outside: a webhook, a token check, a backend. It is answered by
/// [`Engine::handle_verdict`](crate::Engine::handle_verdict); without an answer in time the rule
/// decides, see [`NoAnswer`].
#[derive(Clone, Debug)]
pub struct Ask {
    /// To be answered.
    pub id: VerdictId,
    /// Who wants it; none for a `connect`, which comes before there is somebody.
    pub connection: Option<ConnectionId>,
    /// Who wants it, as far as is known.
    pub identity: Arc<Identity>,
    /// What is wanted.
    pub wish: Wish,
    /// How long there is for an answer.
    pub within: Duration,
}

/// What somebody outside is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To connect, with this token or whatever else the caller was given.
    Connect {
        /// What the client sent to prove who it is.
        token: Bytes,
    },
    /// To subscribe.
    Subscribe {
        /// To what.
        target: Target,
    },
    /// To publish.
    Publish {
        /// What and where.
        draft: Draft,
    },
    /// To be answered by the backend.
    Call {
        /// What the client calls it.
        method: Box<str>,
        /// What it sends along.
        data: Bytes,
        /// What `data` is.
        format: Format,
    },
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may; for a call, the answer is empty.
    Allowed,
    /// It may connect, as this.
    Admitted(Arc<Identity>),
    /// It may publish, this instead of what it sent.
    Changed {
        /// Instead of the client's data.
        data: Bytes,
        /// What `data` is.
        format: Format,
    },
    /// A call's answer.
    Answered {
        /// The answer.
        data: Bytes,
        /// What `data` is.
        format: Format,
    },
    /// It may not.
    Refused(Refusal),
}

/// What holds when nobody answers an [`Ask`] in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoAnswer {
    /// It is refused with `timed_out`, so that it is tried again: who cannot be asked allows
    /// nothing.
    #[default]
    Refuse,
    /// It is allowed: for backends that only want to know.
    Allow,
}

/// What a caller that is no connection gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerReply {
    /// The reply to its command.
    Reply(Reply),
    /// The verdict about a connect.
    Admitted(Arc<Identity>),
    /// A durable session as it was kept; none where there is none, or no longer.
    Session(Option<Box<SessionSnapshot>>),
}

/// Whom something is about that the server's side does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One session.
    Session(crate::SessionId),
    /// All sessions of a user.
    User(Arc<str>),
}

/// What a command needs to know of a channel that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskRule {
    /// How long there is for an answer. Default 5 s: a person still waits, and a backend that takes
    /// longer is in trouble.
    pub within: Duration,
    /// What holds without one. Default: it is refused.
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
