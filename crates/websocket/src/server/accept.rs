//! The server's opening handshake, over any stream.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use offhook_protocol::handshake::{
    Carrier, InvalidSubprotocol, OriginPolicy, Rejection, Scheme, ServerConfig, ServerDecision,
    Subprotocols,
};

use super::connections::Connections;
use super::head::{Heard, Listening};
use super::incoming::{Incoming, Way, say_and_shut};
use super::proxies::{InvalidProxy, Proxies};
use super::requests::Requests;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::error::{Error, Phase};
#[cfg(feature = "http2")]
use crate::http2::{Http2Limits, Streams};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::socket::WebSocket;
use crate::trace;
use crate::transport::Transport;

/// Opens WebSockets on accepted streams. A [`Server`](super::Server) uses it for each connection.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use offhook::Acceptor;
///
/// let acceptor = Acceptor::default().subprotocols(["chat.v2", "chat.v1"])?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let (stream, _) = listener.accept().await?;
///
/// let incoming = acceptor.request(stream).await?;
/// if incoming.request().path() != "/chat" {
///     incoming.reject(offhook::Refusal::new(404)?).await?;
///     return Ok(());
/// }
/// let mut socket = incoming.accept().await?;
/// while let Some(message) = socket.recv().await? {
///     socket.send(message).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    proxies: Proxies,
    /// `config` for requests from one of the proxies, created when it is first needed.
    behind_proxy: OnceLock<Arc<ServerConfig>>,
    settings: Settings,
    timeout: Duration,
    connections: Option<Connections>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    /// `None`: HTTP/1.1 only.
    #[cfg(feature = "http2")]
    http2: Option<Http2Limits>,
}

/// How long a client may take for its request, TLS included. 10 s: three retransmissions on a bad
/// connection. A longer timeout only helps clients that hold connections open to exhaust them.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Default for Acceptor {
    /// Allows pages of the same origin and programs other than browsers; no subprotocol, no
    /// compression, 10 s for the handshake.
    fn default() -> Self {
        Self {
            config: Arc::default(),
            proxies: Proxies::default(),
            behind_proxy: OnceLock::new(),
            settings: Settings::default(),
            timeout: TIMEOUT,
            connections: None,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "http2")]
            http2: Some(Http2Limits::default()),
        }
    }
}

