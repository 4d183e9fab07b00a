//! All connections of a program's servers, to close them together.

use std::sync::Arc;
use std::time::Duration;

use offhook_protocol::CloseCode;

use super::registry::{Place, Registry, Stage};
use crate::socket::WebSocket;

/// The WebSockets that servers have open, to close every one of them when the program stops.
///
/// A [`Server`](super::Server) [has its own](super::Server::connections). An
/// [`Acceptor`](super::Acceptor) is [given](super::Acceptor::connections) the same or others, and
/// with it whatever is made of its rules: sockets out of hyper and axum too.
///
/// ```no_run
/// # async fn run(app: axum::Router, listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// # async fn told_to_stop() {}
/// use std::time::Duration;
///
/// use offhook::protocol::CloseCode;
/// use offhook::{Acceptor, Connections};
///
/// let connections = Connections::default();
/// let acceptor = Acceptor::default().connections(&connections);
/// let app = app.layer(axum::Extension(acceptor));
/// axum::serve(listener, app)
///     .with_graceful_shutdown(async move {
///         told_to_stop().await;
///         connections.shutdown(CloseCode::GOING_AWAY, Duration::from_secs(10)).await;
///     })
///     .await
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Connections {
    pub(super) registry: Arc<Registry>,
}

impl Connections {
    /// Stops every server that has these connections, closes each with this code, and waits until
    /// all have ended: those of a [`Server`](super::Server) with their handlers, others when their
    /// [`WebSocket`] is dropped. Those that have not by the deadline are cut off: connections end,
    /// handshakes too, and [`serve`](super::Server::serve) returns without the handlers that go on
    /// all the same.
    ///
    /// A WebSocket that opens later, since its handshake was under way or hyper's server goes on,
    /// is closed at once with 1001.
    pub async fn shutdown(&self, code: CloseCode, deadline: Duration) {
        for driver in self.registry.enter(Stage::Stopping) {
            // A connection that is closing already ends by itself.
            let _closing = driver.begin_close(code, "");
        }
        if tokio::time::timeout(deadline, self.registry.emptied())
            .await
            .is_err()
        {
            for driver in self.registry.enter(Stage::Cut) {
                driver.cut();
            }
        }
    }

    /// A place for a WebSocket that is open, unless the server stops; it is closed then.
    pub(crate) fn admit(&self, socket: &WebSocket) -> Option<Place> {
        let place = self.registry.take(usize::MAX);
        if !place
            .as_ref()
            .is_some_and(|place| place.fill(socket.driver()))
        {
            // It is new, so nothing else has closed it but its end.
            let _closing = socket.sender().close(CloseCode::GOING_AWAY, "");
        }
        place
    }
}
