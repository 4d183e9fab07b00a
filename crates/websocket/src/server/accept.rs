//! The opening handshake, over any stream.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook_protocol::handshake::{
    Carrier, InvalidSubprotocol, OriginPolicy, Rejection, Scheme, ServerConfig, ServerDecision,
    Subprotocols,
};

use super::connections::Connections;
use super::head::{Heard, Listening};
use super::incoming::{Incoming, Way, say_and_shut};
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

/// Makes connections of streams; what a [`Server`](super::Server) does with each it accepts.
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
/// connection; longer only helps those who hold connections open to exhaust them.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Default for Acceptor {
    /// Same-origin pages and programs that are no browsers, no subprotocol, no compression, 10 s
    /// for the handshake.
    fn default() -> Self {
        Self {
            config: Arc::default(),
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
    /// With these limits, times, buffers and compression.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        Arc::make_mut(&mut self.config).deflate = settings.deflate.as_deref().cloned();
        self.settings = settings;
        self
    }

    /// Tells `metrics` what connections do: part of the [settings](Self::settings), which replace
    /// it.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.settings = self.settings.metrics(metrics);
        self
    }

    /// Which web pages may connect. By default those of the same origin.
    #[must_use]
    pub fn origin(mut self, origin: OriginPolicy) -> Self {
        Arc::make_mut(&mut self.config).origin = origin;
        self
    }

    /// The scheme that pages of this server are loaded by: [`Scheme::Https`] behind a proxy that
    /// ends TLS. By default it is https with [TLS of its own](Self::tls), else http. By it a page is
    /// of the same origin or not.
    #[must_use]
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        Arc::make_mut(&mut self.config).scheme = scheme;
        self
    }

    /// The subprotocols spoken; of those the client offers, the first in its own order is chosen.
    ///
    /// # Errors
    /// A name that is no token, or stands there twice.
    pub fn subprotocols<'a>(
        mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidSubprotocol> {
        Arc::make_mut(&mut self.config).subprotocols = Subprotocols::new(names)?;
        Ok(self)
    }

    /// With everything of the handshake as it is here, but the compression, which is the
    /// settings'.
    #[must_use]
    pub fn handshake(mut self, config: ServerConfig) -> Self {
        let deflate = self.settings.deflate.as_deref().cloned();
        self.config = Arc::new(ServerConfig { deflate, ..config });
        self
    }

    /// How long a client may take for its request, TLS included.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Every WebSocket that it opens is one of these, to be closed with them.
    #[must_use]
    pub fn connections(mut self, connections: &Connections) -> Self {
        self.connections = Some(connections.clone());
        self
    }

    /// A server counts its connections itself, from before the handshake on.
    pub(super) const fn take_connections(&mut self) -> Option<Connections> {
        self.connections.take()
    }

    /// With TLS. The ALPN protocols of the configuration are replaced by those spoken here.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: impl Into<Arc<tokio_rustls::rustls::ServerConfig>>) -> Self {
        Arc::make_mut(&mut self.config).scheme = Scheme::Https;
        self.tls = Some(Tls::new(&tls.into()));
        self
    }

    /// What a connection of HTTP/2 may cost.
    #[cfg(feature = "http2")]
    #[must_use]
    pub const fn http2_limits(mut self, limits: Http2Limits) -> Self {
        self.http2 = Some(limits);
        self
    }

    /// Speaks no HTTP/2, also where a client would.
    #[cfg(feature = "http2")]
    #[must_use]
    pub const fn http1_only(mut self) -> Self {
        self.http2 = None;
        self
    }

    /// Accepts whoever asks in order, by HTTP/1.1.
    ///
    /// # Errors
    /// The client's request is no valid handshake (it was told), did not come in time, or the
    /// connection was lost.
    pub async fn accept(&self, stream: impl Into<Transport>) -> Result<WebSocket, Error> {
        self.request(stream).await?.accept().await
    }

    /// Reads the request, for a look at it before it is accepted, by HTTP/1.1: what becomes one
    /// WebSocket. For [many over one connection](Requests) there is [`requests`](Self::requests).
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn request(&self, stream: impl Into<Transport>) -> Result<Incoming, Error> {
        let transport = stream.into();
        let peer = self.peer_of(&transport);
        let read = self.in_time(self.read_request(transport)).await;
        read.inspect_err(|error| self.settings.failed_request(peer, error))
    }

    /// Reads requests by whichever version of HTTP the client speaks: one by HTTP/1.1; by HTTP/2,
    /// with the feature `http2`, as many as come. Over TLS ALPN says which version it is, over
    /// plain TCP a client of HTTP/2 begins with its preface.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn requests(&self, stream: impl Into<Transport>) -> Result<Requests, Error> {
        let transport = stream.into();
        let peer = self.peer_of(&transport);
        let read = self.in_time(self.read_requests(transport)).await;
        read.inspect_err(|error| self.settings.failed_request(peer, error))
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn parts(&self) -> (&Arc<ServerConfig>, &Settings, Option<&Connections>) {
        (&self.config, &self.settings, self.connections.as_ref())
    }

    /// The peer's address, if it is told should the request fail.
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
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            transport = tls.only_http1(transport).await?;
        }
        let mut listening = Listening::new(Arc::clone(&self.config));
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
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let is_http2;
            (transport, is_http2) = tls.by_alpn(transport).await?;
            if is_http2 {
                return self.streams(transport, Vec::new(), limits).await;
            }
        }
        let mut listening = Listening::new(Arc::clone(&self.config)).or_http2();
        match hear(&mut transport, &mut listening).await? {
            Heard::Upgrade(decision, unread) => {
                let way = Way::Upgrade(transport, unread);
                Ok(Requests::one(self.incoming(*decision, way)))
            }
            Heard::Rejected(rejection) => Err(reject(&mut transport, rejection).await),
            Heard::Http2(unread) => self.streams(transport, unread, limits).await,
        }
    }

    #[cfg(feature = "http2")]
    async fn streams(
        &self,
        transport: Transport,
        unread: Vec<u8>,
        limits: Http2Limits,
    ) -> Result<Requests, Error> {
        let config = Arc::clone(&self.config);
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

/// Says why, and gives it back, or why it could not be said.
async fn reject(transport: &mut Transport, rejection: Rejection) -> Error {
    let response = rejection.response(Carrier::Upgrade).into_bytes();
    match say_and_shut(transport, &response).await {
        Ok(()) => Error::Rejected(rejection),
        Err(error) => error,
    }
}
