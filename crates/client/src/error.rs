//! What can go wrong, by whose doing it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use offhook_dialects::native::client::{self as wire, ErrorCode, Refusal, Retry};

/// Why something did not work, or a connection ended. Clones share their causes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller's: there can be no such channel, key or tag, or the data is too large.
    Invalid(Box<Refused>),
    /// The caller's: this can't be written as JSON, or read from it.
    Json(Arc<serde_json::Error>),
    /// The caller's: this client has a subscription to that channel.
    AlreadySubscribed(Box<str>),
    /// The caller's: as much waits to be published as the client holds. Nothing was taken.
    Full,
    /// The caller's: the client was closed.
    Closed,
    /// The token source's: it gave none.
    Token(Arc<dyn std::error::Error + Send + Sync>),
    /// The server's: it says no, and why.
    Refused(Box<Refused>),
    /// The server's: it closed the connection with this reason: `too_slow`, `flood`, or `replaced`,
    /// when the session came back on another connection.
    Closing(Box<str>),
    /// The server's: it broke the dialect's rules; the connection was given up.
    Server(Box<str>),
    /// Nobody's, or the network's: nothing was heard for too long.
    Silent,
    /// The connection could not be opened, or was lost; see [`offhook::Error`] for by whose doing.
    Connection(Arc<offhook::Error>),
}

impl Error {
    /// Whether the same can work later. A client comes back by itself after errors of its connection
    /// for which this is so.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Json(_) | Self::AlreadySubscribed(_) | Self::Closed => false,
            Self::Full | Self::Token(_) | Self::Server(_) | Self::Silent => true,
            Self::Refused(refused) => refused.retry() != Retry::Never,
            // Whoever replaced us is us: coming back would replace that one.
            Self::Closing(reason) => &**reason != "replaced",
            Self::Connection(error) => error.is_retryable(),
        }
    }

    /// How long the server asks to wait before that.
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
            | Self::Silent => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(refused) => f.write_str(&refused.message),
            Self::Json(_) => f.write_str("the data does not fit"),
            Self::AlreadySubscribed(channel) => {
                write!(
                    f,
                    "this client is subscribed to {channel}: drop that subscription first"
                )
            }
            Self::Full => f.write_str("as much waits to be published as this client holds"),
            Self::Closed => f.write_str("the client was closed"),
            Self::Token(_) => f.write_str("there is no token to connect with"),
            Self::Refused(refused) => refused.fmt(f),
            Self::Closing(reason) => write!(f, "the server closed the connection: {reason}"),
            Self::Server(what) => write!(f, "the server broke the protocol: {what}"),
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
            // What it says is said already; its cause is the next one down.
            Self::Connection(error) => std::error::Error::source(&**error),
            Self::Invalid(_)
            | Self::AlreadySubscribed(_)
            | Self::Full
            | Self::Closed
            | Self::Refused(_)
            | Self::Closing(_)
            | Self::Server(_)
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

/// A name, key or tag that the client itself found wrong.
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

/// The server's no.
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

    /// What was wrong, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether and when the same request can succeed.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// How long the server asks to wait before that.
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
