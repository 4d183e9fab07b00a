//! What one can ask for before connecting.

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

/// 10 s: a lost SYN is sent again after 1, 3 and 7 s, a look-up after 5. What takes longer than
/// that is down, or people have gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// 10 s: time for a server to wake up and ask its database who this is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// 5: from `http` to `https`, to another name, to a path with a slash behind, and some to spare.
const REDIRECTS: u8 = 5;

/// A connection to be made; can be made any number of times.
///
/// | | default | reason |
/// |---|---|---|
/// | [`connect_timeout`](Self::connect_timeout) | 10 s | a lost SYN is sent again after 1, 3 and 7 s |
/// | [`handshake_timeout`](Self::handshake_timeout) | 10 s | a server may have to wake up, and to ask who this is |
/// | [`redirects`](Self::redirects) | 5 | more are a loop |
/// | [`proxy`](Self::proxy) | as the environment says | where one is set, there often is no other way |
/// | [`tls`](Self::tls) | the system's roots | its owner decides whom to trust |
/// | [`deflate`](Self::deflate) | not offered | it costs memory and time for each connection |
/// | [`settings`](Self::settings) | see [`Settings`] | |
///
/// Whatever can be wrong with what is asked for is said by [`open`](Self::open). Dropping its
/// future closes everything that it opened.
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
    /// Whether the server was found to speak HTTP/2, but without WebSockets. Clones share it, so
    /// that it is found out once.
    #[cfg(feature = "http2")]
    pub(super) without_http2: Arc<AtomicBool>,
}

/// By which version of HTTP a WebSocket is opened.
#[cfg(feature = "http2")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// Over TLS HTTP/2 if the server wants it and its SETTINGS allow WebSockets (RFC 8441), else
    /// HTTP/1.1, over a new connection if need be. Without TLS HTTP/1.1.
    #[default]
    Any,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS too: then the server must be known to speak it.
    Http2,
}

