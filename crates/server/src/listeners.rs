//! The listeners of the configuration: opens their sockets, or uses those that were passed or handed
//! over, and distributes them among the workers.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use crate::{
    config::{ClientCerts, Config, Listen, ListenAt},
    door::{self, Certificates, Door, Entrance, SocketFile, Streamed},
    sockets::{ListeningSocket, Sockets},
    start_error::StartError,
};

/// The sockets of one worker, with what is served there.
pub(crate) type Listeners = Vec<(Arc<Entrance>, ListeningSocket)>;

/// What is served at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// HTTP and WebSockets.
    Http,
    /// MQTT without HTTP.
    Mqtt,
    /// STOMP without HTTP.
    Stomp,
    /// HTTP for operators.
    Admin,
}

/// A listener of a running server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// What is served.
    pub served: Served,
    /// Where, with the port that the system chose for port 0.
    pub at: ListenAt,
    /// Whether clients use TLS.
    pub tls: bool,
}

impl Listening {
    /// Its address and port; none for a Unix socket.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        match self.at {
            ListenAt::Tcp(address) => Some(address),
            ListenAt::Unix(_) | ListenAt::Systemd(_) => None,
        }
    }
}

/// All listeners, open.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// The sockets of each worker.
    pub(crate) workers: Vec<Listeners>,
    pub(crate) listening: Vec<Listening>,
    /// Every socket again, to hand it over.
    pub(crate) sockets: Sockets,
    /// The files of Unix sockets, which are removed when these values are dropped.
    pub(crate) files: Vec<SocketFile>,
    /// The files of Unix sockets that were passed. Until this server runs, they belong to the process
    /// that passed them.
    pub(crate) passed_files: Vec<PathBuf>,
}

/// Opens every listener of the configuration. Sockets in `passed` are used first; those that no
/// listener uses are closed.
pub(crate) fn open(
    config: &Config,
    certificates: Option<&Arc<Certificates>>,
    passed: Sockets,
) -> Result<Opened, StartError> {
    let mut opening = Opening {
        config,
        certificates,
        passed,
        names: Vec::new(),
        opened: Opened {
            workers: (0..config.workers.get()).map(|_| Vec::new()).collect(),
            ..Opened::default()
        },
    };
    for (setting, door, usual_tls, listeners) in groups(config) {
        for listener in listeners {
            opening.open(setting, door, usual_tls, listener)?;
        }
    }
    for (name, _) in opening.passed.iter() {
        tracing::warn!(
            name,
            "a socket was passed that no listener uses, and is closed"
        );
    }
    Ok(opening.opened)
}

/// The groups of listeners: the setting, what is served, whether TLS is usual there, and the
/// listeners.
fn groups(config: &Config) -> [(&'static str, Door, bool, &Vec<Listen>); 6] {
    let mqtt = Door::Stream(Streamed::Mqtt);
    let stomp = Door::Stream(Streamed::Stomp);
    [
        ("listen", Door::Http, config.tls.is_some(), &config.listen),
        ("mqtt.listen", mqtt, false, &config.mqtt.listen),
        ("mqtt.tls_listen", mqtt, true, &config.mqtt.tls_listen),
        ("stomp.listen", stomp, false, &config.stomp.listen),
        ("stomp.tls_listen", stomp, true, &config.stomp.tls_listen),
        ("admin.listen", Door::Admin, false, &config.admin.listen),
    ]
}

struct Opening<'a> {
    config: &'a Config,
    certificates: Option<&'a Arc<Certificates>>,
    passed: Sockets,
    /// The names so far, because two listeners of a setting may have the same place, such as port 0.
    names: Vec<String>,
    opened: Opened,
}

