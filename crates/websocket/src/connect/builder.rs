//! Options for connecting.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "http2")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use offhook_protocol::deflate::DeflateConfig;
use offhook_protocol::handshake::{ClientRequest, Headers};
use offhook_protocol::{Keepalive, Limits};

use super::deadline::Deadline;
#[cfg(feature = "http2")]
use super::http2::Http2;
use super::over::Over;
use super::over_the_network;
use super::proxy;
use super::route::Route;
use super::tls::Trust;
use super::url::Url;
use crate::error::{Error, UrlError};
#[cfg(feature = "http2")]
use crate::http2::Http2Limits;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::socket::WebSocket;
use crate::trace::Span;
use crate::transport::Stream;
use crate::wiretap::{Listener, Wiretap};

/// 10 s: a lost SYN is retransmitted after 1, 3 and 7 s, a DNS query after 5 s. A server that takes
/// longer is down, or the user has given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// 10 s: time for a server to start up and to authenticate the client against a database.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// 5: from `http` to `https`, to another name, to a path with a trailing slash, and two to spare.
const REDIRECTS: u8 = 5;

/// Options for connecting; the same value can open any number of connections.
///
/// | | default | reason |
/// |---|---|---|
/// | [`connect_timeout`](Self::connect_timeout) | 10 s | a lost SYN is retransmitted after 1, 3 and 7 s |
/// | [`handshake_timeout`](Self::handshake_timeout) | 10 s | a server may have to start up first |
/// | [`redirects`](Self::redirects) | 5 | more indicate a loop |
/// | [`proxy`](Self::proxy) | from the environment | it is often the only route |
/// | [`tls`](Self::tls) | the system's roots | the machine's owner decides what to trust |
/// | [`deflate`](Self::deflate) | not offered | it costs memory and CPU time for each connection |
/// | [`settings`](Self::settings) | see [`Settings`] | |
///
/// Invalid options are reported by [`open`](Self::open). Dropping its future closes everything it
/// opened.
///
/// ```
/// use std::time::Duration;
/// use offhook::{Connect, Error};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(Error::Lost)?;
/// # let url = format!("ws://{}/chat", listener.local_addr().map_err(Error::Lost)?);
/// # tokio::spawn(async move {
/// #     let acceptor = offhook::Acceptor::default().subprotocols(["chat.v1"]).unwrap();
/// #     while let Ok((stream, _)) = listener.accept().await {
/// #         let mut socket = acceptor.accept(stream).await.unwrap();
/// #         if let Ok(Some(message)) = socket.recv().await {
/// #             socket.send(message).await.unwrap();
/// #             let _ = socket.recv().await;
/// #         }
/// #     }
/// # });
/// let chat = Connect::to(url) // "wss://example.com/chat"
///     .header("Authorization", "Bearer 42")
///     .subprotocol("chat.v1")
///     .handshake_timeout(Duration::from_secs(5));
/// # let chat = chat.no_proxy();
///
/// let mut socket = chat.open().await?;
/// assert_eq!(socket.protocol(), Some("chat.v1"));
/// socket.send("hello").await?;
/// assert_eq!(socket.recv().await?, Some("hello".into()));
///
/// // Lost? Open it again.
/// drop(socket);
/// let _again = chat.open().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is connected before `open`"]
pub struct Connect {
    pub(super) url: Result<Url, UrlError>,
    pub(super) asked: Asked,
    pub(super) settings: Settings,
    pub(super) timeouts: Timeouts,
    pub(super) redirects: u8,
    pub(super) route: Route,
    pub(super) trust: Trust,
    pub(super) listener: Listener,
    #[cfg(feature = "http2")]
    pub(super) version: HttpVersion,
    #[cfg(feature = "http2")]
    pub(super) http2_limits: Http2Limits,
    /// Whether the server was found to support HTTP/2 but not WebSockets over it. Shared by clones,
    /// so that it is determined only once.
    #[cfg(feature = "http2")]
    pub(super) without_http2: Arc<AtomicBool>,
}

/// The HTTP version over which a WebSocket is opened.
#[cfg(feature = "http2")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// Over TLS: HTTP/2 if the server selects it and its SETTINGS allow WebSockets (RFC 8441),
    /// otherwise HTTP/1.1, on a new connection if necessary. Without TLS: HTTP/1.1.
    #[default]
    Any,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, also without TLS: the server must then be known to support it.
    Http2,
}

/// The contents of the request, apart from the URL.
#[derive(Clone, Default)]
pub(super) struct Asked {
    headers: Vec<(Box<str>, Box<[u8]>)>,
    origin: Option<Box<str>>,
    subprotocols: Vec<Box<str>>,
    subprotocol_required: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) handshake: Duration,
}

