//! What one can ask for before connecting.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use offhook::{Backoff, Connect, Open};
use offhook_dialects::native::SUBPROTOCOL;
use tokio::sync::watch;

use crate::client::{Client, Handle};
use crate::connection_event::ConnectionEvent;
use crate::core::{Heartbeat, Settings};
use crate::driver::{Driver, Way};
use crate::error::Error;
use crate::positions::PositionStore;
use crate::random;
use crate::shared::Shared;
use crate::token::Tokens;

/// 1 MiB: minutes of a chat, and nothing to a phone.
const QUEUE: usize = 1024 * 1024;
/// 256 KiB: a fast connection's work of a few milliseconds, and a thousand subscriptions that hang at
/// once still fit into a program.
const INBOX: usize = 256 * 1024;
/// 256 KiB: what servers take if they were not told otherwise.
const LONGEST_MESSAGE: usize = 256 * 1024;

/// A client to be made.
///
/// | | default | reason |
/// |---|---|---|
/// | [`backoff`](Self::backoff) | up to 1 s, doubling up to 30 s, for ever | see [`Backoff`] |
/// | [`heartbeat`](Self::heartbeat) | after 25 s of silence, 20 s for the answer | see [`Heartbeat`] |
/// | [`queue`](Self::queue) | 1 MiB | minutes of a chat, and nothing to a phone |
/// | [`inbox`](Self::inbox) | 256 KiB a subscription | a fast connection's work of a few milliseconds |
/// | [`longest_message`](Self::longest_message) | 256 KiB | the server's own default |
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
}

enum Target {
    Url(Box<Connect>),
    Way(Way),
}

impl Builder {
    pub(crate) fn to(url: &str) -> Self {
        let connect = Connect::to(url)
            .subprotocol(SUBPROTOCOL)
            .require_subprotocol();
        Self::new(Target::Url(Box::new(connect)))
    }

    pub(crate) fn over(open: impl Open + Send + 'static) -> Self {
        Self::new(Target::Way(Way::new(open)))
    }

    fn new(target: Target) -> Self {
        Self {
            target,
            tokens: Tokens::None,
            positions: None,
            backoff: Backoff::default(),
            heartbeat: Heartbeat::default(),
            queue: QUEUE,
            inbox: INBOX,
            longest_message: LONGEST_MESSAGE,
        }
    }

    /// Changes how connections are opened: headers, TLS, proxies, times.
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
        if let Target::Url(connect) = self.target {
            self.target = Target::Url(Box::new(change(*connect)));
        }
        self
    }

    /// What the server's authentication wants to see.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.tokens = Tokens::Fixed(token.into());
        self
    }

    /// Where to get what the server's authentication wants to see. Asked before a connection is opened
    /// that the server's sealed session does not speak for; when it fails, that is a failed
    /// attempt like any other.
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

    /// Keeps positions here. A subscription to a channel whose position is known goes on from
    /// there, whatever [`since`](crate::Subscribe::since) says: that is for the first time.
    pub fn positions(mut self, store: impl PositionStore + 'static) -> Self {
        self.positions = Some(Box::new(store));
        self
    }

    /// When to try again, and how often.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How a server that hangs is noticed.
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// How many bytes of publications may wait for the server's answer.
    pub fn queue(mut self, bytes: usize) -> Self {
        self.queue = bytes;
        self
    }

    /// How many bytes of events of one subscription may wait for its reader; one event may come
    /// on top.
    pub fn inbox(mut self, bytes: usize) -> Self {
        self.inbox = bytes;
        self
    }

    /// The longest message that the server takes (`messages.max_bytes` in its configuration): a
    /// longer publication is refused here, because there it would cost the connection.
    pub fn longest_message(mut self, bytes: usize) -> Self {
        self.longest_message = bytes;
        self
    }

    /// Connects, and waits until the server said welcome.
    ///
    /// # Errors
    /// Why that did not work the first time. Whoever wants to come back until it does
    /// [starts](Self::start).
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
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
                | ConnectionEvent::Held { .. } => {}
            }
        }
        Err(Error::Closed)
    }

    /// A client that connects in the background, for as long as it takes.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
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
            Target::Url(connect) => Way::new(*connect),
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
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("positions", &self.positions)
            .field("backoff", &self.backoff)
            .field("heartbeat", &self.heartbeat)
            .field("queue", &self.queue)
            .field("inbox", &self.inbox)
            .finish_non_exhaustive()
    }
}