impl Opening<'_> {
    fn open(
        &mut self,
        setting: &'static str,
        door: Door,
        usual_tls: bool,
        listener: &Listen,
    ) -> Result<(), StartError> {
        let entrance = Arc::new(self.entrance(setting, door, usual_tls, listener)?);
        let name = self.name(setting, listener);
        let passed = self.passed.take(&name);
        let count = self.opened.workers.len();
        let sockets = match &listener.at {
            ListenAt::Systemd(wanted) if passed.is_empty() => {
                return Err(StartError::NoSystemdSocket {
                    setting,
                    name: wanted.clone(),
                    passed: self.passed.of_systemd(),
                });
            }
            // systemd passes one socket for all workers.
            ListenAt::Systemd(_) => for_each_worker(&passed, count)?,
            ListenAt::Tcp(address) => self.tcp(*address, passed)?,
            ListenAt::Unix(path) => {
                if passed.is_empty() {
                    let (socket, file) = door::listen_unix(path, listener.mode)?;
                    self.opened.files.extend(file);
                    for_each_worker(&[socket], count)?
                } else {
                    self.opened.passed_files.push(path.clone());
                    for_each_worker(&passed, count)?
                }
            }
        };
        self.note(&entrance, &sockets)?;
        self.distribute(&name, &entrance, sockets)
    }

    fn entrance(
        &self,
        setting: &'static str,
        door: Door,
        usual_tls: bool,
        listener: &Listen,
    ) -> Result<Entrance, StartError> {
        let files = self.config.tls.as_ref();
        let client_certs = listener
            .client_certs
            .or_else(|| files.map(|files| files.client_certs))
            .unwrap_or(ClientCerts::None);
        let tls = match (listener.uses_tls(usual_tls), self.certificates) {
            (false, _) => None,
            (true, None) => return Err(StartError::NoCertificate { setting }),
            (true, Some(known)) => {
                // Operators' programs are served over HTTP/1.1 only.
                let http2 = self.config.http2.enabled && door != Door::Admin;
                Some(known.acceptor(http2, client_certs)?)
            }
        };
        Ok(Entrance {
            door,
            tls,
            is_trusted: listener.trusted,
            has_proxy_protocol: listener.proxy_protocol,
        })
    }

    /// The name of a listener's sockets: the same in every process with this configuration.
    fn name(&mut self, setting: &str, listener: &Listen) -> String {
        let place = match &listener.at {
            // As systemd names it, whichever setting it is used for.
            ListenAt::Systemd(_) => listener.at.to_string(),
            ListenAt::Tcp(_) | ListenAt::Unix(_) => format!("{setting} {}", listener.at),
        };
        let earlier = self.names.iter().filter(|name| **name == place).count();
        self.names.push(place.clone());
        match earlier {
            0 => place,
            _ => format!("{place} {earlier}"),
        }
    }

    /// A socket for each worker (`SO_REUSEPORT`), with its number. An earlier process may have had
    /// more workers, whose sockets are all served, because connections wait in each; or fewer.
    fn tcp(
        &self,
        mut address: SocketAddr,
        passed: Vec<ListeningSocket>,
    ) -> Result<Vec<(usize, ListeningSocket)>, StartError> {
        let failed = |address, source| StartError::Listen { address, source };
        let count = self.opened.workers.len();
        if passed.is_empty() && !self.config.share_port {
            door::ensure_free(address).map_err(|source| failed(address, source))?;
        }
        if let Some(first) = passed.first() {
            let known = first.address().map_err(StartError::System)?;
            address = known.unwrap_or(address);
        }
        let mut sockets: Vec<_> = passed
            .into_iter()
            .enumerate()
            .map(|(number, socket)| (number % count, socket))
            .collect();
        for number in sockets.len()..count {
            let opened = door::listen(address, &self.config.connections);
            let socket = opened.map_err(|source| failed(address, source))?;
            // For port 0, the system chooses once, and all listeners use that port.
            address = socket
                .local_addr()
                .map_err(|source| failed(address, source))?;
            sockets.push((number, ListeningSocket::Tcp(socket)));
        }
        Ok(sockets)
    }

    /// Notes where a listener listens.
    fn note(
        &mut self,
        entrance: &Entrance,
        sockets: &[(usize, ListeningSocket)],
    ) -> Result<(), StartError> {
        let of_one_worker = sockets.iter().filter(|(number, _)| *number == 0);
        let places: io::Result<Vec<_>> = of_one_worker.map(|(_, socket)| socket.at()).collect();
        let mut places = places.map_err(StartError::System)?;
        places.dedup();
        let listening = places.into_iter().map(|at| Listening {
            served: entrance.served(),
            at,
            tls: entrance.tls.is_some(),
        });
        self.opened.listening.extend(listening);
        Ok(())
    }

    /// Gives the sockets to their workers, and keeps each once for a hand-over.
    fn distribute(
        &mut self,
        name: &str,
        entrance: &Arc<Entrance>,
        sockets: Vec<(usize, ListeningSocket)>,
    ) -> Result<(), StartError> {
        let is_shared = sockets.iter().any(|(_, socket)| is_shared(name, socket));
        for (number, socket) in sockets {
            socket.set_nonblocking().map_err(StartError::System)?;
            // Of a socket that all workers share, one descriptor is enough.
            if number == 0 || !is_shared {
                let kept = socket.try_clone().map_err(StartError::System)?;
                self.opened.sockets.add(name, kept);
            }
            if let Some(listeners) = self.opened.workers.get_mut(number) {
                listeners.push((Arc::clone(entrance), socket));
            }
        }
        Ok(())
    }
}

/// Whether all workers accept from the same socket.
fn is_shared(name: &str, socket: &ListeningSocket) -> bool {
    match socket {
        ListeningSocket::Tcp(_) => name.starts_with("systemd:"),
        #[cfg(unix)]
        ListeningSocket::Unix(_) => true,
    }
}

/// The same sockets for each of so many workers.
fn for_each_worker(
    sockets: &[ListeningSocket],
    count: usize,
) -> Result<Vec<(usize, ListeningSocket)>, StartError> {
    let all = sockets
        .iter()
        .flat_map(|socket| (0..count).map(move |number| Ok((number, socket.try_clone()?))));
    all.collect::<io::Result<_>>().map_err(StartError::System)
}
