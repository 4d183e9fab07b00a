//! A server for the simple case: a task a connection.

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
use super::registry::{Place, Registry, Stage};
use super::requests::Requests;
use super::served::{BoxError, HandlerResult, Served};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::socket::WebSocket;

/// Listens, and gives each connection to a handler.
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
/// To see the request, and to refuse it, there is [`serve_requests`](Self::serve_requests).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    acceptor: Acceptor,
    max_connections: usize,
    addresses: Option<Addresses>,
    connections: Connections,
    hooks: Hooks,
}

/// How many connections at most. 100,000: more than a process may have descriptors for on most
/// machines, so the descriptors are the limit, and theirs is an error that is survived.
const MAX_CONNECTIONS: usize = 100_000;

/// After an error of accept that is not one connection's, such as no free descriptor, this long
/// passes before the next try: the cause lasts, and trying at once would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is told what goes wrong.
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

    /// Takes a listener that was made elsewhere.
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

    /// With this acceptor: origins, subprotocols, TLS, times, and the connections it may have been
    /// [given](Acceptor::connections).
    #[must_use]
    pub fn acceptor(mut self, mut acceptor: Acceptor) -> Self {
        if let Some(connections) = acceptor.take_connections() {
            self.connections = connections;
        }
        self.acceptor = acceptor;
        self
    }

    /// With these limits, times, buffers and compression.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.acceptor = self.acceptor.settings(settings);
        self
    }

    /// Tells `metrics` what its connections do: part of the [settings](Self::settings), which
    /// replace it.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.acceptor = self.acceptor.metrics(metrics);
        self
    }

    /// Which web pages may connect. By default those of the same origin.
    #[must_use]
    pub fn origin(mut self, origin: OriginPolicy) -> Self {
        self.acceptor = self.acceptor.origin(origin);
        self
    }

    /// How many connections at most, those in the handshake included, and every WebSocket of a
    /// connection of HTTP/2. One more is closed at once, or answered with 503.
    #[must_use]
    pub const fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// How many connections one address may have at most; an IPv6 network of 64 bits counts as one
    /// address. One more is closed at once, or answered with 503. By default there is no such
    /// limit: behind a proxy all connections have the proxy's address.
    #[must_use]
    pub fn max_connections_per_address(mut self, most: usize) -> Self {
        self.addresses = Some(Addresses::new(most));
        self
    }

    /// Calls `hook` when a connection becomes no WebSocket: its request was none, did not come in
    /// time, or TLS failed. The client was told, as far as that is possible.
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
    /// The system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Its connections, to [stop](Connections::shutdown) it with, or to be given to
    /// [another acceptor](Acceptor::connections).
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Serves each connection in a task of its own, until it is
    /// [shut down](Connections::shutdown).
    ///
    /// When the handler returns and has not given the [`WebSocket`] to somebody else, what it sent
    /// goes out and the connection is closed with 1000, within the
    /// [close timeout](offhook_protocol::Config::close_timeout); with 1011 if it returns an error,
    /// which [`on_error`](Self::on_error) is told, or panics. That ends nothing else.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn serve<H, F>(self, handler: H) -> io::Result<()>
    where
        H: Fn(WebSocket) -> F + Send + Sync + 'static,
        F: Future<Output = HandlerResult> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.serve_requests(move |incoming| {
            let handler = Arc::clone(&handler);
            async move {
                // Boxed: the handshake's state must not stay in the task for the connection's life.
                let socket = Box::pin(incoming.accept()).await?;
                handler(socket).await
            }
        })
        .await
    }

    /// As [`serve`](Self::serve), but gives each handler the request, to look at it, to accept it,
    /// perhaps with headers, or to refuse it with a response.
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
    /// The listener broke.
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
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = registry.reached(Stage::Stopping) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_fatal(&error) => return Err(error),
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Over a limit: not even a refusal is written, which would cost a handshake.
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

/// What every connection's task needs.
struct Shared<H> {
    acceptor: Acceptor,
    handler: H,
    registry: Arc<Registry>,
    max_connections: usize,
    addresses: Option<Addresses>,
    hooks: Hooks,
}

/// The address has all the connections that it may have.
struct TooMany;

/// What a client has asked for.
enum Asked {
    /// A WebSocket.
    One(Box<Incoming>),
    /// Any number of them, over a connection of HTTP/2.
    Many(Box<Requests>),
}

impl<H, F> Shared<H>
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = HandlerResult> + Send + 'static,
{
    /// A share of the peer's address, where those are counted.
    fn share(&self, peer: Option<SocketAddr>) -> Result<Option<Share>, TooMany> {
        match (&self.addresses, peer) {
            (Some(addresses), Some(peer)) => addresses.take(peer).map(Some).ok_or(TooMany),
            (None, _) | (_, None) => Ok(None),
        }
    }

    /// Serves what one connection asks for.
    async fn serve_stream(self: Arc<Self>, stream: TcpStream, place: Place, share: Option<Share>) {
        // Boxed: the handshake's state must not stay in the task for the connection's life.
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
        let asked = tokio::select! {
            asked = ask => asked,
            () = place.registry().reached(Stage::Cut) => return None,
        };
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
            let request = tokio::select! {
                request = requests.next() => request,
                () = self.registry.reached(Stage::Stopping), if !stopping => {
                    stopping = true;
                    requests.stop();
                    continue;
                }
                () = self.registry.reached(Stage::Cut) => return,
            };
            match request {
                Some(Ok(incoming)) => self.serve_one(incoming).await,
                // It was no handshake, and was told so. Or the connection is lost: that is next.
                Some(Err(error)) => self.hooks.tell_failed_upgrade(None, &error),
                None => return,
            }
        }
    }

    async fn serve_one(self: &Arc<Self>, incoming: Incoming) {
        let place = self.registry.take(self.max_connections);
        let (Some(place), Ok(share)) = (place, self.share(incoming.peer_addr())) else {
            if let Ok(refusal) = Refusal::new(503) {
                // A client that is gone need not be told.
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

    /// Gives one request to the handler, and finishes what became of it.
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
    /// The peer's address, if somebody may want to know it later.
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

/// Whether the listener itself is broken, and no later accept can succeed.
fn is_fatal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotConnected, Unsupported};
    matches!(error.kind(), InvalidInput | NotConnected | Unsupported)
}
