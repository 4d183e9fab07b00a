//! Listening sockets: opens them, and accepts from them.

use std::{io, net::SocketAddr, path::Path};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use super::Stream;
use crate::{config::Connections, sockets::ListeningSocket, start_error::StartError};

/// The maximum number of connections that wait to be accepted. 4,096, or the system's limit: about
/// a second's worth of clients that reconnect at once.
const BACKLOG: i32 = 4096;

/// The permissions of a Unix socket's file, if the listener does not say. 660: the server's user,
/// and the group, to which a proxy's user can be added.
#[cfg(unix)]
const MODE: u32 = 0o660;

/// Checks that no process listens on an address. This needs a socket that does not share the
/// address, as the workers' sockets do.
pub(crate) fn ensure_free(address: SocketAddr) -> io::Result<()> {
    std::net::TcpListener::bind(address).map(drop)
}

/// Listens on an address that others may listen on as well (`SO_REUSEPORT`): the kernel distributes
/// connections among them.
pub(crate) fn listen(
    address: SocketAddr,
    limits: &Connections,
) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit these options. They are set before listening, because the window is
    // negotiated in the handshake.
    if let Some(bytes) = limits.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = limits.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Listens on a Unix socket. The file of a process that has ended is replaced.
#[cfg(unix)]
pub(crate) fn listen_unix(
    path: &Path,
    mode: Option<u32>,
) -> Result<(ListeningSocket, Option<SocketFile>), StartError> {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let failed = |source| StartError::Socket {
        path: path.to_owned(),
        source,
    };
    remove_stale(path)?;
    let bind = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        let file = SocketFile::of(path);
        // Before it listens, so that nobody connects who may not.
        let permissions = fs::Permissions::from_mode(mode.unwrap_or(MODE));
        fs::set_permissions(path, permissions)?;
        socket.listen(BACKLOG)?;
        Ok((ListeningSocket::Unix(socket.into()), file))
    };
    bind().map_err(failed)
}

#[cfg(not(unix))]
pub(crate) fn listen_unix(
    path: &Path,
    _mode: Option<u32>,
) -> Result<(ListeningSocket, Option<SocketFile>), StartError> {
    Err(StartError::Socket {
        path: path.to_owned(),
        source: io::ErrorKind::Unsupported.into(),
    })
}

/// Removes the file of a socket on which no process listens any more.
#[cfg(unix)]
fn remove_stale(path: &Path) -> Result<(), StartError> {
    use std::{
        fs,
        os::unix::{fs::FileTypeExt as _, net::UnixStream},
    };

    let failed = |source| StartError::Socket {
        path: path.to_owned(),
        source,
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(StartError::NotASocket {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(failed(io::ErrorKind::AddrInUse.into())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the socket of a process that has ended");
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The file of a Unix socket, removed on drop unless it was released or replaced.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: std::path::PathBuf,
    /// The file's device and number.
    id: (u64, u64),
}

impl SocketFile {
    /// The file that exists now.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let id = file_id(path)?;
        let path = path.to_owned();
        Some(Self { path, id })
    }

    /// Leaves the file to another process.
    pub(crate) fn release(self) {
        std::mem::forget(self);
    }
}

#[cfg(unix)]
fn file_id(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;

    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn file_id(_path: &Path) -> Option<(u64, u64)> {
    None
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A later process may have replaced it.
        if file_id(&self.path) == Some(self.id) {
            // A file that cannot be removed is replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A listening socket of one worker.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(socket: ListeningSocket) -> io::Result<Self> {
        match socket {
            ListeningSocket::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            #[cfg(unix)]
            ListeningSocket::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    /// Accepts a connection. Returns the client's address; none on a Unix socket.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Stream::Plain(stream), Some(address)))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}
