//! TLS with rustls.
//!
//! The cryptography provider is the one the program installed as rustls' process default, otherwise
//! `aws-lc` or `ring`, whichever feature is enabled.

mod builder;
mod pin;
mod roots;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ClientConfig, SignatureScheme};

pub use builder::{InvalidTls, TlsBuilder};
pub(crate) use builder::{certificates, private_key, provider};

use super::deadline::Deadline;
use super::url::Host;
use crate::error::{Error, Phase};
use crate::transport::{Stream, Transport};

/// The ALPN names offered by default.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// Which servers to trust, and which client certificate to present. Build it once and share it
/// among connections, which can then resume each other's TLS sessions.
///
/// ```
/// use offhook::Tls;
///
/// # fn read(_: &str) -> Vec<u8> {
/// #     let key = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// #     key.cert.pem().into_bytes()
/// # }
/// let tls = Tls::builder().root_pem(read("our-own-authority.pem"))?.build()?;
/// let connect = offhook::Connect::to("wss://example.com/").tls(tls);
/// # Ok::<(), offhook::InvalidTls>(())
/// ```
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the system's roots, unless others are given.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// Uses a rustls configuration, for everything that [`builder`](Self::builder) does not cover.
    ///
    /// Its ALPN protocols are replaced by those over which WebSockets are opened.
    #[must_use]
    pub fn from_config(mut config: ClientConfig) -> Self {
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Self {
            config: Arc::new(config),
        }
    }

    /// The rustls configuration, which offers these ALPN protocols: for other protocols over the same trust,
    /// such as QUIC.
    #[must_use]
    pub fn config_for(&self, protocols: &[&[u8]]) -> ClientConfig {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config
    }

    /// The system's roots; loaded once per process, since that takes milliseconds.
    fn of_system() -> Result<Self, InvalidTls> {
        static OF_SYSTEM: OnceLock<Tls> = OnceLock::new();
        if let Some(tls) = OF_SYSTEM.get() {
            return Ok(tls.clone());
        }
        let tls = Self::builder().build()?;
        Ok(OF_SYSTEM.get_or_init(|| tls).clone())
    }

    /// The same configuration, offering these protocols.
    #[cfg(feature = "http2")]
    fn offering(&self, protocols: &[&[u8]]) -> Self {
        Self {
            config: Arc::new(self.config_for(protocols)),
        }
    }

    /// The same configuration without the client certificate.
    fn anonymous(&self) -> Self {
        if !self.config.client_auth_cert_resolver.has_certs() {
            return self.clone();
        }
        let mut config = ClientConfig::clone(&self.config);
        config.client_auth_cert_resolver = Arc::new(NoCertificate);
        Self {
            config: Arc::new(config),
        }
    }

    /// Performs the TLS handshake. Returns one boxed stream, whatever is inside, and whether HTTP/2
    /// was negotiated.
    async fn handshake<S: Stream>(
        &self,
        name: ServerName<'static>,
        stream: S,
    ) -> io::Result<(Transport, bool)> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let encrypted = connector.connect(name, stream).await?;
        let is_http2 = encrypted.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Transport::boxed(encrypted), is_http2))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Presents no client certificate.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// How servers are authenticated: as the caller configured, otherwise with the system's roots.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust(pub(super) Option<Tls>);

impl Trust {
    /// The same trust, for hosts that must not see the client certificate.
    pub(super) fn anonymous(&self) -> Self {
        Self(self.0.as_ref().map(Tls::anonymous))
    }

    /// Sets up TLS over a transport to a host, to use HTTP/1.1.
    pub(super) async fn encrypt(
        &self,
        host: &Host,
        transport: Transport,
        deadline: Deadline,
    ) -> Result<Transport, Error> {
        let tls = self.tls(host)?;
        let (encrypted, _) = encrypt(&tls, host, transport, deadline).await?;
        Ok(encrypted)
    }

    /// Sets up TLS to use one of these protocols, and returns whether it is HTTP/2.
    #[cfg(feature = "http2")]
    pub(super) async fn encrypt_offering(
        &self,
        host: &Host,
        protocols: &[&[u8]],
        transport: Transport,
        deadline: Deadline,
    ) -> Result<(Transport, bool), Error> {
        let tls = self.tls(host)?.offering(protocols);
        encrypt(&tls, host, transport, deadline).await
    }

    fn tls(&self, host: &Host) -> Result<Tls, Error> {
        match &self.0 {
            Some(tls) => Ok(tls.clone()),
            None => Tls::of_system().map_err(|error| {
                let source = io::Error::new(io::ErrorKind::InvalidInput, error);
                failure(&host.to_string(), source)
            }),
        }
    }
}

async fn encrypt(
    tls: &Tls,
    host: &Host,
    transport: Transport,
    deadline: Deadline,
) -> Result<(Transport, bool), Error> {
    let shown = host.to_string();
    let failed = |source| failure(&shown, source);
    let name = server_name(host).map_err(failed)?;
    let peer = transport.peer_addr();
    let handshake = async {
        let encrypted = match transport {
            Transport::Tcp(stream) => tls.handshake(name, stream).await,
            #[cfg(unix)]
            Transport::Unix(stream) => tls.handshake(name, stream).await,
            Transport::Boxed(stream, _) => tls.handshake(name, stream).await,
        };
        let (encrypted, is_http2) = encrypted.map_err(failed)?;
        Ok((encrypted.with_peer_addr(peer), is_http2))
    };
    deadline.within(Phase::Tls, &shown, handshake).await
}

fn server_name(host: &Host) -> io::Result<ServerName<'static>> {
    match host {
        Host::Ip(IpAddr::V4(address)) => Ok(ServerName::from(*address)),
        Host::Ip(IpAddr::V6(address)) => Ok(ServerName::from(*address)),
        Host::Name(name) => {
            // RFC 6066 §3: without a trailing dot.
            let name = name.strip_suffix('.').unwrap_or(name);
            ServerName::try_from(name.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
        }
    }
}

fn rustls_error(source: &io::Error) -> Option<&rustls::Error> {
    source.get_ref()?.downcast_ref()
}

/// Losing the connection is a network error; everything else concerns TLS.
fn failure(host: &str, source: io::Error) -> Error {
    if let Some(rustls::Error::InvalidMessage(_)) = rustls_error(&source) {
        return Error::WrongScheme {
            to: host.into(),
            reason: "the server does not use TLS: use ws://",
        };
    }
    let is_ours = source
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>() || inner.is::<InvalidTls>());
    if is_ours || source.kind() == io::ErrorKind::InvalidInput {
        Error::Tls {
            host: host.into(),
            source,
        }
    } else {
        Error::Connect {
            to: format!("{host} by TLS").into(),
            source,
        }
    }
}
