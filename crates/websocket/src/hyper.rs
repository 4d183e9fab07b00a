//! WebSockets on a server built with hyper, over HTTP/1.1 and HTTP/2.
//!
//! The connection must be served with upgrades, and HTTP/2 with extended CONNECT enabled:
//!
//! ```no_run
//! # type Body = String;
//! # async fn serve(stream: tokio::net::TcpStream) {
//! use hyper_util::rt::{TokioExecutor, TokioIo};
//! use hyper_util::server::conn::auto;
//! # async fn answer<B>(mut request: hyper::Request<B>)
//! # -> Result<hyper::Response<Body>, std::convert::Infallible> { unimplemented!() }
//!
//! let mut builder = auto::Builder::new(TokioExecutor::new());
//! builder.http2().enable_connect_protocol();
//! let service = hyper::service::service_fn(answer);
//! let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
//! # let _ = served.await;
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::hyper::ext::Protocol;
use ::hyper::rt::{Read, Write};
use ::hyper::upgrade::{OnUpgrade, Upgraded};
use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request, Response, Uri, Version};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use offhook_protocol::handshake::{
    self, Accepted, Carrier, InvalidHeader, Negotiated, Refusal, Rejection, ServerDecision,
};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::error::Error;
use crate::parsed::{self, Parsed};
use crate::server::{Acceptor, Connections, HandlerResult, Served};
use crate::settings::Settings;
use crate::socket::WebSocket;
use crate::trace::Span;
use crate::transport::Transport;

/// Accepts any valid request: returns the response, and the WebSocket that it opens.
///
/// ```
/// # type Body = http_body_util::Full<bytes::Bytes>;
/// use hyper::body::Incoming;
/// use hyper::{Request, Response};
/// use offhook::{Acceptor, Error};
///
/// async fn answer(mut request: Request<Incoming>, acceptor: &Acceptor) -> Response<Body> {
///     let (response, opening) = match offhook::hyper::upgrade(&mut request, acceptor) {
///         Ok(upgraded) => upgraded,
///         Err(rejected) => return rejected.response(),
///     };
///     tokio::spawn(async move {
///         let mut socket = opening.await?;
///         while let Some(message) = socket.recv().await? {
///             socket.send(message).await?;
///         }
///         Ok::<_, Error>(())
///     });
///     response
/// }
/// ```
///
/// # Errors
///
/// The request is not a valid handshake: return [`Rejected::response`].
pub fn upgrade<B, R: From<Vec<u8>>>(
    request: &mut Request<B>,
    acceptor: &Acceptor,
) -> Result<(Response<R>, Opening), Rejected> {
    Ok(Upgrade::of(request, acceptor)?.accept())
}

/// A valid WebSocket request that waits for the answer.
#[derive(Debug)]
#[must_use = "accept or reject it: the client is waiting"]
pub struct Upgrade {
    decision: ServerDecision,
    on_upgrade: OnUpgrade,
    settings: Settings,
    connections: Option<Connections>,
    span: Span,
}

impl Upgrade {
    /// Checks a request against the acceptor's origins, subprotocols, limits, compression and
    /// connections. TLS and timeouts of the acceptor are not used: they belong to hyper's server.
    ///
    /// # Errors
    ///
    /// The request is not a valid handshake: return [`Rejected::response`].
    pub fn of<B>(request: &mut Request<B>, acceptor: &Acceptor) -> Result<Self, Rejected> {
        let on_upgrade = request.extensions_mut().remove();
        Self::check(
            request.method(),
            request.uri(),
            request.version(),
            request.headers(),
            request.extensions(),
            on_upgrade,
            acceptor,
        )
    }

