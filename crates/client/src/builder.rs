//! The settings of a client.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use offhook::{Backoff, Connect, Open};
use offhook_dialects::native::{SUBPROTOCOL, SUBPROTOCOL_CBOR};
use tokio::sync::watch;

use crate::client::{Client, Handle};
use crate::connection_event::ConnectionEvent;
use crate::core::{Heartbeat, Settings};
use crate::driver::{Driver, Way};
use crate::error::Error;
use crate::positions::PositionStore;
use crate::random;
use crate::requests::Requests;
use crate::shared::Shared;
use crate::token::Tokens;
use crate::transport::Transport;

/// 1 MiB: minutes of a chat, and little for a phone.
const QUEUE: usize = 1024 * 1024;
/// 256 KiB: what a fast connection delivers in a few milliseconds; a thousand full inboxes still
/// fit into a program's memory.
const INBOX: usize = 256 * 1024;
/// 256 KiB: the server's default.
const LONGEST_MESSAGE: usize = 256 * 1024;

/// Builds a client.
///
/// | | default | reason |
/// |---|---|---|
/// | [`backoff`](Self::backoff) | up to 0.5 s, doubling up to 10 s, forever | people are waiting, and the server limits handshakes |
/// | [`heartbeat`](Self::heartbeat) | after 25 s of silence, 20 s for the answer | see [`Heartbeat`] |
/// | [`queue`](Self::queue) | 1 MiB | minutes of a chat, and little for a phone |
/// | [`inbox`](Self::inbox) | 256 KiB per subscription | what a fast connection delivers in a few milliseconds |
/// | [`longest_message`](Self::longest_message) | 256 KiB | the server's own default |
/// | [`transport`](Self::transport) | a WebSocket | it needs the fewest bytes and round trips |
#[must_use = "nothing happens before `connect` or `start`"]
pub struct Builder {
    target: Target,
    tokens: Tokens,
    positions: Option<Box<dyn PositionStore>>,
    backoff: Backoff,
    heartbeat: Heartbeat,
    queue: usize,
    inbox: usize,
    longest_message: usize,
    transport: Transport,
}

enum Target {
    Url(Box<Connect>, String),
    Way(Way),
}

impl Builder {
    pub(crate) fn to(url: &str) -> Self {
        // With the first one, bytes need no base64. An older server knows only the second.
        let connect = Connect::to(url)
            .subprotocol(SUBPROTOCOL_CBOR)
            .subprotocol(SUBPROTOCOL)
            .require_subprotocol();
        Self::new(Target::Url(Box::new(connect), url.to_owned()))
    }

    pub(crate) fn over(open: impl Open + Send + 'static) -> Self {
        Self::new(Target::Way(Way::new(open)))
    }

    fn new(target: Target) -> Self {
        Self {
            target,
            tokens: Tokens::None,
            positions: None,
            backoff: backoff(),
            heartbeat: Heartbeat::default(),
            queue: QUEUE,
            inbox: INBOX,
            longest_message: LONGEST_MESSAGE,
            transport: Transport::default(),
        }
    }

    /// Changes how connections are opened: headers, TLS, proxies, timeouts.
    ///
    /// ```
    /// # use offhook_client::Client;
    /// let client = Client::to("wss://example.com/ws")
    ///     .connection(|connect| connect.header("X-Tenant", "acme").no_proxy());
    /// # let _ = client;
    /// ```
    ///
    /// Connections opened by [`Client::over`] are not changed.
    pub fn connection(mut self, change: impl FnOnce(Connect) -> Connect) -> Self {
        if let Target::Url(connect, url) = self.target {
            self.target = Target::Url(Box::new(change(*connect)), url);
        }
        self
    }