impl Acceptor {
    /// Sets limits, timeouts, buffers and compression.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.config_mut().deflate = settings.deflate.as_deref().cloned();
        self.settings = settings;
        self
    }

    /// Reports the connections to `metrics`: part of the [settings](Self::settings), which replace
    /// it.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.settings = self.settings.metrics(metrics);
        self
    }

    /// Sets which web pages may connect. Default: those of the same origin.
    #[must_use]
    pub fn origin(mut self, origin: OriginPolicy) -> Self {
        self.config_mut().origin = origin;
        self
    }

    /// Sets the scheme under which pages of this server are loaded: [`Scheme::Https`] behind a
    /// proxy that terminates TLS. Default: https if [TLS](Self::tls) is configured here, otherwise
    /// http. It determines whether a page has the same origin.
    #[must_use]
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.config_mut().scheme = scheme;
        self
    }

    /// Trusts these proxies to say how a client reached them. For requests that they send, the
    /// scheme is that of `X-Forwarded-Proto`, or of `Forwarded` (RFC 7239), if there is one;
    /// otherwise it is the configured [`scheme`](Self::scheme). From any other peer these fields are
    /// ignored.
    ///
    /// Name a proxy by its address (`10.0.0.7`), by its network (`10.0.0.0/8`), or as `unix` for
    /// every peer that connects through a Unix socket. Requests from hyper and axum carry no peer
    /// address: set the scheme there.
    ///
    /// ```
    /// # fn example() -> Result<(), offhook::InvalidProxy> {
    /// let acceptor = offhook::Acceptor::default().trust_proxies(["127.0.0.1", "10.0.0.0/8"])?;
    /// # let _ = acceptor;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A name is none of these.
    pub fn trust_proxies<'a>(
        mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidProxy> {
        self.proxies = Proxies::named(names)?;
        Ok(self)
    }

    /// Sets the supported subprotocols. The first one in the client's order of preference is
    /// selected.
    ///
    /// # Errors
    /// A name is not a token, or appears twice.
    pub fn subprotocols<'a>(
        mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidSubprotocol> {
        self.config_mut().subprotocols = Subprotocols::new(names)?;
        Ok(self)
    }

    /// Sets everything about the handshake except compression, which is part of the settings.
    #[must_use]
    pub fn handshake(mut self, config: ServerConfig) -> Self {
        let deflate = self.settings.deflate.as_deref().cloned();
        *self.config_mut() = ServerConfig { deflate, ..config };
        self
    }

    /// Sets how long a client may take for its request, TLS included.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Registers every WebSocket it opens with these connections, so that they can be closed
    /// together.
    #[must_use]
    pub fn connections(mut self, connections: &Connections) -> Self {
        self.connections = Some(connections.clone());
        self
    }

    /// A server counts its connections itself, starting before the handshake.
    pub(super) const fn take_connections(&mut self) -> Option<Connections> {
        self.connections.take()
    }

    /// Accepts TLS. The configuration's ALPN protocols are replaced by those supported here.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: impl Into<Arc<tokio_rustls::rustls::ServerConfig>>) -> Self {
        self.config_mut().scheme = Scheme::Https;
        self.tls = Some(Tls::new(&tls.into()));
        self
    }

    /// Limits the resources of an HTTP/2 connection.
    #[cfg(feature = "http2")]
    #[must_use]
    pub const fn http2_limits(mut self, limits: Http2Limits) -> Self {
        self.http2 = Some(limits);
        self
    }

    /// Disables HTTP/2, even if the client offers it.
    #[cfg(feature = "http2")]
    #[must_use]
    pub const fn http1_only(mut self) -> Self {
        self.http2 = None;
        self
    }

    /// Accepts any valid request, over HTTP/1.1.
    ///
    /// # Errors
    /// The client's request is not a valid handshake (a rejection was sent), did not arrive in
    /// time, or the connection was lost.
    pub async fn accept(&self, stream: impl Into<Transport>) -> Result<WebSocket, Error> {
        self.request(stream).await?.accept().await
    }

    /// Reads the request over HTTP/1.1, so that it can be inspected before it is accepted; it
    /// becomes one WebSocket. For [many over one connection](Requests), use
    /// [`requests`](Self::requests).
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn request(&self, stream: impl Into<Transport>) -> Result<Incoming, Error> {
        let transport = stream.into();
        let peer = self.peer_of(&transport);
        let read = self.in_time(self.read_request(transport)).await;
        read.inspect_err(|error| self.settings.failed_request(peer, error))
    }

    /// Reads requests with whichever HTTP version the client uses: one over HTTP/1.1; any number
    /// over HTTP/2, with the feature `http2`. Over TLS, ALPN determines the version; over plain
    /// TCP, an HTTP/2 client starts with its preface.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn requests(&self, stream: impl Into<Transport>) -> Result<Requests, Error> {
        let transport = stream.into();
        let peer = self.peer_of(&transport);
        let read = self.in_time(self.read_requests(transport)).await;
        read.inspect_err(|error| self.settings.failed_request(peer, error))
    }

    /// The configuration of handshakes, to be changed.
    fn config_mut(&mut self) -> &mut ServerConfig {
        self.behind_proxy = OnceLock::new();
        Arc::make_mut(&mut self.config)
    }

    /// What counts for a request over this transport.
    fn config_for(&self, transport: &Transport) -> Arc<ServerConfig> {
        if !self.proxies.sent(transport) {
            return Arc::clone(&self.config);
        }
        let trusting = self.behind_proxy.get_or_init(|| {
            Arc::new(ServerConfig {
                trust_forwarded: true,
                ..ServerConfig::clone(&self.config)
            })
        });
        Arc::clone(trusting)
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn parts(&self) -> (&Arc<ServerConfig>, &Settings, Option<&Connections>) {
        (&self.config, &self.settings, self.connections.as_ref())
    }

    /// The peer's address, if it is to be reported in case the request fails.
    fn peer_of(&self, transport: &Transport) -> Option<SocketAddr> {
        trace::hears_failed_requests()
            .then(|| transport.peer_addr())
            .flatten()
    }

    async fn in_time<T>(&self, step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, step).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout {
                phase: Phase::Handshake,
                to: "the client".into(),
            }),
        }
    }

    fn incoming(&self, decision: ServerDecision, way: Way) -> Incoming {
        let connections = self.connections.clone();
        Incoming::new(decision, way, self.settings.clone(), connections)
    }

    async fn read_request(&self, mut transport: Transport) -> Result<Incoming, Error> {
        let config = self.config_for(&transport);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            transport = tls.only_http1(transport).await?;
        }
        let mut listening = Listening::new(config);
        match hear(&mut transport, &mut listening).await? {
            Heard::Upgrade(decision, unread) => {
                let way = Way::Upgrade(transport, unread);
                Ok(self.incoming(*decision, way))
            }
            Heard::Rejected(rejection) => Err(reject(&mut transport, rejection).await),
            #[cfg(feature = "http2")]
            Heard::Http2(_) => Err(reject(&mut transport, Rejection::HttpVersion).await),
        }
    }

    #[cfg(not(feature = "http2"))]
    async fn read_requests(&self, transport: Transport) -> Result<Requests, Error> {
        self.read_request(transport).await.map(Requests::one)
    }

    #[cfg(feature = "http2")]
    async fn read_requests(&self, mut transport: Transport) -> Result<Requests, Error> {
        let Some(limits) = self.http2 else {
            return self.read_request(transport).await.map(Requests::one);
        };
        let config = self.config_for(&transport);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let is_http2;
            (transport, is_http2) = tls.by_alpn(transport).await?;
            if is_http2 {
                return self.streams(transport, Vec::new(), limits, config).await;
            }
        }
        let mut listening = Listening::new(Arc::clone(&config)).or_http2();
        match hear(&mut transport, &mut listening).await? {
            Heard::Upgrade(decision, unread) => {
                let way = Way::Upgrade(transport, unread);
                Ok(Requests::one(self.incoming(*decision, way)))
            }
            Heard::Rejected(rejection) => Err(reject(&mut transport, rejection).await),
            Heard::Http2(unread) => self.streams(transport, unread, limits, config).await,
        }
    }

    #[cfg(feature = "http2")]
    async fn streams(
        &self,
        transport: Transport,
        unread: Vec<u8>,
        limits: Http2Limits,
        config: Arc<ServerConfig>,
    ) -> Result<Requests, Error> {
        let settings = self.settings.clone();
        let begin = Streams::begin(transport, unread, limits, config, settings, self.timeout);
        let streams = begin.await.map_err(Error::Lost)?;
        Ok(Requests::many(streams, self.connections.clone()))
    }
}

async fn hear(transport: &mut Transport, listening: &mut Listening) -> Result<Heard, Error> {
    let heard = poll_fn(|cx| listening.poll(transport, cx));
    heard.await.map_err(Error::Lost)
}

/// Sends a rejection. Returns it as an error, or the error of sending it.
async fn reject(transport: &mut Transport, rejection: Rejection) -> Error {
    let response = rejection.response(Carrier::Upgrade).into_bytes();
    match say_and_shut(transport, &response).await {
        Ok(()) => Error::Rejected(rejection),
        Err(error) => error,
    }
}