    /// As [`of`](Self::of), for a request without its body.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn of_parts(
        parts: &mut http::request::Parts,
        acceptor: &Acceptor,
    ) -> Result<Self, Rejected> {
        let on_upgrade = parts.extensions.remove();
        Self::check(
            &parts.method,
            &parts.uri,
            parts.version,
            &parts.headers,
            &parts.extensions,
            on_upgrade,
            acceptor,
        )
    }

    fn check(
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        extensions: &Extensions,
        on_upgrade: Option<OnUpgrade>,
        acceptor: &Acceptor,
    ) -> Result<Self, Rejected> {
        let (config, settings, connections) = acceptor.parts();
        let parsed = Parsed::new(method, uri, headers);
        let (carrier, decided) = if version < Version::HTTP_2 {
            (Carrier::Upgrade, parsed.upgrade(config, version))
        } else {
            let protocol = extensions.get::<Protocol>().map(Protocol::as_str);
            let decided = parsed.extended_connect(config, protocol);
            (Carrier::ExtendedConnect, decided)
        };
        let decision = decided.map_err(|rejection| {
            settings.failed_request(None, &Error::Rejected(rejection.clone()));
            Rejected {
                carrier,
                reason: Reason::Handshake(rejection),
            }
        })?;
        Ok(Self {
            span: Span::request(|| None, decision.request()),
            decision,
            on_upgrade: on_upgrade.ok_or(Rejected {
                carrier,
                reason: Reason::NotUpgradable,
            })?,
            settings: settings.clone(),
            connections: connections.cloned(),
        })
    }

    /// The client's request.
    #[must_use]
    pub fn request(&self) -> &handshake::Request {
        self.decision.request()
    }

    /// The pending answer: use it to select the subprotocol or to add header fields.
    pub fn decision(&mut self) -> &mut ServerDecision {
        &mut self.decision
    }

    /// The supported subprotocols; the first one in the client's order that is supported is chosen,
    /// or none.
    pub fn protocols<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let spoken: Vec<&str> = names.into_iter().collect();
        let mut offered = self.request().subprotocols();
        let chosen = offered
            .find(|name| spoken.contains(name))
            .map(str::to_owned);
        drop(offered);
        // It was offered, so it can be chosen.
        let _chosen = self.decision.select_subprotocol(chosen.as_deref());
        self
    }

    /// Adds a header to the answer that accepts, such as `Set-Cookie`.
    ///
    /// # Errors
    ///
    /// It is no valid header, or one that the handshake sets itself.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidHeader> {
        self.decision.add_header(name, value)?;
        Ok(self)
    }

    /// Accepts: the WebSocket is served in a task of its own, and closed when the handler returns,
    /// as [`Server::serve`](crate::Server::serve) does. To close it differently, or to see errors,
    /// use [`accept`](Self::accept).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use = "return the response"]
    pub fn on_upgrade<R, H, F>(self, handler: H) -> Response<R>
    where
        R: From<Vec<u8>>,
        H: FnOnce(WebSocket) -> F + Send + 'static,
        F: Future<Output = HandlerResult> + Send + 'static,
    {
        let (response, opening) = self.accept();
        // An error has ended the connection; the handler can report it.
        tokio::spawn(opening.serve(handler));
        response
    }

    /// Accepts: returns the response, and the WebSocket that it opens.
    #[must_use = "return the response, and await the WebSocket in a task of its own"]
    pub fn accept<R: From<Vec<u8>>>(self) -> (Response<R>, Opening) {
        let Accepted {
            response,
            negotiated,
            ..
        } = self.decision.accept();
        let response = parsed::response(&response, Vec::new().into());
        let (settings, connections) = (self.settings, self.connections);
        let (on_upgrade, span) = (self.on_upgrade, self.span.clone());
        let open = async move {
            let opened = open(on_upgrade, negotiated, &settings, span.clone()).await;
            let opened = opened.inspect_err(|error| {
                settings.counter.failed(error);
                span.failed(error);
            });
            Ok(opened?.tracked_by(connections.as_ref()))
        };
        let opening = Opening {
            open: Box::pin(open),
            span: self.span,
        };
        (response, opening)
    }

    /// Rejects for the application's own reasons.
    #[must_use = "return the response"]
    pub fn reject<R: From<Vec<u8>>>(self, refusal: Refusal) -> Response<R> {
        self.span.refused(refusal.status());
        converted(&self.decision.reject(refusal))
    }
}

/// A WebSocket that opens once the response is sent. Await it in a task of its own: hyper sends the
/// response only after it was returned.
#[must_use = "nothing opens unless it is awaited"]
pub struct Opening {
    open: Pin<Box<dyn Future<Output = Result<WebSocket, Error>> + Send>>,
    span: Span,
}