impl Connect {
    /// Connects to a `ws://` or `wss://` URL; `http://` and `https://` mean the same.
    ///
    /// A user name and password in it are sent as basic authentication, unless there is an
    /// `Authorization` [header](Self::header). The URL must not have a fragment (RFC 6455 §3), and
    /// international host names must be in Punycode.
    pub fn to(url: impl AsRef<str>) -> Self {
        Self {
            url: Url::parse(url.as_ref()),
            asked: Asked::default(),
            settings: Settings::default(),
            timeouts: Timeouts {
                connect: CONNECT_TIMEOUT,
                handshake: HANDSHAKE_TIMEOUT,
            },
            redirects: REDIRECTS,
            route: Route::default(),
            trust: Trust::default(),
            listener: Listener::default(),
            #[cfg(feature = "http2")]
            version: HttpVersion::default(),
            #[cfg(feature = "http2")]
            http2_limits: Http2Limits::default(),
            #[cfg(feature = "http2")]
            without_http2: Arc::default(),
        }
    }

    /// Adds a header field to the request.
    ///
    /// The fields are sent only to this host: a redirect to another host is followed without them,
    /// because any of them may be a secret.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        let header = (name.as_ref().into(), value.as_ref().into());
        self.asked.headers.push(header);
        self
    }

    /// Sends an `Origin`, as a browser would for a page of that origin.
    pub fn origin(mut self, origin: impl AsRef<str>) -> Self {
        self.asked.origin = Some(origin.as_ref().into());
        self
    }

    /// Offers a subprotocol. Those offered earlier are preferred.
    pub fn subprotocol(mut self, name: impl AsRef<str>) -> Self {
        self.asked.subprotocols.push(name.as_ref().into());
        self
    }

    /// Fails if the server selects none of the subprotocols, as browsers do. Otherwise the
    /// connection opens without one.
    pub fn require_subprotocol(mut self) -> Self {
        self.asked.subprotocol_required = true;
        self
    }

    /// Settings of the open connection, including compression. Replaces earlier calls of
    /// [`deflate`](Self::deflate), [`limits`](Self::limits), [`keepalive`](Self::keepalive) and
    /// [`metrics`](Self::metrics).
    pub fn settings(mut self, settings: &Settings) -> Self {
        self.settings = settings.clone();
        self
    }

    /// Offers permessage-deflate: part of the [`settings`](Self::settings).
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.settings = self.settings.deflate(config);
        self
    }

    /// Limits on what the server can make this end hold: part of the [`settings`](Self::settings).
    pub fn limits(mut self, limits: Limits) -> Self {
        Arc::make_mut(&mut self.settings.config).limits = limits;
        self
    }

    /// How a dead server is detected: part of the [`settings`](Self::settings).
    pub fn keepalive(mut self, keepalive: Keepalive) -> Self {
        Arc::make_mut(&mut self.settings.config).keepalive = keepalive;
        self
    }

    /// Reports the connections to `metrics`: part of the [`settings`](Self::settings).
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.settings = self.settings.metrics(metrics);
        self
    }

    /// The time limit for name resolution, connecting, the proxy and TLS together. It starts again
    /// after a redirect.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// How long the server may take to answer the opening handshake. The time starts again after a
    /// redirect.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.handshake = timeout;
        self
    }

    /// How many redirects are followed; 0 for none. A redirect from `wss` to `ws` is never
    /// followed.
    pub fn redirects(mut self, most: u8) -> Self {
        self.redirects = most;
        self
    }

    /// Which servers to trust and which client certificate to present over TLS; also used for a
    /// proxy reached over TLS.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: super::tls::Tls) -> Self {
        self.trust = Trust(Some(tls));
        self
    }

    /// Uses this proxy, whatever the environment says: `http://`, `https://`, `socks5://` (names
    /// are resolved here) or `socks5h://` (names are resolved by the proxy), with `user:password@`
    /// if required.
    ///
    /// Without this call, `http_proxy` and `HTTP_PROXY` apply to `ws://`, `https_proxy` and
    /// `HTTPS_PROXY` to `wss://`, `all_proxy` and `ALL_PROXY` to both, except for the hosts in
    /// `no_proxy` and `NO_PROXY`. As in curl, loopback addresses are not an exception, and
    /// `HTTP_PROXY` is ignored in a CGI program.
    pub fn proxy(mut self, url: impl AsRef<str>) -> Self {
        self.route.proxy = proxy::Choice::This(url.as_ref().into());
        self
    }

    /// Uses no proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.route.proxy = proxy::Choice::Direct;
        self
    }

    /// Passes every byte of the connection, above TLS, to a listener. HTTP/2 is then not
    /// negotiated, since its frames would be in between; if you request it explicitly, the listener
    /// sees nothing.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use offhook::{Connect, Wiretap};
    ///
    /// struct Counter;
    /// impl Wiretap for Counter {
    ///     fn sent(&self, bytes: &[u8]) {
    ///         println!("{} bytes have left", bytes.len());
    ///     }
    ///     fn received(&self, bytes: &[u8]) {
    ///         println!("{} bytes have come", bytes.len());
    ///     }
    /// }
    /// let connect = Connect::to("wss://example.com/chat").wiretap(Arc::new(Counter));
    /// # let _ = connect;
    /// ```
    pub fn wiretap(mut self, tap: Arc<dyn Wiretap>) -> Self {
        self.listener = Listener(Some(tap));
        self
    }

    /// Connects from this local address.
    pub fn bind(mut self, address: impl Into<IpAddr>) -> Self {
        self.route.dialer.bind = Some(address.into());
        self
    }

    /// Connects to these addresses instead of resolving the host, and without a proxy. A redirect
    /// to another host connects to that host.
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.route.addresses = addresses.into_iter().collect();
        self
    }

    /// Connects to this Unix socket; the URL then only determines the request. A redirect to
    /// another host is not followed.
    #[cfg(unix)]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.route.unix = Some(path.into());
        self
    }

    /// Selects the HTTP version.
    #[cfg(feature = "http2")]
    pub fn version(mut self, version: HttpVersion) -> Self {
        self.version = version;
        self
    }

    /// Limits on the resources of an HTTP/2 connection.
    #[cfg(feature = "http2")]
    pub fn http2_limits(mut self, limits: Http2Limits) -> Self {
        self.http2_limits = limits;
        self
    }

    /// Opens an HTTP/2 connection for many WebSockets; over plain TCP too, if the URL says so.
    /// Redirects are not followed.
    ///
    /// # Errors
    ///
    /// See [`Error`], whose variants say which side is at fault. [`Error::Http2`] if the server
    /// does not support WebSockets over HTTP/2.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    #[cfg(feature = "http2")]
    pub async fn http2(&self) -> Result<Http2, Error> {
        Http2::reach(self).await
    }

    /// Connects over an established stream. The URL determines the request, and whether to set up
    /// TLS over the stream first. Redirects are not followed. HTTP/1.1 is used unless only HTTP/2
    /// is allowed.
    pub fn over<S: Stream>(self, stream: S) -> Over<S> {
        Over {
            connect: self,
            stream,
        }
    }

    /// Opens the connection.
    ///
    /// # Errors
    ///
    /// See [`Error`], whose variants say which side is at fault.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    pub async fn open(&self) -> Result<WebSocket, Error> {
        let (socket, _) = over_the_network(self).await?;
        Ok(socket)
    }

    /// Connects to the server, through a proxy and with TLS if necessary, without an opening
    /// handshake: for other requests to the same server, over HTTP/1.1.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), except for those of the handshake.
    ///
    /// # Panics
    ///
    /// As [`open`](Self::open).
    pub async fn stream(&self) -> Result<Box<dyn Stream>, Error> {
        let url = self.url.clone()?;
        let deadline = Deadline::after(self.timeouts.connect);
        let transport = self.route.reach(&url, &self.trust, deadline).await?;
        Ok(transport.into_stream())
    }

    /// As [`open`](Self::open), and also returns the header fields of the server's answer, such as
    /// `Set-Cookie`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Panics
    ///
    /// As [`open`](Self::open).
    pub async fn open_with_headers(&self) -> Result<(WebSocket, Headers), Error> {
        over_the_network(self).await
    }
}

