//! Connecting as a client.
//!
//! ```text
//!  url ──► proxy? ──► addresses, happy eyeballs ──► tunnel ──► TLS ──► handshake ──► open
//!   ▲                                                                      │
//!   └─────────────────────────── redirect ◄────────────────────────────────┘
//! ```

mod address;
mod builder;
mod deadline;
#[cfg(feature = "http")]
mod from_http;
mod handshake;
#[cfg(feature = "http2")]
mod http2;
mod over;
mod proxy;
mod redirect;
mod route;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
#[cfg(feature = "tls")]
mod tls;
mod url;

use offhook_protocol::handshake::{ClientRequest, Headers};

pub use builder::Connect;
#[cfg(feature = "http2")]
pub use builder::HttpVersion;
#[cfg(feature = "http2")]
pub use http2::Http2;
pub use over::Over;
pub use proxy::{ProxyError, SocksReply};
#[cfg(feature = "tls")]
pub use tls::{InvalidTls, Tls, TlsBuilder};
#[cfg(feature = "tls")]
pub(crate) use tls::{certificates, private_key, provider};

use crate::Transport;
use crate::error::Error;
use crate::socket::WebSocket;
use crate::trace::Span;
use deadline::Deadline;
use handshake::{Answer, read_body, upgrade};
use redirect::is_redirect;
use route::Route;
use url::Url;

/// An open connection, and the header fields of the answer that opened it.
type Answered = (WebSocket, Headers);

/// Opens a connection to a `ws://` or `wss://` URL, with the defaults of [`Connect`].
///
/// # Errors
///
/// See [`Error`], whose variants say which side is at fault.
///
/// # Panics
///
/// Outside a tokio runtime with I/O and time.
pub async fn connect(url: impl AsRef<str>) -> Result<WebSocket, Error> {
    Connect::to(url).open().await
}

async fn over_the_network(connect: &Connect) -> Result<Answered, Error> {
    let span = connect.span();
    let opened = span.instrument(reach(connect, &span)).await;
    connect.tell_failure(&span, &opened);
    opened
}

async fn reach(connect: &Connect, span: &Span) -> Result<Answered, Error> {
    let mut url = connect.url.clone()?;
    let mut route = connect.route.clone();
    let mut trusted = true;
    let mut followed = 0;
    loop {
        let request = connect.request(&url, trusted)?;
        let refused = match attempt(connect, &route, request, &url, span).await {
            Err(Error::Refused(refused)) if connect.redirects > 0 && is_redirect(&refused) => {
                refused
            }
            ended => return ended,
        };
        let next = redirect::follow(&url, &refused)?;
        if followed == connect.redirects {
            let reason = "the limit on redirects is reached";
            return Err(redirect::refuse(&next.to_string(), reason));
        }
        followed += 1;
        if !redirect::trusts(&url, &next) {
            trusted = false;
            route = route.elsewhere(&next)?;
        }
        url = next;
    }
}

/// One attempt, without redirects.
async fn attempt(
    connect: &Connect,
    route: &Route,
    request: ClientRequest,
    url: &Url,
    span: &Span,
) -> Result<Answered, Error> {
    #[cfg(feature = "http2")]
    if connect.may_use_http2(url)
        && let Some(answered) = http2::attempt(connect, route, &request, url, span).await?
    {
        return Ok(answered);
    }
    let deadline = Deadline::after(connect.timeouts.connect);
    let transport = route.reach(url, &connect.trust, deadline).await?;
    ask(connect, transport, request, url, span).await
}

async fn over_stream(connect: &Connect, transport: Transport) -> Result<Answered, Error> {
    let span = connect.span();
    let asked = span.instrument(ask_over(connect, transport, &span)).await;
    connect.tell_failure(&span, &asked);
    asked
}

async fn ask_over(
    connect: &Connect,
    mut transport: Transport,
    span: &Span,
) -> Result<Answered, Error> {
    #[cfg(feature = "http2")]
    if connect.version == HttpVersion::Http2 {
        return http2::over_stream(connect, transport, span).await;
    }
    let url = connect.url.clone()?;
    let request = connect.request(&url, true)?;
    if url.secure {
        let deadline = Deadline::after(connect.timeouts.connect);
        let encrypted = connect.trust.encrypt(&url.host, transport, deadline);
        transport = encrypted.await?;
    }
    ask(connect, transport, request, &url, span).await
}

/// Performs the opening handshake over a transport.
async fn ask(
    connect: &Connect,
    transport: Transport,
    request: ClientRequest,
    url: &Url,
    span: &Span,
) -> Result<Answered, Error> {
    let mut transport = connect.listener.on(transport);
    let deadline = Deadline::after(connect.timeouts.handshake);
    match upgrade(&mut transport, request, &url.host_and_port(), deadline).await? {
        Answer::Yes { opened, leftover } => {
            let negotiated = opened.negotiated;
            let settings = &connect.settings;
            let span = span.clone();
            let socket = WebSocket::client_in(span, transport, negotiated, &leftover, settings);
            Ok((socket, opened.headers))
        }
        Answer::No(mut refused) => {
            // The body of a redirect is not needed.
            if !is_redirect(&refused) {
                read_body(&mut transport, &mut refused, deadline).await;
            }
            Err(Error::Refused(refused))
        }
    }
}
