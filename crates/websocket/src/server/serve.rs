//! A server for the simple case: one task for each connection.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook_protocol::handshake::{OriginPolicy, Refusal};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

use super::accept::Acceptor;
use super::addresses::{Addresses, Share};
use super::connections::Connections;
use super::incoming::Incoming;
use super::registry::{Place, Registry, ServerState};
use super::requests::Requests;
use super::served::{BoxError, HandlerResult, Served};
use super::unless::unless;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::socket::WebSocket;

/// Listens, and passes each connection to a handler.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use offhook::Server;
///
/// Server::bind("127.0.0.1:9001")
///     .await?
///     .serve(|mut socket| async move {
///         while let Some(message) = socket.recv().await? {
///             socket.send(message).await?;
///         }
///         Ok(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// To inspect and reject requests, use [`serve_requests`](Self::serve_requests).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    acceptor: Acceptor,
    max_connections: usize,
    addresses: Option<Addresses>,
    connections: Connections,
    hooks: Hooks,
}

/// The maximum number of connections. 100,000: more than the descriptors of a process on most
/// machines, so descriptors are the effective limit, and the server survives running out of them.
const MAX_CONNECTIONS: usize = 100_000;

/// How long to wait after an error of accept that does not concern one connection, such as running
/// out of descriptors: the cause persists, and retrying at once would use a whole core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Hooks that errors are reported to.
#[derive(Clone, Default)]
struct Hooks {
    failed_upgrade: Option<Arc<FailedUpgrade>>,
    error: Option<Arc<HandlerError>>,
}

type FailedUpgrade = dyn Fn(Option<SocketAddr>, &Error) + Send + Sync;
type HandlerError = dyn Fn(Option<SocketAddr>, &BoxError) + Send + Sync;