    /// How messages travel. The server has the other transports at `connection`, next to the
    /// WebSocket's URL. They need a server of this version, use HTTP/1.1, and send no header fields
    /// of [`connection`](Self::connection): tokens go into the conversation.
    ///
    /// ```
    /// # use offhook_client::{Client, Transport};
    /// let client = Client::to("wss://example.com/ws").transport(Transport::Events);
    /// # let _ = client;
    /// ```
    ///
    /// Connections opened by [`Client::over`] are not changed.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The token for the server's authentication.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.tokens = Tokens::Fixed(token.into());
        self
    }

    /// A source of tokens for the server's authentication. It is called before a connection is
    /// opened, unless there is a resume token for the session, and again before a token expires: the
    /// connection then stays open. A failure counts as a failed attempt, or is reported as
    /// [`ConnectionEvent::TokenFailed`] while the connection is open.
    ///
    /// ```
    /// # use offhook_client::Client;
    /// # async fn fetch_token() -> std::io::Result<String> { Ok("eyJ…".into()) }
    /// let client = Client::to("wss://example.com/ws").token_from(|| fetch_token());
    /// # let _ = client;
    /// ```
    pub fn token_from<F, O, E>(mut self, fetch: F) -> Self
    where
        F: FnMut() -> O + Send + 'static,
        O: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.tokens = Tokens::source(fetch);
        self
    }

    /// Keeps positions in this store. A subscription to a channel whose position is in the store
    /// starts there; [`since`](crate::Subscribe::since) only applies without one.
    pub fn positions(mut self, store: impl PositionStore + 'static) -> Self {
        self.positions = Some(Box::new(store));
        self
    }

    /// When to reconnect, and how often. By default, the delay is random below a bound that doubles
    /// from 0.5 s to 10 s and is reset by a connection that lasted 5 s: a waiting user gets a
    /// connection soon after the server is back, and the server limits how many clients connect at
    /// once.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How a server that does not answer is detected.
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// The limit for bytes of unanswered publications.
    pub fn queue(mut self, bytes: usize) -> Self {
        self.queue = bytes;
        self
    }

    /// The limit for bytes of queued events of one subscription. One event may exceed it.
    pub fn inbox(mut self, bytes: usize) -> Self {
        self.inbox = bytes;
        self
    }

    /// The longest message that the server accepts (`messages.max_bytes` in its configuration). A
    /// longer publication is refused here: the server would close the connection.
    pub fn longest_message(mut self, bytes: usize) -> Self {
        self.longest_message = bytes;
        self
    }

    /// Connects, and waits until the server has accepted the session.
    ///
    /// # Errors
    /// The first attempt failed. Use [`start`](Self::start) to keep trying.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn connect(self) -> Result<Client, Error> {
        let (client, driver) = self.make();
        let mut events = client.events();
        tokio::spawn(driver.drive());
        while let Some(event) = events.next().await {
            match event {
                ConnectionEvent::Open { .. } => return Ok(client),
                ConnectionEvent::Lost { cause, .. } | ConnectionEvent::GivenUp { cause } => {
                    return Err(cause);
                }
                ConnectionEvent::Connecting { .. }
                | ConnectionEvent::Moving { .. }
                | ConnectionEvent::Told { .. }
                | ConnectionEvent::TokenFailed { .. }
                | ConnectionEvent::Held { .. } => {}
            }
        }
        Err(Error::Closed)
    }

    /// A client that connects in the background and keeps trying until it succeeds.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    #[must_use]
    pub fn start(self) -> Client {
        let (client, driver) = self.make();
        tokio::spawn(driver.drive());
        client
    }

    fn make(self) -> (Client, Driver) {
        let (done, gone) = watch::channel(());
        let settings = Settings {
            backoff: self.backoff,
            heartbeat: self.heartbeat,
            queue: self.queue,
            inbox: self.inbox,
            has_token_source: self.tokens.is_source(),
        };
        let shared = Arc::new(Shared::new(settings, random::seed(), gone));
        let way = match self.target {
            Target::Url(connect, url) => match self.transport {
                Transport::WebSocket => Way::new(*connect),
                requests @ (Transport::Events | Transport::Polls) => {
                    Way::new(Requests::new(*connect, url, requests))
                }
            },
            Target::Way(way) => way,
        };
        let driver = Driver {
            shared: Arc::clone(&shared),
            way,
            tokens: self.tokens,
            done,
        };
        let handle = Handle {
            shared,
            positions: self.positions,
            longest_message: self.longest_message,
        };
        (Client::new(handle), driver)
    }
}

impl fmt::Debug for Builder {
    /// Formats the builder without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("positions", &self.positions)
            .field("backoff", &self.backoff)
            .field("heartbeat", &self.heartbeat)
            .field("queue", &self.queue)
            .field("inbox", &self.inbox)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// Shorter delays than the library's own: Offhook's server limits handshakes, and tells its clients
/// when it needs more time.
fn backoff() -> Backoff {
    let mut backoff = Backoff::default();
    backoff.first = Duration::from_millis(500);
    backoff.cap = Duration::from_secs(10);
    backoff.stable_after = Duration::from_secs(5);
    backoff
}
