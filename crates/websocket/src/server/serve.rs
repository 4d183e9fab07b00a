//! A server for the simple case: a task a connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook_protocol::CloseCode;
use offhook_protocol::handshake::{OriginPolicy, Refusal};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

use super::accept::Acceptor;
use super::connections::Connections;
use super::incoming::Incoming;
use super::registry::{Place, Registry, Stage};
use super::requests::Requests;
use crate::error::Error;
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
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    acceptor: Acceptor,
    max_connections: usize,
    connections: Connections,
}

/// How many connections at most. 100,000: more than a process may have descriptors for on most
/// machines, so the descriptors are the limit, and theirs is an error that is survived.
const MAX_CONNECTIONS: usize = 100_000;

/// After an error of accept that is not one connection's, such as no free descriptor, this long
/// passes before the next try: the cause lasts, and trying at once would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
            connections: Connections::default(),
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
    /// [shut down](Connections::shutdown). An error that a handler returns, or a panic, ends its
    /// connection and nothing else.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn serve<H, F>(self, handler: H) -> io::Result<()>
    where
        H: Fn(WebSocket) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let registry = self.connections.registry;
        let shared = Arc::new(Shared {
            acceptor: self.acceptor,
            handler,
            registry: Arc::clone(&registry),
            max_connections: self.max_connections,
        });
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = registry.reached(Stage::Stopping) => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_fatal(&error) => return Err(error),
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = registry.take(self.max_connections) else {
                // Over the limit: not even a refusal is written, which would cost a handshake.
                continue;
            };
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                // Boxed: the handshake's state must not stay in the task for the connection's life.
                match Box::pin(open(&shared.acceptor, stream, &place)).await {
                    Some(Opened::One(socket)) => {
                        let _result = (shared.handler)(socket).await;
                    }
                    Some(Opened::Many(requests)) => Box::pin(shared.serve_many(requests)).await,
                    None => {}
                }
                drop(place);
            });
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
}

/// What a client has opened.
enum Opened {
    /// A WebSocket.
    One(WebSocket),
    /// A connection of HTTP/2, for any number of them.
    Many(Box<Requests>),
}

impl<H, F> Shared<H>
where
    H: Fn(WebSocket) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
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
                Some(Err(_)) => {}
                None => return,
            }
        }
    }

    async fn serve_one(self: &Arc<Self>, incoming: Incoming) {
        let Some(place) = self.registry.take(self.max_connections) else {
            if let Ok(refusal) = Refusal::new(503) {
                // A client that is gone need not be told.
                let _told = incoming.reject(refusal).await;
            }
            return;
        };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let accepted = Box::pin(incoming.accept()).await;
            if let Some(socket) = accepted.ok().and_then(|socket| settle(socket, &place)) {
                let _result = (shared.handler)(socket).await;
            }
            drop(place);
        });
    }
}

async fn open(acceptor: &Acceptor, stream: TcpStream, place: &Place) -> Option<Opened> {
    // What is wrong with a client's socket or request is the client's to notice.
    stream.set_nodelay(true).ok()?;
    let open = async {
        let requests = acceptor.requests(stream).await.ok()?;
        match requests.into_one() {
            Ok(incoming) => {
                let socket = incoming?.accept().await.ok()?;
                settle(socket, place).map(Opened::One)
            }
            Err(requests) => Some(Opened::Many(Box::new(requests))),
        }
    };
    tokio::select! {
        opened = open => opened,
        () = place.registry().reached(Stage::Cut) => None,
    }
}

/// Puts a connection in its place. When the server stops it is closed at once.
fn settle(socket: WebSocket, place: &Place) -> Option<WebSocket> {
    if !place.fill(socket.driver()) {
        socket.sender().close(CloseCode::GOING_AWAY, "").ok()?;
    }
    Some(socket)
}

/// Whether the listener itself is broken, and no later accept can succeed.
fn is_fatal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotConnected, Unsupported};
    matches!(error.kind(), InvalidInput | NotConnected | Unsupported)
}
