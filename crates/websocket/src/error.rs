//! What can go wrong, by whose doing it is.

use std::fmt;
use std::io;
use std::time::Duration;

use offhook_protocol::handshake::{HandshakeFailure, InvalidRequest, Refused, Rejection};
use offhook_protocol::{self as protocol, CloseCode, Closed, SendError, Shown};

use crate::connect::ProxyError;

/// Why a connection could not be made, or did not end well.
///
/// A normal close is not an error: it ends [`recv`](crate::WebSocket::recv) with `None`.
#[derive(Debug)]
#[repr(u64)]
#[non_exhaustive]
pub enum Error {
    /// The caller's: the URL is none that a WebSocket can be opened by.
    Url(UrlError),
    /// The caller's: the request cannot be sent as it is.
    Request(InvalidRequest),
    /// The caller's: this cannot be sent; the connection goes on.
    Send(SendError),
    /// The network's: the host, or the proxy, could not be reached.
    Connect {
        /// What was tried.
        to: Box<str>,
        /// Why it failed.
        source: io::Error,
    },
    /// The proxy's: it answers, but does not let us through.
    Proxy {
        /// Which one.
        proxy: Box<str>,
        /// Why not.
        source: ProxyError,
    },
    /// The encryption's: no trust, no common version, a broken record.
    Tls {
        /// Whom it was tried with.
        host: Box<str>,
        /// Why it failed.
        source: io::Error,
    },
    /// The caller's: the server speaks TLS where none was asked for, or none where it was.
    WrongScheme {
        /// Which server.
        to: Box<str>,
        /// What it speaks, and what to try.
        reason: &'static str,
    },
    /// The server's: it answers in proper HTTP, and says no.
    Refused(Box<Refused>),
    /// The server's: it sends us on to where we do not go.
    Redirect {
        /// Where it sends us.
        to: Box<str>,
        /// Why we do not go there.
        reason: &'static str,
    },
    /// The server's: it does no WebSockets over HTTP/2, where nothing else will do.
    Http2 {
        /// Which server.
        to: Box<str>,
        /// What it lacks.
        reason: &'static str,
    },
    /// The client's: its request is no WebSocket handshake; it was told so.
    Rejected(Rejection),
    /// The server's: its answer is no WebSocket handshake.
    Handshake(HandshakeFailure),
    /// Nobody's, or the network's: it took too long.
    Timeout {
        /// What did.
        phase: Phase,
        /// With whom.
        to: Box<str>,
    },
    /// The peer's: it broke the protocol or a limit, or fell silent. The connection was failed.
    Peer(protocol::Error),
    /// The network's: the connection was lost without a close.
    Lost(io::Error),
    /// The peer's: it does not read as fast as is sent; nothing was sent this time.
    Full,
    /// The caller's: as much as the longest message may be has come and was not received.
    Unread,
    /// The connection is closing: nothing more can be sent.
    Closing,
    /// The connection is closed.
    Closed(Box<Closed>),
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Looking up the name of the host, or of the proxy.
    Resolve,
    /// Connecting to it.
    Connect,
    /// The proxy's answer.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The opening handshake.
    Handshake,
}

/// Why a URL is none that a WebSocket can be opened by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError {
    pub(crate) url: Box<str>,
    pub(crate) reason: &'static str,
}

impl Error {
    /// Whether the same attempt may succeed later: the fault lies with the network, with time, or
    /// with a server that says so.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.kind() != io::ErrorKind::InvalidInput,
            Self::Timeout { .. } | Self::Lost(_) => true,
            // RFC 9110 §15: request timeout, too early, too many requests, and what a restart or
            // a gateway in between answers with.
            Self::Refused(refused) => {
                matches!(refused.status(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            Self::Proxy { source, .. } => source.is_retryable(),
            Self::Peer(error) => matches!(error, protocol::Error::Timeout(_)),
            Self::Closed(closed) => is_temporary(closed.code),
            Self::Url(_)
            | Self::Request(_)
            | Self::Send(_)
            | Self::Tls { .. }
            | Self::WrongScheme { .. }
            | Self::Redirect { .. }
            | Self::Http2 { .. }
            | Self::Closing
            | Self::Full
            | Self::Unread
            | Self::Rejected(_)
            | Self::Handshake(_) => false,
        }
    }

    /// The code the connection ended with: the peer's if it sent one, else 1006; `None` if there
    /// was no connection yet, or it goes on.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Peer(_) | Self::Lost(_) => Some(CloseCode::ABNORMAL),
            Self::Closed(closed) => Some(closed.code),
            Self::Url(_)
            | Self::Request(_)
            | Self::Send(_)
            | Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::Tls { .. }
            | Self::WrongScheme { .. }
            | Self::Refused(_)
            | Self::Redirect { .. }
            | Self::Http2 { .. }
            | Self::Rejected(_)
            | Self::Handshake(_)
            | Self::Closing
            | Self::Full
            | Self::Unread
            | Self::Timeout { .. } => None,
        }
    }

    /// The error and what caused it, in one line.
    #[cfg(feature = "tracing")]
    pub(crate) fn with_cause(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&Shown(&cause.to_string()).to_string());
            source = cause.source();
        }
        text
    }

    /// How long the server asks to wait before the next attempt (`Retry-After` in seconds).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Refused(refused) = self else {
            return None;
        };
        let seconds = refused
            .headers()
            .get_str("retry-after")?
            .trim()
            .parse()
            .ok()?;
        Some(Duration::from_secs(seconds))
    }
}

