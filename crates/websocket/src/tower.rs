//! WebSockets as a plain tower service, for servers made with hyper, axum or anything else that
//! serves `tower::Service<http::Request<_>>`.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use offhook::tower::Upgrades;
//!
//! let echo = Upgrades::new(|upgrade| async move {
//!     upgrade.on_upgrade::<Full<Bytes>, _, _>(|mut socket| async move {
//!         while let Some(message) = socket.recv().await? {
//!             socket.send(message).await?;
//!         }
//!         Ok(())
//!     })
//! });
//! # let _ = echo;
//! ```
//!
//! The server must serve connections with upgrades, and HTTP/2 with extended CONNECT enabled; see
//! [`hyper`](crate::hyper). An invalid handshake is answered with a status that says what is wrong.
//! Route other requests past this service: by path, or by their `Upgrade` header.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use crate::hyper::Upgrade;
use crate::server::Acceptor;

/// A service that answers opening handshakes: each valid one is passed to a handler, which accepts
/// or refuses it and returns the response.
#[derive(Clone)]
pub struct Upgrades<H> {
    handler: H,
    acceptor: Option<Acceptor>,
}

impl<H> Upgrades<H> {
    /// Passes each handshake to `handler`, a function from an [`Upgrade`] to the future of a
    /// response.
    pub const fn new<F>(handler: H) -> Self
    where
        H: FnMut(Upgrade) -> F,
    {
        Self {
            handler,
            acceptor: None,
        }
    }

    /// With the origins, subprotocols, limits, compression and
    /// [connections](crate::Connections) of this acceptor. Without it, those of the [`Acceptor`] in
    /// the request's extensions count, else the default: pages of the same origin only.
    #[must_use]
    pub fn acceptor(mut self, acceptor: Acceptor) -> Self {
        self.acceptor = Some(acceptor);
        self
    }
}

impl<B, R, H, F> Service<Request<B>> for Upgrades<H>
where
    R: From<Vec<u8>>,
    H: FnMut(Upgrade) -> F,
    F: Future<Output = Response<R>>,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Answering<F, R>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let acceptor = match &self.acceptor {
            Some(acceptor) => acceptor.clone(),
            None => request
                .extensions()
                .get::<Acceptor>()
                .cloned()
                .unwrap_or_default(),
        };
        match Upgrade::of(&mut request, &acceptor) {
            Ok(upgrade) => Answering(Answer::Handled(Box::pin((self.handler)(upgrade)))),
            Err(rejected) => Answering(Answer::Rejected(ready(rejected.response()))),
        }
    }
}

impl<H> fmt::Debug for Upgrades<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrades")
            .field("acceptor", &self.acceptor)
            .finish_non_exhaustive()
    }
}

/// The future of [`Upgrades`]: the response to a handshake.
#[must_use = "futures do nothing unless polled"]
pub struct Answering<F, R>(Answer<F, R>);

enum Answer<F, R> {
    Handled(Pin<Box<F>>),
    Rejected(Ready<Response<R>>),
}

/// Its only fields that would need pinning are boxed.
impl<F, R> Unpin for Answering<F, R> {}

impl<F: Future<Output = Response<R>>, R> Future for Answering<F, R> {
    type Output = Result<Response<R>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match &mut self.0 {
            Answer::Handled(handled) => handled.as_mut().poll(cx),
            Answer::Rejected(rejected) => Pin::new(rejected).poll(cx),
        };
        response.map(Ok)
    }
}

impl<F, R> fmt::Debug for Answering<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answering(..)")
    }
}
