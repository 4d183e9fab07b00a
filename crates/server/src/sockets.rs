//! Listening sockets that this process did not open itself: systemd passes them, or an earlier process
//! of this server hands them over.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

#[cfg(unix)]
use std::os::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    unix::net::UnixListener,
};

#[cfg(unix)]
use socket2::{Domain, SockRef, Type};

use crate::config::ListenAt;

/// A listening socket.
#[derive(Debug)]
pub enum ListeningSocket {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixListener),
}

/// Listening sockets with their names. A listener of the configuration uses the sockets with its
/// name, and opens its own if there are none.
///
/// A socket of systemd is named `systemd:NAME`; [`Running::hand_over`](crate::Running::hand_over)
/// names the others.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(String, ListeningSocket)>);

impl Sockets {
    /// Adds a socket.
    pub fn add(&mut self, name: impl Into<String>, socket: ListeningSocket) {
        self.0.push((name.into(), socket));
    }

    /// Every socket with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ListeningSocket)> {
        self.0.iter().map(|(name, socket)| (name.as_str(), socket))
    }

    /// The same sockets again. They stay open until both values are dropped.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let cloned = self.iter().map(|(name, socket)| {
            let socket = socket.try_clone()?;
            Ok((name.to_owned(), socket))
        });
        cloned.collect::<io::Result<_>>().map(Self)
    }

    /// Removes all sockets with this name.
    pub(crate) fn take(&mut self, name: &str) -> Vec<ListeningSocket> {
        let taken = self.0.extract_if(.., |(theirs, _)| theirs == name);
        taken.map(|(_, socket)| socket).collect()
    }

    /// The names of sockets that systemd passes.
    pub(crate) fn of_systemd(&self) -> Vec<String> {
        let names = self
            .0
            .iter()
            .filter_map(|(name, _)| name.strip_prefix(OF_SYSTEMD));
        names.map(str::to_owned).collect()
    }
}

/// The prefix of names of sockets that systemd passes.
const OF_SYSTEMD: &str = "systemd:";

impl ListeningSocket {
    /// The same socket again.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            #[cfg(unix)]
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }

    /// Its address; none for a Unix socket.
    pub(crate) fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            #[cfg(unix)]
            Self::Unix(_) => Ok(None),
        }
    }

    /// Where it listens.
    pub(crate) fn at(&self) -> io::Result<ListenAt> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAt::Tcp),
            #[cfg(unix)]
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().unwrap_or("(without a path)".as_ref());
                Ok(ListenAt::Unix(path.to_owned()))
            }
        }
    }

    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            #[cfg(unix)]
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }
}

#[cfg(unix)]
impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A descriptor from elsewhere, if it is a listening socket of TCP or a Unix stream socket.
#[cfg(unix)]
impl TryFrom<OwnedFd> for ListeningSocket {
    type Error = io::Error;

    fn try_from(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&descriptor);
        let is_stream = socket.r#type()? == Type::STREAM;
        let domain = socket.local_addr()?.domain();
        if !is_stream || !socket.is_listener()? {
            let words = "not a listening stream socket (ListenStream=)";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        if domain == Domain::UNIX {
            Ok(Self::Unix(descriptor.into()))
        } else {
            Ok(Self::Tcp(descriptor.into()))
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{net::UdpSocket, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn only_listening_stream_sockets_are_accepted() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap();
        let socket = ListeningSocket::try_from(OwnedFd::from(listening)).unwrap();
        assert_eq!(socket.at().unwrap(), ListenAt::Tcp(address));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listening = UnixListener::bind(&path).unwrap();
        let socket = ListeningSocket::try_from(OwnedFd::from(listening)).unwrap();
        assert_eq!(socket.at().unwrap(), ListenAt::Unix(path));

        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(ListeningSocket::try_from(OwnedFd::from(datagrams)).is_err());
        let (connected, _other) = UnixStream::pair().unwrap();
        assert!(ListeningSocket::try_from(OwnedFd::from(connected)).is_err());
    }

    #[test]
    fn sockets_are_taken_by_their_names() {
        let socket = || ListeningSocket::Tcp(TcpListener::bind("127.0.0.1:0").unwrap());
        let mut sockets = Sockets::default();
        for name in ["a", "systemd:web", "a"] {
            sockets.add(name, socket());
        }
        assert_eq!(sockets.of_systemd(), ["web"]);
        assert_eq!(sockets.try_clone().unwrap().take("a").len(), 2);
        assert_eq!(sockets.take("a").len(), 2);
        assert_eq!(sockets.take("a").len(), 0);
        let left: Vec<_> = sockets.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(left, ["systemd:web"]);
    }
}
