//! Why a server does not start.

use std::{fmt, io, net::SocketAddr, path::PathBuf};

use offhook_brokers::OpenError;

/// Why a server does not start, and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration names no address to listen on.
    NoAddress,
    /// An address can't be listened on.
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The log can't be served.
    Log(OpenError),
    /// A file can't be read or made.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file with the key that seals resume tokens is not one.
    ResumeKey {
        /// Which file.
        path: PathBuf,
        /// How many bytes it has.
        found: usize,
    },
    /// A file holds no keys that tokens could be verified with.
    Keys {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A secret that tokens are signed with can't be used.
    Secret(String),
    /// Certificate and key don't make a TLS server.
    Tls {
        /// The certificate's file.
        cert: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system gives no thread, no runtime or no random bytes.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("listen: no address is configured"),
            Self::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{address} is in use by another program; stop it, or listen elsewhere"
                )
            }
            Self::Listen { address, .. } => write!(f, "{address} can't be listened on"),
            Self::Log(_) => f.write_str("the log can't be served"),
            Self::File { path, .. } => write!(f, "{} can't be used", path.display()),
            Self::ResumeKey { path, found } => write!(
                f,
                "{} holds {found} bytes where a key has 32; move it away, and a new one is made: \
                 clients then come back with their positions instead of their tokens",
                path.display()
            ),
            Self::Keys { path, reason } => {
                write!(f, "auth.key_files: {}: {reason}", path.display())
            }
            Self::Secret(reason) => write!(f, "auth.secrets: {reason}"),
            Self::Tls { cert, reason } => write!(f, "tls: {}: {reason}", cert.display()),
            Self::System(_) => f.write_str("the system has no thread or no randomness to give"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::File { source, .. } | Self::System(source) => {
                Some(source)
            }
            Self::Log(error) => Some(error),
            Self::NoAddress
            | Self::ResumeKey { .. }
            | Self::Keys { .. }
            | Self::Secret(_)
            | Self::Tls { .. } => None,
        }
    }
}
