//! Why a server does not start.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

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
    /// A Unix socket cannot be listened on.
    Socket {
        /// The path of its file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file of a Unix socket is something else.
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// systemd does not pass a socket that the configuration names.
    NoSystemdSocket {
        /// The setting that names it.
        setting: &'static str,
        /// Its name.
        name: String,
        /// The names of the sockets that were passed and are not in use yet.
        passed: Vec<String>,
    },
    /// The authorities of clients' certificates cannot be used.
    ClientCa {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A dialect over TLS is configured, and there is no certificate.
    NoCertificate {
        /// The setting that needs one.
        setting: &'static str,
    },
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
    /// A webhook belongs to no app.
    NoSuchApp {
        /// The id that it names.
        app: String,
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
            Self::NoSuchApp { app } => write!(
                f,
                "pusher.webhooks: no app has the id {app:?}; add it to pusher.apps, or correct the id"
            ),
            Self::NoCertificate { setting } => write!(
                f,
                "{setting}: there is no certificate; set tls.cert and tls.key"
            ),
            Self::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{address} is in use by another program; stop it, or listen elsewhere"
                )
            }
            Self::Listen { address, .. } => write!(f, "{address} cannot be listened on"),
            Self::Socket { path, source } => unix_socket(f, path, source),
            Self::NotASocket { path } => write!(
                f,
                "unix:{}: there is a file that is not a socket; move it away, or listen elsewhere",
                path.display()
            ),
            Self::NoSystemdSocket {
                setting,
                name,
                passed,
            } => no_systemd_socket(f, setting, name, passed),
            Self::ClientCa { path, reason } => {
                write!(f, "tls.client_ca: {}: {reason}", path.display())
            }
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

fn unix_socket(f: &mut fmt::Formatter<'_>, path: &Path, source: &io::Error) -> fmt::Result {
    let path = path.display();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "other errors say themselves what is wrong"
    )]
    match source.kind() {
        io::ErrorKind::AddrInUse => write!(
            f,
            "unix:{path} is in use by another program; stop it, or listen elsewhere"
        ),
        io::ErrorKind::PermissionDenied => write!(
            f,
            "unix:{path} cannot be listened on: this user may not create files in its directory"
        ),
        io::ErrorKind::NotFound => write!(
            f,
            "unix:{path} cannot be listened on: its directory does not exist; create it (systemd: RuntimeDirectory=)"
        ),
        _ => write!(f, "unix:{path} cannot be listened on"),
    }
}

fn no_systemd_socket(
    f: &mut fmt::Formatter<'_>,
    setting: &str,
    name: &str,
    passed: &[String],
) -> fmt::Result {
    write!(f, "{setting}: systemd passes no socket named {name:?}; ")?;
    if passed.is_empty() {
        return f.write_str(
            "it passes no other either: start the socket unit, which starts the server",
        );
    }
    let passed = passed.join(", ");
    write!(
        f,
        "it passes {passed}: use that name, or set FileDescriptorName={name} in the socket unit"
    )
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. }
            | Self::Socket { source, .. }
            | Self::File { source, .. }
            | Self::System(source) => Some(source),
            Self::Log(error) => Some(error),
            Self::NoAddress
            | Self::NotASocket { .. }
            | Self::NoSystemdSocket { .. }
            | Self::ClientCa { .. }
            | Self::NoCertificate { .. }
            | Self::ResumeKey { .. }
            | Self::Keys { .. }
            | Self::ApiKeys { .. }
            | Self::NeedsRestart { .. }
            | Self::NoSuchApp { .. }
            | Self::Secret(_)
            | Self::Tls { .. } => None,
        }
    }
}