impl Opening {
    /// Awaits the WebSocket, passes it to a handler, and closes it when the handler returns, as
    /// [`Server::serve`](crate::Server::serve) does. Spawn this future.
    ///
    /// # Errors
    ///
    /// The WebSocket did not open, or the handler's error.
    pub async fn serve<H, F>(self, handler: H) -> HandlerResult
    where
        H: FnOnce(WebSocket) -> F,
        F: Future<Output = HandlerResult>,
    {
        let Self { open, span } = self;
        let mut socket = open.await?;
        let mut served = Served::default();
        served.opened(&socket);
        let place = socket.take_place();
        let handled = span.instrument(handler(socket)).await;
        if let Err(error) = &handled {
            span.handler_failed(error);
        }
        served.finish_in(&handled, place).await;
        handled
    }
}

impl Future for Opening {
    type Output = Result<WebSocket, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.open.as_mut().poll(cx)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening(..)")
    }
}

async fn open(
    on_upgrade: OnUpgrade,
    negotiated: Negotiated,
    settings: &Settings,
    span: Span,
) -> Result<WebSocket, Error> {
    let upgraded = on_upgrade.await;
    let upgraded = upgraded.map_err(|error| Error::Lost(io::Error::other(error)))?;
    let (transport, unread) = transport(upgraded);
    if let Transport::Tcp(stream) = &transport {
        // This library collects output itself and never delays it, so Nagle's algorithm is not
        // needed. If this fails, the connection is lost, which the first read reports.
        let _slower = stream.set_nodelay(true);
    }
    Ok(WebSocket::server_in(
        span, transport, negotiated, &unread, settings,
    ))
}

/// The socket itself if it can be extracted, and the bytes that hyper has already read from it.
fn transport(upgraded: Upgraded) -> (Transport, Bytes) {
    let upgraded = match taken_out::<TcpStream>(upgraded) {
        Ok((stream, unread)) => return (stream.into(), unread),
        Err(upgraded) => upgraded,
    };
    #[cfg(unix)]
    let upgraded = match taken_out::<UnixStream>(upgraded) {
        Ok((stream, unread)) => return (stream.into(), unread),
        Err(upgraded) => upgraded,
    };
    (Transport::boxed(TokioIo::new(upgraded)), Bytes::new())
}

fn taken_out<T>(upgraded: Upgraded) -> Result<(T, Bytes), Upgraded>
where
    TokioIo<T>: Read + Write + Unpin + 'static,
{
    // hyper-util's server, which axum uses, wraps the stream once more than hyper's own.
    match auto::upgrade::downcast::<TokioIo<T>>(upgraded) {
        Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<T>>()?;
            Ok((parts.io.into_inner(), parts.read_buf))
        }
    }
}

/// A request that does not become a WebSocket.
#[derive(Debug)]
pub struct Rejected {
    carrier: Carrier,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Handshake(Rejection),
    NotUpgradable,
}

impl Rejected {
    /// The rule that the request violates; `None` if the server is not set up for upgrades.
    #[must_use]
    pub fn rejection(&self) -> Option<&Rejection> {
        match &self.reason {
            Reason::Handshake(rejection) => Some(rejection),
            Reason::NotUpgradable => None,
        }
    }

    /// The response to return.
    #[must_use]
    pub fn response<R: From<Vec<u8>>>(&self) -> Response<R> {
        match &self.reason {
            Reason::Handshake(rejection) => converted(&rejection.response(self.carrier)),
            Reason::NotUpgradable => {
                let mut response = Response::new(format!("{self}\n").into_bytes().into());
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }
}

fn converted<R: From<Vec<u8>>>(response: &handshake::Response) -> Response<R> {
    parsed::response(response, response.body().to_vec().into())
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Handshake(rejection) => rejection.fmt(f),
            Reason::NotUpgradable => f.write_str(
                "this server does not upgrade connections: serve them with upgrades, and let \
                 nothing take hyper's OnUpgrade out of the request's extensions",
            ),
        }
    }
}

impl std::error::Error for Rejected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Handshake(rejection) => Some(rejection),
            Reason::NotUpgradable => None,
        }
    }
}
