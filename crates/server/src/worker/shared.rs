//! What all workers of a server share.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use offhook_brokers::Broker;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::{
    config::Config,
    door::{Admission, Stream},
    tokens::Sealer,
};

/// What all workers of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) sealer: Sealer,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) started: Instant,
    /// Connections that have said who they are.
    connections: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        broker: Arc<dyn Broker>,
        sealer: Sealer,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let started = Instant::now();
        Self {
            admission: Admission::new(&config.connections, started),
            config,
            broker,
            sealer,
            tls,
            started,
            connections: AtomicUsize::new(0),
        }
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn connection_came(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection_went(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// In TLS, if that is configured.
    pub(crate) async fn dress(&self, stream: TcpStream) -> io::Result<Stream> {
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => {
                let dressed = Box::pin(tls.accept(stream)).await?;
                Ok(Stream::Tls(Box::new(dressed)))
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("broker", &self.broker)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
