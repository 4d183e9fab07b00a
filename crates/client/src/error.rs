//! Errors, classified by who caused them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use offhook_dialects::native::client::{self as wire, ErrorCode, Refusal, Retry};

/// Why a request failed or a connection ended. Clones share their causes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller: the channel, key or tag is invalid, or the data is too large.
    Invalid(Box<Refused>),
    /// The caller: the value cannot be converted to or from JSON.
    Json(Arc<serde_json::Error>),
    /// The caller: this client is already subscribed to the channel.
    AlreadySubscribed(Box<str>),
    /// The caller: the queue of publications is full. Nothing was queued.
    Full,
    /// The caller: the client was closed.
    Closed,
    /// The token source: it failed.
    Token(Arc<dyn std::error::Error + Send + Sync>),
    /// The server: it refused the request.
    Refused(Box<Refused>),
    /// The server: it closed the connection with this reason: `too_slow`, `flood`, `expired` when the
    /// session's authentication has expired, `replaced` when the session was resumed on another
    /// connection, or `disconnected` when the server's side does not want the session.
    Closing(Box<str>),
    /// The server: it violated the protocol, so the connection was closed.
    Server(Box<str>),
    /// The network: the connection was lost before the answer to a [call](crate::Client::call). It
    /// is unknown whether the call was carried out.
    Unanswered,
    /// The network or the server: nothing was received for too long.
    Silent,
    /// The connection could not be opened, or was lost; [`offhook::Error`] says who caused it.
    Connection(Arc<offhook::Error>),
}

impl Error {
    /// Whether trying again can help. A client reconnects by itself after such errors of its
    /// connection.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Json(_) | Self::AlreadySubscribed(_) | Self::Closed => false,
            Self::Full | Self::Token(_) | Self::Server(_) | Self::Unanswered | Self::Silent => true,
            Self::Refused(refused) => refused.retry() != Retry::Never,
            // The session is on a newer connection, which reconnecting would replace; or the
            // backend ended it.
            Self::Closing(reason) => !matches!(&**reason, "replaced" | "disconnected"),
            Self::Connection(error) => error.is_retryable(),
        }
    }

    /// The delay that the server asks for before trying again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) => refused.retry_after(),
            Self::Connection(error) => error.retry_after(),
            Self::Invalid(_)
            | Self::Json(_)
            | Self::AlreadySubscribed(_)
            | Self::Full
            | Self::Closed
            | Self::Token(_)
            | Self::Closing(_)
            | Self::Server(_)
            | Self::Unanswered
            | Self::Silent => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(refused) => f.write_str(&refused.message),
            Self::Json(_) => f.write_str("the data cannot be converted"),
            Self::AlreadySubscribed(channel) => {
                write!(
                    f,
                    "this client is subscribed to {channel}: drop that subscription first"
                )
            }
            Self::Full => f.write_str("the queue of unanswered publications is full; wait for answers, or raise Builder::queue"),
            Self::Closed => f.write_str("the client was closed"),
            Self::Token(_) => f.write_str("the token source failed"),
            Self::Refused(refused) => refused.fmt(f),
            Self::Closing(reason) => write!(f, "the server closed the connection: {reason}"),
            Self::Server(what) => write!(f, "the server broke the protocol: {what}"),
            Self::Unanswered => f.write_str(
                "the connection was lost before the answer; it may have been carried out",
            ),
            Self::Silent => f.write_str("nothing was heard from the server for too long"),
            Self::Connection(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(&**error),
            Self::Token(error) => Some(&**error),
            // Its message is part of this one; its cause is next in the chain.
            Self::Connection(error) => std::error::Error::source(&**error),
            Self::Invalid(_)
            | Self::AlreadySubscribed(_)
            | Self::Full
            | Self::Closed
            | Self::Refused(_)
            | Self::Closing(_)
            | Self::Server(_)
            | Self::Unanswered
            | Self::Silent => None,
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(Arc::new(error))
    }
}

impl From<offhook::Error> for Error {
    fn from(error: offhook::Error) -> Self {
        Self::Connection(Arc::new(error))
    }
}

/// A name, key or tag that the client found to be invalid.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Invalid(Box::new(Refused {
            name: refusal.code.name().into(),
            message: (&*refusal.detail).into(),
            retry: refusal.code.retry(),
            retry_after: refusal.retry_after,
        }))
    }
}

/// A refusal of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    name: Box<str>,
    message: Box<str>,
    retry: Retry,
    retry_after: Option<Duration>,
}

impl Refused {
    /// The code, if this version knows it; see docs/protocol.md.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        let mut known = ErrorCode::ALL.iter().copied();
        known.find(|code| code.name() == &*self.name)
    }

    /// The code's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The reason, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether and when the same request can succeed.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// The delay that the server asks for before trying again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn read(refused: wire::Refused<'_>) -> Self {
        Self {
            name: refused.code.into(),
            message: refused.message.into(),
            retry: refused.retry,
            retry_after: refused.retry_after,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}
