//! Two connected WebSockets in memory, for tests.

mod lane;
mod link;

use std::time::Duration;

use offhook_protocol::deflate::{DeflateParams, parse_extensions};
use offhook_protocol::handshake::Negotiated;

pub use link::{Link, LinkEnd};

use crate::settings::Settings;
use crate::socket::WebSocket;
use crate::transport::Transport;

/// Makes two WebSockets connected in memory, the client's end and the server's, to test code that
/// uses them. See [`Pair`] for control over the link between them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), offhook::Error> {
/// let (mut client, mut server) = offhook::pair();
///
/// client.send("hello").await?;
/// assert_eq!(server.recv().await?, Some("hello".into()));
///
/// drop(server);
/// assert_eq!(client.recv().await?, None);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Outside a tokio runtime with time.
#[must_use]
pub fn pair() -> (WebSocket, WebSocket) {
    let (client, server, _link) = Pair::new().open();
    (client, server)
}

/// Builds two WebSockets connected by a [`Link`] that a test can delay, stall, fail and cut at any
/// time. With tokio's clock paused, such a test takes no real time.
///
/// ```
/// use offhook::{Error, Pair};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (mut client, _server, link) = Pair::new().open();
/// link.cut();
/// assert!(matches!(client.recv().await, Err(Error::Lost(_))));
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pair {
    client: Settings,
    server: Settings,
    protocol: Option<String>,
    capacity: Option<usize>,
    delay: Duration,
    bandwidth: Option<u64>,
}

/// How many unread bytes a direction holds. 64 KiB: about as much as a socket's buffer.
const CAPACITY: usize = 64 * 1024;

impl Pair {
    /// Default settings on both ends, and a link without delay.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses these settings on both ends.
    #[must_use]
    pub fn settings(self, settings: &Settings) -> Self {
        self.client(settings).server(settings)
    }

    /// Uses these settings on the client's end. Compression is used if both ends enable it.
    #[must_use]
    pub fn client(mut self, settings: &Settings) -> Self {
        self.client = settings.clone();
        self
    }

    /// Uses these settings on the server's end.
    #[must_use]
    pub fn server(mut self, settings: &Settings) -> Self {
        self.server = settings.clone();
        self
    }

    /// Sets the subprotocol that both ends agreed on.
    #[must_use]
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocol = Some(name.into());
        self
    }

    /// How many unread bytes each direction holds. Default: 64 KiB.
    #[must_use]
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = Some(bytes.max(1));
        self
    }

    /// The delay of each byte; [`Link::set_delay`] changes it later.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The bytes per second in each direction; [`Link::set_bandwidth`] changes it later.
    #[must_use]
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        self.bandwidth = Some(bytes_per_second);
        self
    }

    /// Returns the client, the server, and the link between them.
    ///
    /// # Panics
    /// Outside a tokio runtime with time.
    #[must_use]
    pub fn open(self) -> (WebSocket, WebSocket, Link) {
        let negotiated = Negotiated {
            protocol: self.protocol.clone(),
            deflate: self.deflate(),
        };
        let (near, far, link) = self.link();
        let near = Transport::boxed(near);
        let far = Transport::boxed(far);
        let client = WebSocket::client(near, negotiated.clone(), &[], &self.client);
        let server = WebSocket::server(far, negotiated, &[], &self.server);
        (client, server, link)
    }

    /// Returns the bare link, two connected streams, for code that performs its own handshake.
    #[must_use]
    pub fn link(&self) -> (LinkEnd, LinkEnd, Link) {
        let (near, far, link) = Link::new(self.capacity.unwrap_or(CAPACITY));
        link.set_delay(self.delay);
        link.set_bandwidth(self.bandwidth);
        (near, far, link)
    }

    /// What the opening handshake would have negotiated.
    fn deflate(&self) -> Option<DeflateParams> {
        let client = self.client.deflate.as_deref()?;
        let offer = client.offer();
        let offers = parse_extensions([offer.as_bytes()]).ok()?;
        let answer = self.server.deflate.as_deref()?.accept(&offers)?.to_string();
        let answers = parse_extensions([answer.as_bytes()]).ok()?;
        client.confirm(&answers).ok()?
    }
}
