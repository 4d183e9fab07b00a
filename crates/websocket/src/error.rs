//! Errors, sorted by which side is at fault.

use std::fmt;
use std::io;
use std::time::Duration;

use offhook_protocol::handshake::{HandshakeFailure, InvalidRequest, Refused, Rejection};
use offhook_protocol::{self as protocol, CloseCode, Closed, SendError, Shown};

use crate::connect::ProxyError;

/// Why a connection could not be made, or did not end normally.
///
/// A normal close is not an error: it ends [`recv`](crate::WebSocket::recv) with `None`.
#[derive(Debug)]
#[repr(u64)]
#[non_exhaustive]
pub enum Error {
    /// Caller: the URL cannot be used for a WebSocket.
    Url(UrlError),
    /// Caller: the request cannot be sent in this form.
    Request(InvalidRequest),
    /// Caller: this message cannot be sent; the connection stays open.
    Send(SendError),
    /// Network: the host, or the proxy, could not be reached.
    Connect {
        /// The host and the addresses tried.
        to: Box<str>,
        /// The cause.
        source: io::Error,
    },
    /// Proxy: it answered, but refused the connection.
    Proxy {
        /// The proxy's URL, without the password.
        proxy: Box<str>,
        /// The cause.
        source: ProxyError,
    },
    /// TLS: an untrusted certificate, no common version, a broken record.
    Tls {
        /// The host at the other end.
        host: Box<str>,
        /// The cause.
        source: io::Error,
    },
    /// Caller: the server uses TLS and the URL does not, or the other way round.
    WrongScheme {
        /// The server.
        to: Box<str>,
        /// What the server uses, and which scheme to try.
        reason: &'static str,
    },
    /// Server: it refused, in valid HTTP.
    Refused(Box<Refused>),
    /// Server: it answered with a redirect that is not followed.
    Redirect {
        /// The target of the redirect.
        to: Box<str>,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// Server: it does not support WebSockets over HTTP/2, which was required.
    Http2 {
        /// The server.
        to: Box<str>,
        /// What the server lacks.
        reason: &'static str,
    },
    /// Client: its request is not a valid WebSocket handshake. A rejection was sent.
    Rejected(Rejection),
    /// Server: its answer is not a valid WebSocket handshake.
    Handshake(HandshakeFailure),
    /// Network, or no one: a timeout expired.
    Timeout {
        /// The step that took too long.
        phase: Phase,
        /// The host at the other end.
        to: Box<str>,
    },
    /// Peer: it violated the protocol, exceeded a limit, or stopped responding. The connection was
    /// failed.
    Peer(protocol::Error),
    /// Network: the connection was lost without a Close.
    Lost(io::Error),
    /// Peer: it reads more slowly than messages are sent. This message was not sent.
    Full,
    /// Caller: unreceived messages have reached the maximum message size.
    Unread,
    /// The connection is closing: nothing more can be sent.
    Closing,
    /// The connection is closed.
    Closed(Box<Closed>),
}

/// The step that timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Resolving the name of the host, or of the proxy.
    Resolve,
    /// Connecting to the host.
    Connect,
    /// The proxy's answer.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The opening handshake.
    Handshake,
}

/// Why a URL cannot be used for a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError {
    pub(crate) url: Box<str>,
    pub(crate) reason: &'static str,
}

impl Error {
    /// Whether the same attempt may succeed later: the cause is the network, a timeout, or a server
    /// that says so.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.kind() != io::ErrorKind::InvalidInput,
            Self::Timeout { .. } | Self::Lost(_) => true,
            // RFC 9110 §15: request timeout, too early, too many requests, and the statuses that a
            // restart or a gateway produces.
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

    /// The close code with which the connection ended: the peer's if it sent one, otherwise 1006.
    /// `None` if there was no connection yet, or it is still open.
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

    /// How long the server asks clients to wait before the next attempt (`Retry-After` in seconds).
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

/// Close codes that mean "not now" rather than "never", or carry no meaning.
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
            Self::Tls { host, .. } => write!(f, "cannot set up TLS with {host}"),
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
                write!(f, "{to} does not support WebSockets over HTTP/2: {reason}")
            }
            Self::Timeout { phase, to } => write!(f, "{phase} {to} took too long"),
            Self::Peer(error) => error.fmt(f),
            Self::Lost(_) => f.write_str("the connection was lost"),
            Self::Full => f.write_str(
                "the send buffer is full: the peer reads more slowly than messages are sent",
            ),
            Self::Unread => f.write_str("too many messages are unread: receive them first"),
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
            // The proxy's reason is already in the message; its cause is the next in the chain.
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
        write!(f, "{:?} is not a WebSocket URL: {}", self.url, self.reason)
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
