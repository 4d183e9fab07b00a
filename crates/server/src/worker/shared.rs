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
    /// Lines that have said who they are.
    lines: AtomicUsize,
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
            lines: AtomicUsize::new(0),
        }
    }

    /// How many lines there are.
    pub(crate) fn lines(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }

    pub(super) fn line_came(&self) {
        self.lines.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn line_went(&self) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
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
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}
