//! What is served at a listener, and how.

use std::{fmt, io, net::SocketAddr};

use tokio_rustls::{TlsAcceptor, rustls::Error as TlsError};

use super::{Door, Stream, Streamed};
use crate::{config::Proxies, listeners::Served};

/// What is served at a listener, and how.
pub(crate) struct Entrance {
    pub(crate) door: Door,
    /// Accepts TLS; none for plain connections.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Whether everyone who connects is a trusted proxy.
    pub(crate) is_trusted: bool,
    /// Whether every connection begins with the PROXY protocol.
    pub(crate) has_proxy_protocol: bool,
}

/// A connection's other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// It is a trusted proxy.
    pub(super) is_proxy: bool,
    /// It begins with the PROXY protocol.
    pub(super) has_proxy_protocol: bool,
}

impl Entrance {
    pub(crate) const fn served(&self) -> Served {
        match self.door {
            Door::Http => Served::Http,
            Door::Stream(Streamed::Mqtt) => Served::Mqtt,
            Door::Stream(Streamed::Stomp) => Served::Stomp,
            Door::Admin => Served::Admin,
        }
    }

    /// What is known about the other end of a connection from its address.
    pub(super) fn other(&self, address: Option<SocketAddr>, proxies: &Proxies) -> Other {
        let by_address = address.is_some_and(|address| proxies.trusts(address.ip()));
        Other {
            is_proxy: self.is_trusted || by_address,
            has_proxy_protocol: self.has_proxy_protocol || by_address && proxies.protocol,
        }
    }

    /// Accepts TLS, if that is configured.
    pub(super) async fn accept_tls(&self, stream: Stream) -> io::Result<Stream> {
        let Some(tls) = &self.tls else {
            return Ok(stream);
        };
        let Stream::Plain(stream) = stream else {
            let words = "the configuration offers no TLS on Unix sockets";
            return Err(io::Error::other(words));
        };
        let accepted = Box::pin(tls.accept(stream)).await?;
        Ok(Stream::Tls(Box::new(accepted)))
    }

    /// Whether TLS failed because of the client's certificate.
    pub(super) fn is_about_certificate(error: &io::Error) -> bool {
        let inner = error.get_ref();
        let tls = inner.and_then(|inner| inner.downcast_ref::<TlsError>());
        matches!(
            tls,
            Some(TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented)
        )
    }
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrance")
            .field("door", &self.door)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
