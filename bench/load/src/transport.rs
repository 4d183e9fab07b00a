//! A non-blocking connection, plain or with TLS.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use mio::net::TcpStream;
use rustix::io::Errno;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::{Domain, Socket, Type};

/// How to connect to the server.
#[derive(Clone)]
pub struct Dialer {
    /// The server's address.
    pub address: SocketAddr,
    from: Option<From>,
    receive_buffer: Option<usize>,
    tls: Option<Arc<ClientConfig>>,
}

impl Dialer {
    /// With `certificate`, connections use TLS and trust only that certificate.
    pub fn new(address: SocketAddr, certificate: Option<&Path>) -> Result<Self> {
        let tls = certificate.map(tls_config).transpose()?;
        Ok(Self {
            address,
            from: None,
            receive_buffer: None,
            tls,
        })
    }

    /// Connects from this local address rather than one chosen by the system.
    #[must_use]
    pub fn from(self, address: Option<IpAddr>) -> Self {
        let port = Cell::new(FIRST_PORT);
        Self {
            from: address.map(|address| From { address, port }),
            ..self
        }
    }

    /// Limits the kernel's receive buffer to about this many bytes.
    #[must_use]
    pub fn with_receive_buffer(self, bytes: usize) -> Self {
        Self {
            receive_buffer: Some(bytes),
            ..self
        }
    }

    /// Starts to connect.
    pub fn dial(&self) -> Result<Transport> {
        let socket = self.connect()?;
        socket.set_nodelay(true)?;
        let tls = match &self.tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from("localhost")?;
                let mut session = ClientConnection::new(config.clone(), name)?;
                session.set_buffer_limit(None);
                Some(Box::new(session))
            }
        };
        Ok(Transport { socket, tls })
    }

    fn connect(&self) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = &self.from {
            from.bind(&socket)?;
        }
        match socket.connect(&self.address.into()) {
            // connect(2): a socket is writable once it is connected.
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            result => result?,
        }
        Ok(TcpStream::from_std(socket.into()))
    }
}

/// The local address of connections.
#[derive(Clone)]
struct From {
    address: IpAddr,
    port: Cell<u16>,
}

/// The lowest port to use; ports below are assigned to services.
const FIRST_PORT: u16 = 10_000;

impl From {
    /// Takes one port after another. The kernel would choose one too, but searches the used ones
    /// each time: milliseconds per connection once there are 10,000.
    fn bind(&self, socket: &Socket) -> Result<()> {
        // Ports of connections that ended a minute ago may be reused.
        socket.set_reuse_address(true)?;
        loop {
            let port = self.port.get();
            let next = port
                .checked_add(1)
                .context("the address has no port left")?;
            self.port.set(next);
            match socket.bind(&SocketAddr::new(self.address, port).into()) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                result => return result.context("binding"),
            }
        }
    }
}

fn tls_config(certificate: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).context("--ca")?)?;
    // One cipher suite for all servers, so that all do the same work.
    let provider = rustls::crypto::CryptoProvider {
        cipher_suites: vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The byte stream of one connection.
pub struct Transport {
    /// The socket registered with the poll.
    pub socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Transport {
    /// Reads available bytes. `WouldBlock` means none, `Ok(0)` the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(buffer);
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            flush(tls, &mut self.socket)?;
        }
    }

    /// Whether a read of `count` bytes into `room` bytes shows that there are no more: epoll
    /// reports new bytes after a short read. With TLS, only `WouldBlock` shows it.
    #[must_use]
    pub fn drained(&self, count: usize, room: usize) -> bool {
        self.tls.is_none() && count < room
    }

    /// Writes some of `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write(bytes);
        };
        if !flush(tls, &mut self.socket)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = tls.writer().write(&bytes[..bytes.len().min(64 * 1024)])?;
        flush(tls, &mut self.socket)?;
        Ok(count)
    }

    /// Writes TLS records that wait for space in the socket.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => flush(tls, &mut self.socket).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// True if nothing is left to write.
fn flush(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(_) => {}
            Err(error) if not_now(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Whether to wait for the poll: the socket is full, empty, or not yet connected.
#[must_use]
pub fn not_now(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}
