//! All connections of a program's servers, so that they can be closed together.

use std::sync::Arc;
use std::time::Duration;

use offhook_protocol::CloseCode;

use super::registry::{Place, Registry, ServerState};
use crate::socket::WebSocket;

/// The WebSockets that servers have open, so that all of them can be closed when the program stops.
///
/// A [`Server`](super::Server) [has its own](super::Server::connections). Pass it, or another one,
/// to an [`Acceptor`](super::Acceptor::connections) to include the WebSockets opened with that
/// acceptor, also those on hyper and axum servers.
///
/// ```no_run
/// # async fn run(app: axum::Router, listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// # async fn stop_signal() {}
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
///         stop_signal().await;
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
    /// Stops every server that uses these connections, closes each connection with this code, and
    /// waits until all have ended: those of a [`Server`](super::Server) with their handlers, others
    /// when their [`WebSocket`] is dropped. At the deadline the remaining connections are cut off,
    /// including handshakes, and [`serve`](super::Server::serve) returns without waiting for
    /// handlers that are still running.
    ///
    /// A WebSocket that opens later, because its handshake was in progress or hyper's server is
    /// still running, is closed immediately with 1001.
    pub async fn shutdown(&self, code: CloseCode, deadline: Duration) {
        for driver in self.registry.enter(ServerState::Stopping) {
            // A connection that is already closing ends without this.
            let _closing = driver.begin_close(code, "");
        }
        if tokio::time::timeout(deadline, self.registry.emptied())
            .await
            .is_err()
        {
            for driver in self.registry.enter(ServerState::Cut) {
                driver.cut();
            }
        }
    }

    /// Registers an open WebSocket. If the server is stopping, closes it and returns `None`.
    pub(crate) fn admit(&self, socket: &WebSocket) -> Option<Place> {
        let place = self.registry.take(usize::MAX);
        if !place
            .as_ref()
            .is_some_and(|place| place.fill(socket.driver()))
        {
            // The connection is new, so only its end can have closed it.
            let _closing = socket.sender().close(CloseCode::GOING_AWAY, "");
        }
        place
    }
}