impl Server {
    /// Listens on an address.
    ///
    /// # Errors
    /// The address is not one, or is taken.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self::on(TcpListener::bind(address).await?))
    }

    /// Uses an existing listener.
    #[must_use]
    pub fn on(listener: TcpListener) -> Self {
        Self {
            listener,
            acceptor: Acceptor::default(),
            max_connections: MAX_CONNECTIONS,
            addresses: None,
            connections: Connections::default(),
            hooks: Hooks::default(),
        }
    }

    /// Uses this acceptor: origins, subprotocols, TLS, timeouts, and the
    /// [connections](Acceptor::connections) it was given, if any.
    #[must_use]
    pub fn acceptor(mut self, mut acceptor: Acceptor) -> Self {
        if let Some(connections) = acceptor.take_connections() {
            self.connections = connections;
        }
        self.acceptor = acceptor;
        self
    }

    /// Sets limits, timeouts, buffers and compression.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.acceptor = self.acceptor.settings(settings);
        self
    }

    /// Reports the connections to `metrics`: part of the [settings](Self::settings), which replace
    /// it.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.acceptor = self.acceptor.metrics(metrics);
        self
    }

    /// Sets which web pages may connect. Default: those of the same origin.
    #[must_use]
    pub fn origin(mut self, origin: OriginPolicy) -> Self {
        self.acceptor = self.acceptor.origin(origin);
        self
    }

    /// Limits the number of connections, including those in the handshake and counting every
    /// WebSocket over HTTP/2. Connections above the limit are closed at once, or answered with 503.
    #[must_use]
    pub const fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// Limits the number of connections of each address; an IPv6 network of 64 bits counts as one
    /// address. Connections above the limit are closed at once, or answered with 503. No limit by
    /// default: behind a proxy, all connections have the proxy's address.
    #[must_use]
    pub fn max_connections_per_address(mut self, most: usize) -> Self {
        self.addresses = Some(Addresses::new(most));
        self
    }

    /// Calls `hook` when a connection does not become a WebSocket: its request was invalid or did
    /// not arrive in time, or TLS failed. The client was answered, as far as possible.
    #[must_use]
    pub fn on_failed_upgrade(
        mut self,
        hook: impl Fn(Option<SocketAddr>, &Error) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.failed_upgrade = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` with each error that a handler returns. Its connection is closed with 1011.
    #[must_use]
    pub fn on_error(
        mut self,
        hook: impl Fn(Option<SocketAddr>, &BoxError) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.error = Some(Arc::new(hook));
        self
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The server's connections. Use them to [stop](Connections::shutdown) it, or pass them to
    /// [another acceptor](Acceptor::connections).
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Serves each connection in a task of its own, until the server is [shut
    /// down](Connections::shutdown).
    ///
    /// When the handler returns and has not moved the [`WebSocket`] elsewhere, queued messages are
    /// sent and the connection is closed with 1000, within the [close
    /// timeout](offhook_protocol::Config::close_timeout). If the handler returns an error, which is
    /// passed to [`on_error`](Self::on_error), or panics, it is closed with 1011. Other connections
    /// are not affected.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve<H, F>(self, handler: H) -> io::Result<()>
    where
        H: Fn(WebSocket) -> F + Send + Sync + 'static,
        F: Future<Output = HandlerResult> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.serve_requests(move |incoming| {
            let handler = Arc::clone(&handler);
            async move {
                // Boxed: the handshake's state must not stay in the task for the life of the
                // connection.
                let socket = Box::pin(incoming.accept()).await?;
                handler(socket).await
            }
        })
        .await
    }

    /// As [`serve`](Self::serve), but passes each handler the request, to inspect it, to accept it,
    /// perhaps with header fields, or to reject it with a response.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use offhook::{Refusal, Server};
    ///
    /// Server::bind("127.0.0.1:9001")
    ///     .await?
    ///     .serve_requests(|incoming| async move {
    ///         let Some(user) = incoming.request().cookie("user").map(str::to_owned) else {
    ///             incoming.reject(Refusal::new(401)?.body("who are you?")).await?;
    ///             return Ok(());
    ///         };
    ///         let mut socket = incoming.header("Set-Cookie", "seen=1")?.accept().await?;
    ///         while let Some(message) = socket.recv().await? {
    ///             socket.send(format!("{user}: {message}")).await?;
    ///         }
    ///         Ok(())
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve_requests<H, F>(self, handler: H) -> io::Result<()>
    where
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future<Output = HandlerResult> + Send + 'static,
    {
        let registry = self.connections.registry;
        let shared = Arc::new(Shared {
            acceptor: self.acceptor,
            handler,
            registry: Arc::clone(&registry),
            max_connections: self.max_connections,
            addresses: self.addresses,
            hooks: self.hooks,
        });
        loop {
            let stopping = registry.reached(ServerState::Stopping);
            let Some(accepted) = unless(stopping, self.listener.accept()).await else {
                break;
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_fatal(&error) => return Err(error),
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Over a limit: not even a rejection is written, since that would require a handshake.
            if let Some(place) = registry.take(shared.max_connections)
                && let Ok(share) = shared.share(Some(peer))
            {
                tokio::spawn(Arc::clone(&shared).serve_stream(stream, place, share));
            }
        }
        registry.emptied().await;
        Ok(())
    }
}

/// State shared by the tasks of all connections.
struct Shared<H> {
    acceptor: Acceptor,
    handler: H,
    registry: Arc<Registry>,
    max_connections: usize,
    addresses: Option<Addresses>,
    hooks: Hooks,
}

/// The address has reached its limit of connections.
struct TooMany;

/// A client's request.
enum Asked {
    /// One WebSocket.
    One(Box<Incoming>),
    /// Any number of WebSockets, over an HTTP/2 connection.
    Many(Box<Requests>),
}

impl<H, F> Shared<H>
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = HandlerResult> + Send + 'static,
{
    /// A share of the peer's address, if addresses are counted.
    fn share(&self, peer: Option<SocketAddr>) -> Result<Option<Share>, TooMany> {
        match (&self.addresses, peer) {
            (Some(addresses), Some(peer)) => addresses.take(peer).map(Some).ok_or(TooMany),
            (None, _) | (_, None) => Ok(None),
        }
    }

    /// Serves the requests of one connection.
    async fn serve_stream(self: Arc<Self>, stream: TcpStream, place: Place, share: Option<Share>) {
        // Boxed: the handshake's state must not stay in the task for the life of the connection.
        match Box::pin(self.asked(stream, &place)).await {
            Some(Asked::One(incoming)) => self.handle(*incoming, place).await,
            Some(Asked::Many(requests)) => Box::pin(self.serve_many(requests)).await,
            None => {}
        }
        drop(share);
    }

    async fn asked(&self, stream: TcpStream, place: &Place) -> Option<Asked> {
        let peer = stream.peer_addr().ok();
        let ask = async {
            stream.set_nodelay(true).map_err(Error::Lost)?;
            self.acceptor.requests(stream).await
        };
        let asked = unless(place.registry().reached(ServerState::Cut), ask).await?;
        match asked.map(Requests::into_one) {
            Ok(Ok(incoming)) => incoming.map(Asked::One),
            Ok(Err(requests)) => Some(Asked::Many(Box::new(requests))),
            Err(error) => {
                self.hooks.tell_failed_upgrade(peer, &error);
                None
            }
        }
    }

    /// Serves each WebSocket of a connection in a task of its own.
    async fn serve_many(self: &Arc<Self>, mut requests: Box<Requests>) {
        let mut stopping = false;
        loop {
            let next_state = match stopping {
                false => ServerState::Stopping,
                true => ServerState::Cut,
            };
            let Some(request) = unless(self.registry.reached(next_state), requests.next()).await
            else {
                if stopping {
                    return;
                }
                stopping = true;
                requests.stop();
                continue;
            };
            match request {
                Some(Ok(incoming)) => self.serve_one(incoming).await,
                // The request was invalid and was answered, or the connection was lost, which the
                // next call reports.
                Some(Err(error)) => self.hooks.tell_failed_upgrade(None, &error),
                None => return,
            }
        }
    }

    async fn serve_one(self: &Arc<Self>, incoming: Incoming) {
        let place = self.registry.take(self.max_connections);
        let (Some(place), Ok(share)) = (place, self.share(incoming.peer_addr())) else {
            if let Ok(refusal) = Refusal::new(503) {
                // A client that is gone needs no answer.
                let _told = incoming.reject(refusal).await;
            }
            return;
        };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            shared.handle(incoming, place).await;
            drop(share);
        });
    }

    /// Passes one request to the handler, and finishes the connection.
    async fn handle(&self, incoming: Incoming, place: Place) {
        let peer = self.hooks.peer_of(&incoming);
        let served = Served::at(place);
        let span = incoming.span();
        let handling = (self.handler)(incoming.served_by(Arc::clone(&served)));
        let handled = span.instrument(handling).await;
        if let Err(error) = &handled {
            span.handler_failed(error);
            self.hooks.tell_error(peer, error);
        }
        Box::pin(served.finish(&handled)).await;
    }
}

impl Hooks {
    /// The peer's address, if a hook may need it later.
    fn peer_of(&self, incoming: &Incoming) -> Option<SocketAddr> {
        self.error.as_ref().and_then(|_| incoming.peer_addr())
    }

    fn tell_failed_upgrade(&self, peer: Option<SocketAddr>, error: &Error) {
        if let Some(hook) = &self.failed_upgrade {
            hook(peer, error);
        }
    }

    fn tell_error(&self, peer: Option<SocketAddr>, error: &BoxError) {
        if let Some(hook) = &self.error {
            hook(peer, error);
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("failed_upgrade", &self.failed_upgrade.is_some())
            .field("error", &self.error.is_some())
            .finish()
    }
}

/// Whether the listener itself has failed, so that no later accept can succeed.
fn is_fatal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotConnected, Unsupported};
    matches!(error.kind(), InvalidInput | NotConnected | Unsupported)
}