impl Connect {
    /// The span of a connection to there.
    pub(super) fn span(&self) -> Span {
        match &self.url {
            Ok(url) => url.span(),
            Err(_) => Span::opened_elsewhere(false),
        }
    }

    /// Reports that a connection did not open.
    pub(super) fn tell_failure<T>(&self, span: &Span, opened: &Result<T, Error>) {
        if let Err(error) = opened {
            self.settings.counter.failed(error);
            span.failed(error);
        }
    }

    #[cfg(feature = "http2")]
    pub(super) fn may_use_http2(&self, url: &Url) -> bool {
        match self.version {
            HttpVersion::Any => {
                let is_without = self.without_http2.load(Ordering::Relaxed);
                url.secure && !is_without && !self.listener.is_listening()
            }
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
        }
    }

    /// The request for a URL. `trusted` says whether its host may see everything meant for the
    /// first one.
    pub(super) fn request(&self, url: &Url, trusted: bool) -> Result<ClientRequest, Error> {
        let mut request = self.asked.request(url, trusted)?;
        if let Some(deflate) = self.settings.deflate.as_deref() {
            request = request.deflate(deflate.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for Asked {
    /// Only the names of headers are shown: any value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Asked")
            .field("headers", &names)
            .field("origin", &self.origin)
            .field("subprotocols", &self.subprotocols)
            .finish_non_exhaustive()
    }
}

impl Asked {
    fn request(&self, url: &Url, trusted: bool) -> Result<ClientRequest, Error> {
        let mut request = ClientRequest::new(&url.authority(), &url.target)?;
        for subprotocol in &self.subprotocols {
            request = request.subprotocol(subprotocol)?;
        }
        if self.subprotocol_required {
            request = request.require_subprotocol();
        }
        if let Some(origin) = &self.origin {
            request = request.origin(origin)?;
        }
        let headers = if trusted { &self.headers[..] } else { &[] };
        let is_authorization =
            |(name, _): &(Box<str>, _)| name.eq_ignore_ascii_case("authorization");
        if let Some(credentials) = &url.credentials
            && !headers.iter().any(is_authorization)
        {
            request = request.basic_auth(&credentials.user, &credentials.password)?;
        }
        for (name, value) in headers {
            request = request.header(name, value)?;
        }
        Ok(request)
    }
}