/// Close codes that say "not now" rather than "never", or nothing at all.
pub(crate) fn is_temporary(code: CloseCode) -> bool {
    [
        CloseCode::GOING_AWAY,
        CloseCode::NO_STATUS,
        CloseCode::ABNORMAL,
        CloseCode::INTERNAL_ERROR,
        CloseCode::SERVICE_RESTART,
        CloseCode::TRY_AGAIN_LATER,
        CloseCode::BAD_GATEWAY,
    ]
    .contains(&code)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Send(error) => error.fmt(f),
            Self::Connect { to, .. } => write!(f, "cannot connect to {to}"),
            Self::Proxy { proxy, source } => write!(f, "proxy {proxy}: {source}"),
            Self::Tls { host, .. } => write!(f, "cannot encrypt the connection to {host}"),
            Self::WrongScheme { to, reason } => write!(f, "{to}: {reason}"),
            Self::Refused(refused) => {
                write!(f, "the server refused with status {}", refused.status())?;
                let body = String::from_utf8_lossy(refused.body());
                match body.lines().next() {
                    Some(line) if !line.is_empty() => write!(f, ": {}", Shown(line)),
                    _ => Ok(()),
                }
            }
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Handshake(error) => error.fmt(f),
            Self::Redirect { to, reason } => {
                write!(f, "the redirect to {to:?} is not followed: {reason}")
            }
            Self::Http2 { to, reason } => {
                write!(f, "{to} does no WebSockets over HTTP/2: {reason}")
            }
            Self::Timeout { phase, to } => write!(f, "{phase} {to} took too long"),
            Self::Peer(error) => error.fmt(f),
            Self::Lost(_) => f.write_str("the connection was lost"),
            Self::Full => f.write_str("too much is unsent: the peer does not read as fast"),
            Self::Unread => f.write_str("too much has come unread: receive it first"),
            Self::Closing => f.write_str("the connection is closing: nothing more can be sent"),
            Self::Closed(closed) => {
                write!(f, "the connection is closed: {}", closed.code)?;
                if closed.reason.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {}", Shown(&closed.reason))
                }
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Tls { source, .. } | Self::Lost(source) => {
                Some(source)
            }
            // The proxy's reason is told already; its cause is the next one down.
            Self::Proxy { source, .. } => source.source(),
            Self::Url(_)
            | Self::Request(_)
            | Self::Send(_)
            | Self::WrongScheme { .. }
            | Self::Refused(_)
            | Self::Redirect { .. }
            | Self::Http2 { .. }
            | Self::Rejected(_)
            | Self::Handshake(_)
            | Self::Timeout { .. }
            | Self::Peer(_)
            | Self::Closing
            | Self::Full
            | Self::Unread
            | Self::Closed(_) => None,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "looking up",
            Self::Connect => "connecting to",
            Self::Proxy => "the answer of the proxy",
            Self::Tls => "the TLS handshake with",
            Self::Handshake => "the opening handshake with",
        })
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no WebSocket URL: {}", self.url, self.reason)
    }
}

impl std::error::Error for UrlError {}

impl From<UrlError> for Error {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl From<InvalidRequest> for Error {
    fn from(error: InvalidRequest) -> Self {
        Self::Request(error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl From<HandshakeFailure> for Error {
    fn from(error: HandshakeFailure) -> Self {
        Self::Handshake(error)
    }
}

impl From<protocol::Error> for Error {
    fn from(error: protocol::Error) -> Self {
        Self::Peer(error)
    }
}
