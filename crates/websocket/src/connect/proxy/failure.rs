//! Why a proxy does not let us through.

use std::fmt;
use std::io;

/// Why a proxy does not let us through.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyError {
    /// The caller's, or the environment's: the proxy's URL is none.
    Url(&'static str),
    /// The caller's: user name, password or host name are longer than the 255 bytes that SOCKS5
    /// has room for, or hold what HTTP's basic authentication can't carry.
    Unsayable(&'static str),
    /// An HTTP proxy answers CONNECT with another status than 2xx.
    Status(u16),
    /// An HTTP proxy wants (other) credentials: status 407.
    HttpAuthentication {
        /// Whether some were sent.
        sent: bool,
    },
    /// A SOCKS proxy wants (other) credentials, or a way to authenticate other than user name
    /// and password.
    SocksAuthentication {
        /// Whether some were sent.
        sent: bool,
    },
    /// A SOCKS proxy answers with a failure.
    Socks(SocksReply),
    /// Its answer is no HTTP, no SOCKS5, too long, or followed by what nobody asked for.
    Malformed(&'static str),
    /// The connection to it was lost, or it closed it.
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
            // RFC 1928 §6: general failure, and what becomes of networks and hosts.
            Self::Socks(SocksReply(code)) => matches!(code, 1 | 3..=6),
            Self::Lost(_) => true,
            Self::Url(_)
            | Self::Unsayable(_)
            | Self::HttpAuthentication { .. }
            | Self::SocksAuthentication { .. }
            | Self::Malformed(_) => false,
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(reason) => write!(f, "this is no proxy's URL: {reason}"),
            Self::Unsayable(reason) => f.write_str(reason),
            Self::Status(status) => write!(f, "it answers CONNECT with status {status}"),
            Self::HttpAuthentication { sent: false }
            | Self::SocksAuthentication { sent: false } => f.write_str(
                "it wants user name and password: put them into its URL, user:password@",
            ),
            Self::HttpAuthentication { sent: true } => {
                f.write_str("it does not take this user name and password (407)")
            }
            Self::SocksAuthentication { sent: true } => {
                f.write_str("it does not take this user name and password")
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
            7 => "it does not know the command CONNECT",
            8 => "it does not know this type of address",
            code => return write!(f, "failure {code}"),
        })
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Lost(source) => Some(source),
            Self::Url(_)
            | Self::Unsayable(_)
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
