//! Why a proxy refused or failed.

use std::fmt;
use std::io;

/// Why a connection through a proxy could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyError {
    /// The proxy's URL, from the caller or the environment, is invalid.
    Url(&'static str),
    /// User name, password or host name are longer than the 255 bytes that SOCKS5 allows, or
    /// contain characters that HTTP's basic authentication cannot carry.
    NotRepresentable(&'static str),
    /// An HTTP proxy answered CONNECT with a status other than 2xx.
    Status(u16),
    /// An HTTP proxy requires (other) credentials: status 407.
    HttpAuthentication {
        /// Whether credentials were sent.
        sent: bool,
    },
    /// A SOCKS proxy requires (other) credentials, or a method of authentication other than user
    /// name and password.
    SocksAuthentication {
        /// Whether credentials were sent.
        sent: bool,
    },
    /// A SOCKS proxy answered with a failure.
    Socks(SocksReply),
    /// The answer is not HTTP or SOCKS5, is too long, or is followed by unexpected bytes.
    Malformed(&'static str),
    /// The connection to the proxy was lost, or the proxy closed it.
    Lost(io::Error),
}

/// A SOCKS5 reply other than "succeeded" (RFC 1928 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocksReply(pub u8);

#[cfg(not(target_arch = "wasm32"))]
impl SocksReply {
    pub(super) const ADDRESS_TYPE_NOT_SUPPORTED: Self = Self(8);

    /// Network or host unreachable, connection refused, TTL expired, address type not supported.
    pub(super) fn is_about_the_address(self) -> bool {
        matches!(self.0, 1 | 3..=6) || self == Self::ADDRESS_TYPE_NOT_SUPPORTED
    }
}

impl ProxyError {
    /// Whether the same attempt may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            // RFC 1928 §6: general failure, and failures of networks and hosts.
            Self::Socks(SocksReply(code)) => matches!(code, 1 | 3..=6),
            Self::Lost(_) => true,
            Self::Url(_)
            | Self::NotRepresentable(_)
            | Self::HttpAuthentication { .. }
            | Self::SocksAuthentication { .. }
            | Self::Malformed(_) => false,
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(reason) => write!(f, "invalid proxy URL: {reason}"),
            Self::NotRepresentable(reason) => f.write_str(reason),
            Self::Status(status) => write!(f, "it answers CONNECT with status {status}"),
            Self::HttpAuthentication { sent: false }
            | Self::SocksAuthentication { sent: false } => {
                f.write_str("it requires a user name and password: add user:password@ to its URL")
            }
            Self::HttpAuthentication { sent: true } => {
                f.write_str("it rejected the user name and password (407)")
            }
            Self::SocksAuthentication { sent: true } => {
                f.write_str("it rejected the user name and password")
            }
            Self::Socks(reply) => write!(f, "it answers: {reply}"),
            Self::Malformed(reason) => f.write_str(reason),
            Self::Lost(_) => f.write_str("the connection to it was lost"),
        }
    }
}

impl fmt::Display for SocksReply {
    /// RFC 1928 §6.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "general failure",
            2 => "its rules do not allow this connection",
            3 => "the network is unreachable",
            4 => "the host is unreachable",
            5 => "the connection was refused",
            6 => "the time to live expired",
            7 => "it does not support the command CONNECT",
            8 => "it does not support this type of address",
            code => return write!(f, "failure {code}"),
        })
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Lost(source) => Some(source),
            Self::Url(_)
            | Self::NotRepresentable(_)
            | Self::Status(_)
            | Self::HttpAuthentication { .. }
            | Self::SocksAuthentication { .. }
            | Self::Socks(_)
            | Self::Malformed(_) => None,
        }
    }
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}
