//! Listening sockets that are shared by several workers and processes.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Connections;

/// The maximum number of connections that wait to be accepted. 4,096, or the system's limit: about
/// a second's worth of clients that reconnect at once.
const BACKLOG: i32 = 4096;

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
