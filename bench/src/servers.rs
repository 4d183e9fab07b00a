//! The echo servers, and how each is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::scenarios::Needs;

/// The largest message that servers must accept.
const MAX_MESSAGE: &str = "16777216";

/// One echo server, ready to be started.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// The name it is selected by.
    pub(crate) name: String,
    /// The version of its library, if one is pinned.
    pub(crate) version: String,
    /// Whether it supports permessage-deflate.
    pub(crate) deflate: bool,
    launch: Launch,
}

#[derive(Clone, Debug)]
enum Launch {
    /// `PROGRAM ARGUMENTS… ADDR --max-message BYTES [--cert FILE --key FILE]`
    Address {
        program: PathBuf,
        arguments: Vec<OsString>,
    },
    /// `PLAIN PORT`, `TLS PORT CERT KEY`, `DEFLATE PORT`: one program for each.
    Port {
        plain: Option<PathBuf>,
        tls: Option<PathBuf>,
        deflate: Option<PathBuf>,
    },
}

/// The certificate that TLS servers are given.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// PEM of the certificate.
    pub(crate) cert: PathBuf,
    /// PEM of its key.
    pub(crate) key: PathBuf,
}

impl Server {
    /// A server whose program takes an address.
    pub(crate) fn at_address(name: &str, version: &str, program: PathBuf) -> Self {
        let launch = Launch::Address {
            program,
            arguments: Vec::new(),
        };
        Self {
            name: name.into(),
            version: version.into(),
            deflate: true,
            launch,
        }
    }

    /// The same server with another name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// The same server without permessage-deflate.
    pub(crate) fn without_deflate(self) -> Self {
        Self {
            deflate: false,
            ..self
        }
    }

    /// The same server with an argument before the address.
    pub(crate) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        if let Launch::Address { arguments, .. } = &mut self.launch {
            arguments.push(argument.into());
        }
        self
    }

    /// uWebSockets, from programs that are built separately.
    pub(crate) fn uwebsockets(program: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        let plain = program("UWEBSOCKETS_ECHO");
        let tls = program("UWEBSOCKETS_ECHO_TLS");
        let deflate = program("UWEBSOCKETS_ECHO_DEFLATE");
        plain.as_ref().or(tls.as_ref()).or(deflate.as_ref())?;
        Some(Self {
            name: "uwebsockets".into(),
            version: String::new(),
            deflate: deflate.is_some(),
            launch: Launch::Port {
                plain,
                tls,
                deflate,
            },
        })
    }

    /// The command line that serves `port` on loopback, or `None` if the server does not support
    /// what is needed.
    pub(crate) fn command(
        &self,
        port: u16,
        needs: Needs,
        certificate: &Certificate,
    ) -> Option<Vec<OsString>> {
        if needs == Needs::Deflate && !self.deflate {
            return None;
        }
        let files = [&certificate.cert, &certificate.key];
        match &self.launch {
            Launch::Address { program, arguments } => {
                let mut line = vec![program.into()];
                line.extend(arguments.iter().cloned());
                line.extend([format!("127.0.0.1:{port}"), "--max-message".into()].map(Into::into));
                line.push(MAX_MESSAGE.into());
                if needs == Needs::Tls {
                    for (option, file) in ["--cert", "--key"].iter().zip(files) {
                        line.extend([OsString::from(option), file.into()]);
                    }
                }
                Some(line)
            }
            Launch::Port {
                plain,
                tls,
                deflate,
            } => {
                let program = match needs {
                    Needs::Plain => plain,
                    Needs::Tls => tls,
                    Needs::Deflate => deflate,
                };
                let mut line = vec![program.as_ref()?.into(), port.to_string().into()];
                if needs == Needs::Tls {
                    line.extend(files.map(Into::into));
                }
                Some(line)
            }
        }
    }
}

/// The Rust peers, from the `peers` package's programs.
pub(crate) fn rust_peers(programs: &Path, lock: &Path) -> Result<Vec<Server>> {
    let lock = std::fs::read_to_string(lock).context("bench/Cargo.lock")?;
    let server = |package: &str| {
        let version = version(&lock, package).unwrap_or_default();
        Server::at_address(package, version, programs.join(package))
    };
    let batched = |server: &Server, name: &str| {
        Server {
            name: name.into(),
            ..server.clone()
        }
        .argument("--batched")
    };
    let sockudo = server("sockudo-ws");
    let yawc = server("yawc");
    let tungstenite = server("tokio-tungstenite").without_deflate();
    Ok(vec![
        server("fastwebsockets").without_deflate(),
        batched(&sockudo, "sockudo-ws-batched"),
        sockudo,
        batched(&yawc, "yawc-tuned"),
        yawc,
        server("tokio-websockets").without_deflate(),
        batched(&tungstenite, "tokio-tungstenite-batched"),
        tungstenite,
        server("axum").without_deflate(),
    ])
}

/// The baseline: what tokio allows without a library.
pub(crate) fn yardstick(programs: &Path) -> Server {
    Server::at_address("bare-tokio", "", programs.join("bare-tokio")).without_deflate()
}

/// The newest one, which is ours: an older one is a dependency of another peer.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, after) = lock.rsplit_once(&format!("\nname = \"{package}\"\nversion = \""))?;
    after.split('"').next()
}
