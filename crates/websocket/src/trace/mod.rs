//! The feature `tracing`: a span for each connection, and its events.
//!
//! Of what a peer or a URL contains, only the path is logged, with control characters escaped:
//! query strings and header fields may contain secrets.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use offhook_protocol::handshake::Request;
use offhook_protocol::{Closed, ClosedBy, Shown};
use tracing::{Instrument as _, Level};

use crate::error::Error;
use crate::metrics::Traffic;
use crate::server::BoxError;

/// The span of one connection, from its handshake to its end.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    span: tracing::Span,
    is_server: bool,
}

impl Span {
    /// For a request that a server has received.
    pub(crate) fn request(peer: impl FnOnce() -> Option<SocketAddr>, request: &Request) -> Self {
        // The peer's address is queried only if a subscriber is interested.
        if !tracing::span_enabled!(target: "offhook", Level::INFO) {
            return Self {
                span: tracing::Span::none(),
                is_server: true,
            };
        }
        Self::new(true, peer(), Some(request.path()), None)
    }

    /// For a connection to a server; `target` is path and query.
    pub(crate) fn client(server: &str, target: &str) -> Self {
        let path = target.split('?').next();
        Self::new(false, None, path, Some(server))
    }

    /// For a connection whose handshake was done elsewhere.
    pub(crate) fn opened_elsewhere(is_server: bool) -> Self {
        Self::new(is_server, None, None, None)
    }

    fn new(
        is_server: bool,
        peer: Option<SocketAddr>,
        path: Option<&str>,
        server: Option<&str>,
    ) -> Self {
        let role = if is_server { "server" } else { "client" };
        let span = tracing::info_span!(
            target: "offhook",
            "websocket",
            role,
            server,
            peer = peer.map(display),
            path = path.map(|path| display(Shown(path))),
        );
        Self { span, is_server }
    }

    /// Whether a subscriber may be interested in this connection.
    pub(crate) fn is_heard(&self) -> bool {
        !self.span.is_disabled() || tracing::enabled!(target: "offhook", Level::WARN)
    }

    /// Runs a future inside of the span.
    pub(crate) fn instrument<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        future.instrument(self.span.clone())
    }

    /// The connection is open.
    pub(crate) fn opened(&self) {
        tracing::debug!(target: "offhook", parent: &self.span, "opened");
    }

    /// The opening handshake failed.
    pub(crate) fn failed(&self, error: &Error) {
        failed(&self.span, self.is_server, error);
    }

    /// A handler refused the request.
    pub(crate) fn refused(&self, status: u16) {
        tracing::debug!(target: "offhook", parent: &self.span, status, "refused");
    }

    /// The connection has ended.
    pub(crate) fn closed(&self, closed: &Closed, total: &Traffic, open_for: Duration) {
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(
                    target: "offhook",
                    parent: &self.span,
                    $level,
                    code = closed.code.get(),
                    reason = %Shown(&closed.reason),
                    by = culprit(closed),
                    clean = closed.clean,
                    error = closed.error.as_ref().map(display),
                    sent_code = closed.sent.as_ref().map(|sent| sent.code.get()),
                    bytes_received = total.bytes_received,
                    bytes_sent = total.bytes_sent,
                    messages_received = total.messages_received,
                    messages_sent = total.messages_sent,
                    open_for = ?open_for,
                    "closed"
                )
            };
        }
        // A stranger may cause any number of breaches at a server; at a client one is news.
        let is_news = !self.is_server
            && matches!(
                closed.error,
                Some(offhook_protocol::Error::Peer(_) | offhook_protocol::Error::Limit(_))
            );
        if is_news {
            event!(Level::WARN);
        } else {
            event!(Level::DEBUG);
        }
    }

    /// A handler has returned an error. The end of its own connection was already reported by
    /// [`closed`](Self::closed).
    pub(crate) fn handler_failed(&self, error: &BoxError) {
        if error.is::<Error>() {
            tracing::debug!(target: "offhook", parent: &self.span, %error, "handler failed");
        } else {
            tracing::error!(target: "offhook", parent: &self.span, %error, "handler failed");
        }
    }
}

/// A request that did not become one: there is no span yet.
pub(crate) fn failed_request(peer: Option<SocketAddr>, error: &Error) {
    let error = error.with_cause();
    tracing::debug!(
        target: "offhook", role = "server", peer = peer.map(display), error, "handshake failed"
    );
}

/// Whether a subscriber receives [`failed_request`], which needs the peer's address.
pub(crate) fn hears_failed_requests() -> bool {
    tracing::enabled!(target: "offhook", Level::DEBUG)
}

fn failed(span: &tracing::Span, is_server: bool, error: &Error) {
    let is_news = !is_server && matches!(error, Error::Handshake(_) | Error::WrongScheme { .. });
    let error = error.with_cause();
    if is_news {
        tracing::warn!(target: "offhook", parent: span, error, "handshake failed");
    } else {
        tracing::debug!(target: "offhook", parent: span, error, "handshake failed");
    }
}

/// By whose doing the connection ended.
fn culprit(closed: &Closed) -> &'static str {
    use offhook_protocol::Error as Failure;
    match (&closed.error, closed.by) {
        (Some(Failure::Peer(_)), _) => "peer broke the protocol",
        (Some(Failure::Limit(_)), _) => "peer passed a limit",
        (Some(Failure::Timeout(_)), _) => "peer was silent",
        (Some(_), _) => "failure",
        (None, ClosedBy::Local) => "us",
        (None, ClosedBy::Remote) => "peer",
        (None, ClosedBy::Lost) => "network",
    }
}
