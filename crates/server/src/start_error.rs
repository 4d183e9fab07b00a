//! Why a server does not start.

use std::{fmt, io, net::SocketAddr, path::PathBuf};

use offhook_brokers::OpenError;

/// Why a server does not start, and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration names no address to listen on.
    NoAddress,
    /// An address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// MQTT over TLS is configured, and there is no certificate.
    NoCertificate,
    /// The log cannot be used.
    Log(OpenError),
    /// A file cannot be read or created.
    File {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file with the key that seals resume tokens is invalid.
    ResumeKey {
        /// The file's path.
        path: PathBuf,
        /// The number of bytes it contains.
        found: usize,
    },
    /// A file contains no keys that could verify tokens.
    Keys {
        /// The file's path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file contains no keys of the HTTP API, or something else.
    ApiKeys {
        /// The file's path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting cannot be changed while the server runs.
    NeedsRestart {
        /// The group of settings.
        setting: &'static str,
        /// What cannot be changed.
        reason: &'static str,
    },
    /// A secret for signing tokens cannot be used.
    Secret(String),
    /// The certificate and key cannot be used.
    Tls {
        /// The certificate's file.
        cert: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The system cannot provide a thread, a runtime or random bytes.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("listen: no address is configured"),
            Self::NoCertificate => {
                f.write_str("mqtt.tls_listen: there is no certificate; set tls.cert and tls.key")
            }
            Self::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{address} is in use by another program; stop it, or listen elsewhere"
                )
            }
            Self::Listen { address, .. } => write!(f, "{address} cannot be listened on"),
            Self::Log(_) => f.write_str("the log cannot be used"),
            Self::File { path, .. } => write!(f, "{} cannot be used", path.display()),
            Self::ResumeKey { path, found } => write!(
                f,
                "{} contains {found} bytes, but a key has 32; move the file away, and a new key is created: \
                 clients then resume by their positions instead of their tokens",
                path.display()
            ),
            Self::Keys { path, reason } => {
                write!(f, "auth.key_files: {}: {reason}", path.display())
            }
            Self::ApiKeys { path, reason } => {
                write!(f, "api.key_files: {}: {reason}", path.display())
            }
            Self::NeedsRestart { setting, reason } => {
                write!(f, "{setting}: {reason} can only change with a restart")
            }
            Self::Secret(reason) => write!(f, "auth.secrets: {reason}"),
            Self::Tls { cert, reason } => write!(f, "tls: {}: {reason}", cert.display()),
            Self::System(_) => f.write_str("the system cannot provide a thread or random bytes"),
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
            | Self::NoCertificate
            | Self::ResumeKey { .. }
            | Self::Keys { .. }
            | Self::ApiKeys { .. }
            | Self::NeedsRestart { .. }
            | Self::Secret(_)
            | Self::Tls { .. } => None,
        }
    }
}
