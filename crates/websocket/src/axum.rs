//! WebSockets on a server built with axum, over HTTP/1.1 and HTTP/2.
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
//! Allowed origins, subprotocols, limits, compression and [connections](crate::Connections) are
//! those of the [`Acceptor`] in the request's extensions. Without one, the defaults apply: only
//! pages of the same origin may connect.
//!
//! ```
//! use axum::{Extension, Router};
//! use offhook::{Acceptor, OriginPolicy};
//!
//! let acceptor = Acceptor::default().origin(OriginPolicy::Any);
//! let app: Router = Router::new().layer(Extension(acceptor));
//! ```
//!
//! Behind a proxy that terminates TLS, set
//! [`Acceptor::scheme`]`(`[`Scheme::Https`](crate::Scheme)`)`. Otherwise your own pages are
//! rejected as foreign.

use std::future::Future;

use axum_core::body::Body;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;
use offhook_protocol::handshake::{InvalidHeader, Refusal, Request, ServerDecision};

use crate::hyper::{self, Opening, Rejected};
use crate::server::{Acceptor, HandlerResult};
use crate::socket::WebSocket;

/// A valid WebSocket request that waits for the answer. As an extractor it rejects other requests
/// itself, with a status and body that state the reason.
#[derive(Debug)]
#[must_use = "accept or reject it: the client is waiting"]
pub struct Upgrade(hyper::Upgrade);

impl Upgrade {
    /// The client's request.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.0.request()
    }

    /// The pending answer: use it to select the subprotocol or to add header fields.
    pub fn decision(&mut self) -> &mut ServerDecision {
        self.0.decision()
    }

    /// The supported subprotocols. The first one in the client's order of preference is selected,
    /// or none.
    pub fn protocols<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(self.0.protocols(names))
    }

    /// Accepts: serves the WebSocket in a task of its own and closes it when the handler returns,
    /// as [`Server::serve`](crate::Server::serve) does. To close it differently, or to see errors,
    /// use [`accept`](Self::accept).
    #[must_use = "return the response"]
    pub fn on_upgrade<H, F>(self, handler: H) -> Response
    where
        H: FnOnce(WebSocket) -> F + Send + 'static,
        F: Future<Output = HandlerResult> + Send + 'static,
    {
        self.0.on_upgrade(handler)
    }

    /// Accepts: returns the response, and the WebSocket that it opens, to be
    /// [served](Opening::serve) or awaited in a task of its own.
    #[must_use = "return the response, and serve the opening in a task"]
    pub fn accept(self) -> (Response, Opening) {
        self.0.accept::<Body>()
    }

    /// Adds a header field, such as `Set-Cookie`, to the accepting response.
    ///
    /// # Errors
    /// The header field is invalid, or is one that the handshake sets itself.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidHeader> {
        self.0.header(name, value).map(Self)
    }

    /// Rejects for the application's own reasons.
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
