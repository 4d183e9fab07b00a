//! Configuration of a connection in a browser.

#[path = "../connect/proxy/failure.rs"]
mod failure;

use std::time::Duration;

pub use failure::{ProxyError, SocksReply};

use crate::browser;
use crate::error::Error;
use crate::socket::WebSocket;

/// 10 s: time for a server to wake up and ask its database who this is, after a slow network has
/// looked up its name.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What may be unsent before senders wait. 256 KiB: it fills a fast connection for as long as a
/// sender needs to look again.
const SEND_BUFFER: u32 = 256 * 1024;
/// The longest message received. 1 MiB: most messages are well below it.
const MESSAGE_SIZE: u64 = 1024 * 1024;
/// The limit of unreceived messages. 16 MiB: a browser cannot be told to read more slowly, so a
/// receiver that is too slow must lose the connection before the page runs out of memory.
const UNREAD: u64 = 16 * 1024 * 1024;

/// Opens a connection to a `ws://` or `wss://` URL, with the defaults of [`Connect`].
///
/// # Errors
///
/// See [`Connect::open`].
pub async fn connect(url: impl AsRef<str>) -> Result<WebSocket, Error> {
    Connect::to(url).open().await
}

/// A connection to be made by the browser; can be made any number of times.
///
/// Headers, proxies, TLS, compression and keepalive are the browser's own business: there is nothing to set.
/// Cookies and the page's `Origin` are sent by it.
#[derive(Clone, Debug)]
#[must_use = "nothing is connected before `open`"]
pub struct Connect {
    pub(crate) url: Box<str>,
    pub(crate) subprotocols: Vec<Box<str>>,
    pub(crate) subprotocol_required: bool,
    pub(crate) timeout: Duration,
    pub(crate) send_buffer: u32,
    pub(crate) limits: browser::Limits,
}

impl Connect {
    /// To a `ws://` or `wss://` URL.
    pub fn to(url: impl AsRef<str>) -> Self {
        Self {
            url: url.as_ref().into(),
            subprotocols: Vec::new(),
            subprotocol_required: false,
            timeout: TIMEOUT,
            send_buffer: SEND_BUFFER,
            limits: browser::Limits {
                message_size: MESSAGE_SIZE,
                unread: UNREAD,
            },
        }
    }

    /// Offers a subprotocol, after those offered before, which are preferred.
    pub fn subprotocol(mut self, name: impl AsRef<str>) -> Self {
        self.subprotocols.push(name.as_ref().into());
        self
    }

    /// Fails when the server takes none of the subprotocols. Browsers do so by themselves when any were offered.
    pub fn require_subprotocol(mut self) -> Self {
        self.subprotocol_required = true;
        self
    }

    /// How long opening may take, all in all. 10 s if this is not said.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Senders wait while this many bytes are unsent. 256 KiB if this is not said.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        self
    }

    /// What the server may make this end hold. Only [`Limits::message_size`](offhook_protocol::Limits::message_size)
    /// counts here: frames are the browser's.
    pub fn limits(mut self, limits: offhook_protocol::Limits) -> Self {
        self.limits.message_size = limits.message_size;
        self
    }

    /// Sets how many bytes of messages may wait to be received. Beyond that, the connection is
    /// closed, and [`recv`](WebSocket::recv) fails with [`Error::Unread`]. Default: 16 MiB.
    pub fn receive_buffer(mut self, bytes: u64) -> Self {
        self.limits.unread = bytes;
        self
    }

    /// Opens the connection. Dropping the future closes what it opened.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] if the browser rejects the URL or a subprotocol; [`Error::Connect`] if the
    /// connection did not open, since browsers do not tell a page why; [`Error::Timeout`].
    pub async fn open(&self) -> Result<WebSocket, Error> {
        browser::open(self).await
    }
}
