//! WebSockets out of a server made with axum, over HTTP/1.1 and HTTP/2.
//!
//! ```
//! use axum::{Router, response::Response, routing::any};
//! use offhook::axum::Upgrade;
//!
//! async fn chat(upgrade: Upgrade) -> Response {
//!     upgrade.on_upgrade(|mut socket| async move {
//!         while let Some(message) = socket.recv().await? {
//!             socket.send(message).await?;
//!         }
//!         Ok(())
//!     })
//! }
//!
//! // `any`, not `get`: over HTTP/2 the method is CONNECT.
//! let app: Router = Router::new().route("/chat", any(chat));
//! ```
//!
//! Origins, subprotocols, limits, compression and [connections](crate::Connections) are those of the
//! [`Acceptor`] in the request's extensions, else the default: pages of the same origin only.
//!
//! ```
//! use axum::{Extension, Router};
//! use offhook::{Acceptor, OriginPolicy};
//!
//! let acceptor = Acceptor::default().origin(OriginPolicy::Any);
//! let app: Router = Router::new().layer(Extension(acceptor));
//! ```
//!
//! Behind a proxy that ends TLS, say so, or a page of your own is taken for a foreign one:
//! [`Acceptor::scheme`]`(`[`Scheme::Https`](crate::Scheme)`)`.

use std::future::Future;

use axum_core::body::Body;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;
use offhook_protocol::handshake::{InvalidHeader, Refusal, Request, ServerDecision};

use crate::hyper::{self, Opening, Rejected};
use crate::server::{Acceptor, HandlerResult};
use crate::socket::WebSocket;

/// A request that asks for a WebSocket in order, and waits for the answer. As an extractor it
/// answers others itself, with the status that says what is wrong.
#[derive(Debug)]
#[must_use = "accept or reject it, the client waits"]
pub struct Upgrade(hyper::Upgrade);

impl Upgrade {
    /// What the client asks for.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.0.request()
    }

    /// The answer as it stands, to choose the subprotocol or to add headers.
    pub fn decision(&mut self) -> &mut ServerDecision {
        self.0.decision()
    }

    /// The subprotocols spoken; of those the client offers, the first in its own order is chosen,
    /// or none.
    pub fn protocols<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(self.0.protocols(names))
    }

    /// Says yes: the WebSocket is served in a task of its own, and closed when the handler returns,
    /// as [`Server::serve`](crate::Server::serve) does. For another end, or to hear of errors, there
    /// is [`accept`](Self::accept).
    #[must_use = "return the response"]
    pub fn on_upgrade<H, F>(self, handler: H) -> Response
    where
        H: FnOnce(WebSocket) -> F + Send + 'static,
        F: Future<Output = HandlerResult> + Send + 'static,
    {
        self.0.on_upgrade(handler)
    }

    /// Says yes: the response to return, and the WebSocket it becomes, to be
    /// [served](Opening::serve) or awaited in a task of its own.
    #[must_use = "return the response, and spawn what it becomes"]
    pub fn accept(self) -> (Response, Opening) {
        self.0.accept::<Body>()
    }

    /// Adds a header to the answer that accepts, such as `Set-Cookie`.
    ///
    /// # Errors
    /// It is no valid header, or one that the handshake sets itself.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidHeader> {
        self.0.header(name, value).map(Self)
    }

    /// Says no, for the application's own reasons.
    #[must_use = "return the response"]
    pub fn reject(self, refusal: Refusal) -> Response {
        self.0.reject(refusal)
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejected> {
        let acceptor = parts.extensions.get::<Acceptor>().cloned();
        hyper::Upgrade::of_parts(parts, &acceptor.unwrap_or_default()).map(Self)
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        self.response()
    }
}
