//! A server's TLS, and the negotiation of the HTTP version.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::Acceptor;
use crate::connect::{InvalidTls, certificates, private_key, provider};
use crate::error::Error;
use crate::transport::Transport;

const HTTP_1_1: &[u8] = b"http/1.1";
#[cfg(feature = "http2")]
const HTTP_2: &[u8] = b"h2";

/// The same configuration for each set of protocols offered by ALPN (RFC 7301).
#[derive(Clone)]
pub(super) struct Tls {
    http1: TlsAcceptor,
    #[cfg(feature = "http2")]
    both: TlsAcceptor,
}

impl Tls {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let speaking = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            TlsAcceptor::from(Arc::new(config))
        };
        Self {
            http1: speaking(&[HTTP_1_1]),
            #[cfg(feature = "http2")]
            both: speaking(&[HTTP_2, HTTP_1_1]),
        }
    }

    pub(super) async fn only_http1(&self, transport: Transport) -> Result<Transport, Error> {
        let peer = transport.peer_addr();
        let accepted = Box::pin(self.http1.accept(transport.into_stream())).await;
        let stream = accepted.map_err(failed)?;
        Ok(Transport::boxed(stream).with_peer_addr(peer))
    }

    /// Whether the client selected HTTP/2.
    #[cfg(feature = "http2")]
    pub(super) async fn by_alpn(&self, transport: Transport) -> Result<(Transport, bool), Error> {
        let peer = transport.peer_addr();
        let accepted = Box::pin(self.both.accept(transport.into_stream())).await;
        let stream = accepted.map_err(failed)?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        Ok((Transport::boxed(stream).with_peer_addr(peer), is_http2))
    }
}

impl Acceptor {
    /// Accepts TLS with a certificate, its chain, and its key, as PEM text. For everything else,
    /// use [`tls`](Self::tls).
    ///
    /// # Errors
    /// One of the texts contains no certificate or key, or the key does not match the certificate.
    pub fn tls_pem(
        self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, InvalidTls> {
        let config = ServerConfig::builder_with_provider(provider()?)
            .with_safe_default_protocol_versions()
            .map_err(InvalidTls::Cryptography)?
            .with_no_client_auth()
            .with_single_cert(certificates(chain.as_ref())?, private_key(key.as_ref())?)
            .map_err(InvalidTls::Identity)?;
        Ok(self.tls(config))
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Tls {
        host: "the client".into(),
        source,
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}