/// What goes into the request beside the URL.
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
    /// To a `ws://` or `wss://` URL; `http://` and `https://` mean the same.
    ///
    /// User name and password in it are sent as basic authentication, unless there is an
    /// `Authorization` [header](Self::header). It must have no fragment (RFC 6455 §3), and
    /// international names stand there in Punycode.
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

    /// Adds a header to the request.
    ///
    /// Headers are meant for this host: a redirect to another one is followed without them,
    /// since there is no telling which of them are secrets.
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

    /// Offers a subprotocol, after those offered before, which are preferred.
    pub fn subprotocol(mut self, name: impl AsRef<str>) -> Self {
        self.asked.subprotocols.push(name.as_ref().into());
        self
    }

    /// Fails when the server takes none of the subprotocols, as browsers do. Otherwise the
    /// connection opens without one.
    pub fn require_subprotocol(mut self) -> Self {
        self.asked.subprotocol_required = true;
        self
    }

    /// How the open connection behaves, and whether compression is offered. Replaces what
    /// [`deflate`](Self::deflate), [`limits`](Self::limits), [`keepalive`](Self::keepalive) and
    /// [`metrics`](Self::metrics) said before.
    pub fn settings(mut self, settings: &Settings) -> Self {
        self.settings = settings.clone();
        self
    }

    /// Offers permessage-deflate: part of the [`settings`](Self::settings).
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.settings = self.settings.deflate(config);
        self
    }

    /// What the server may make this end hold: part of the [`settings`](Self::settings).
    pub fn limits(mut self, limits: Limits) -> Self {
        Arc::make_mut(&mut self.settings.config).limits = limits;
        self
    }

    /// How a dead server is noticed: part of the [`settings`](Self::settings).
    pub fn keepalive(mut self, keepalive: Keepalive) -> Self {
        Arc::make_mut(&mut self.settings.config).keepalive = keepalive;
        self
    }

    /// Tells `metrics` what connections do: part of the [`settings`](Self::settings).
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.settings = self.settings.metrics(metrics);
        self
    }

    /// How long looking up, connecting, the proxy and TLS may take together. After a redirect
    /// the time begins anew.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// How long the server may take to answer the opening handshake. After a redirect the time
    /// begins anew.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.handshake = timeout;
        self
    }

    /// How many redirects are followed; 0 for none. They never lead from `wss` to `ws`.
    pub fn redirects(mut self, most: u8) -> Self {
        self.redirects = most;
        self
    }

    /// Whom to trust, and who we are, over TLS; also to a proxy that is talked to over TLS.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: super::tls::Tls) -> Self {
        self.trust = Trust(Some(tls));
        self
    }

    /// Goes through this proxy, whatever the environment says: `http://`, `https://`,
    /// `socks5://` (names are looked up here) or `socks5h://` (by the proxy), with
    /// `user:password@` if it wants them.
    ///
    /// Without this, `http_proxy` and `HTTP_PROXY` count for `ws://`, `https_proxy` and
    /// `HTTPS_PROXY` for `wss://`, `all_proxy` and `ALL_PROXY` for both, except for the hosts
    /// in `no_proxy` and `NO_PROXY`. As with curl, loopback addresses are no exception, and
    /// `HTTP_PROXY` does not count in a CGI program.
    pub fn proxy(mut self, url: impl AsRef<str>) -> Self {
        self.route.proxy = proxy::Choice::This(url.as_ref().into());
        self
    }

    /// Goes through no proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.route.proxy = proxy::Choice::Direct;
        self
    }

    /// Lets someone hear every byte that goes over the connection, above TLS. With a listener
    /// HTTP/2 is not chosen, whose frames would be in between; asked for, it is not heard.
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

    /// Connects to these addresses instead of looking the host up, and through no proxy. A
    /// redirect to another host goes to that host.
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.route.addresses = addresses.into_iter().collect();
        self
    }

    /// Connects to this Unix socket; the URL says only what to ask for there. A redirect to
    /// another host is not followed.
    #[cfg(unix)]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.route.unix = Some(path.into());
        self
    }

    /// By which version of HTTP.
    #[cfg(feature = "http2")]
    pub fn version(mut self, version: HttpVersion) -> Self {
        self.version = version;
        self
    }

    /// What a connection of HTTP/2 may cost.
    #[cfg(feature = "http2")]
    pub fn http2_limits(mut self, limits: Http2Limits) -> Self {
        self.http2_limits = limits;
        self
    }

    /// Opens a connection of HTTP/2, for many WebSockets; over plain TCP too, if the URL says so.
    /// Redirects are not followed.
    ///
    /// # Errors
    ///
    /// Whatever went wrong, by whose doing it is: see [`Error`]. [`Error::Http2`] if the server
    /// does not do this.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    #[cfg(feature = "http2")]
    pub async fn http2(&self) -> Result<Http2, Error> {
        Http2::reach(self).await
    }

    /// Over a stream that is connected already; the URL says what to ask for, and whether to
    /// make TLS over it first. Redirects are not followed. It is asked by HTTP/1.1, or by HTTP/2
    /// if only that will do.
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
    /// Whatever went wrong, by whose doing it is: see [`Error`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    pub async fn open(&self) -> Result<WebSocket, Error> {
        let (socket, _) = over_the_network(self).await?;
        Ok(socket)
    }

    /// As [`open`](Self::open), and gives the fields of the server's answer as well, such as
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

    /// Tells whoever wants to hear of it if a connection did not open.
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

    /// The request to a URL. `trusted`: it may see everything that was meant for the first.
    pub(super) fn request(&self, url: &Url, trusted: bool) -> Result<ClientRequest, Error> {
        let mut request = self.asked.request(url, trusted)?;
        if let Some(deflate) = self.settings.deflate.as_deref() {
            request = request.deflate(deflate.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for Asked {
    /// Of the headers only the names: there is no telling which values are secrets.
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
