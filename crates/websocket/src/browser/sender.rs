//! Sending over the browser's socket, from any task.

use std::fmt;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use offhook_protocol::{CloseCode, Closed, Kind, ReadyState, SendError, Sendable};

use crate::browser::Shared;
use crate::browser::registry::{self, Key};
use crate::error::Error;
use crate::time::sleep;

/// Browsers do not say when they have sent: that is looked at this often while a sender waits.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A handle to send with. Clones send on the same connection, in the order of the calls.
///
/// It does not keep the connection open: that ends with the [`WebSocket`](crate::WebSocket).
#[derive(Clone)]
pub struct Sender {
    key: Key,
    shared: Arc<Shared>,
    high_water: u32,
}

impl Sender {
    pub(crate) fn new(key: Key, shared: Arc<Shared>, high_water: u32) -> Self {
        Self {
            key,
            shared,
            high_water,
        }
    }

    pub(crate) const fn key(&self) -> Key {
        self.key
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Sends a message: text from `&str`, `String` and [`Text`](crate::Text), binary from bytes.
    ///
    /// Waits first while more than the send buffer is unsent. Cancel-safe: sent whole, or not at
    /// all.
    ///
    /// # Errors
    /// The connection is closing or closed; nothing was sent.
    pub async fn send<'a, M: Sendable<'a>>(&self, message: M) -> Result<(), Error> {
        self.until_less(self.high_water).await?;
        self.put(message).map(drop)
    }

    /// Sends a message if that needs no waiting.
    ///
    /// # Errors
    /// [`Error::Full`] while more than the send buffer is unsent, else as [`send`](Self::send).
    pub fn try_send<'a>(&self, message: impl Sendable<'a>) -> Result<(), Error> {
        if self.is_open() && self.unsent_now() >= self.high_water {
            return Err(Error::Full);
        }
        self.put(message).map(drop)
    }

    /// Sends a message without waiting, however much is unsent, and returns the number of unsent
    /// bytes.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn put<'a>(&self, message: impl Sendable<'a>) -> Result<usize, Error> {
        if !self.is_open() {
            return Err(self.shared.lock().closed_error());
        }
        let sent = registry::with(self.key, |socket| match message.kind() {
            // Text is always valid UTF-8.
            Kind::Text => {
                let text = std::str::from_utf8(message.as_bytes()).unwrap_or_default();
                socket.send_with_str(text)
            }
            Kind::Binary => socket.send_with_u8_array(message.as_bytes()),
        });
        match sent {
            Some(Ok(())) => Ok(self.buffered_amount()),
            Some(Err(_)) | None => Err(self.shared.lock().closed_error()),
        }
    }

    /// Waits until at most half of the send buffer is unsent. Cancel-safe.
    ///
    /// # Errors
    /// The connection is closing or closed.
    pub async fn room(&self) -> Result<(), Error> {
        self.until_less(self.high_water / 2 + 1).await
    }

    /// Waits until everything sent so far was passed to the network.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn flush(&self) -> Result<(), Error> {
        self.until_less(1).await
    }

    async fn until_less(&self, bytes: u32) -> Result<(), Error> {
        while self.is_open() && self.unsent_now() >= bytes {
            sleep(LOOK_AGAIN).await;
        }
        if self.is_open() {
            Ok(())
        } else {
            Err(self.shared.lock().closed_error())
        }
    }

    /// Starts the closing handshake and returns; messages sent before are sent first.
    ///
    /// # Errors
    /// The code must not be sent, or the reason is longer than 123 bytes: the connection goes on.
    /// Browsers send 1000, those from 3000 to 4999, and none
    /// ([`CloseCode::NO_STATUS`]).
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        if !matches!(code.get(), 1000 | 1005 | 3000..=4999) {
            return Err(SendError::CloseCode(code).into());
        }
        if reason.len() > 123 {
            let len = reason.len();
            return Err(SendError::ReasonTooLong { len }.into());
        }
        if self.state() == ReadyState::Open {
            self.shared.closing(code, reason);
            self.tell_browser(code, reason);
        }
        Ok(())
    }

    /// Closes the browser's socket. It refuses only codes and reasons that were checked before.
    pub(crate) fn tell_browser(&self, code: CloseCode, reason: &str) {
        registry::with(self.key, |socket| {
            let _refused = match code {
                CloseCode::NO_STATUS => socket.close(),
                code => socket.close_with_code_and_reason(code.get(), reason),
            };
        });
    }

    /// Waits until the connection has ended, and returns how.
    pub async fn ended(&self) -> Closed {
        poll_fn(|cx| self.shared.lock().poll_closed(cx)).await
    }

    /// How the connection ended; `None` before it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.shared.lock().closed.clone()
    }

    /// Where the connection is in its life.
    #[must_use]
    pub fn state(&self) -> ReadyState {
        self.shared.lock().phase
    }

    fn is_open(&self) -> bool {
        self.state() == ReadyState::Open
    }

    /// How many bytes are unsent.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.unsent_now() as usize
    }

    /// The number of unsent bytes. After the end, browsers still count what is passed to them.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.buffered_amount()
    }

    fn unsent_now(&self) -> u32 {
        registry::with(self.key, web_sys::WebSocket::buffered_amount).unwrap_or_default()
    }

    /// The subprotocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<String> {
        let protocol = registry::with(self.key, web_sys::WebSocket::protocol)?;
        (!protocol.is_empty()).then_some(protocol)
    }

    /// The extensions in use, as `Sec-WebSocket-Extensions` names them; empty if there are none.
    #[must_use]
    pub fn extensions(&self) -> String {
        registry::with(self.key, web_sys::WebSocket::extensions).unwrap_or_default()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Two senders are equal if they send on the same connection.
impl PartialEq for Sender {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Sender {}

impl Hash for Sender {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}
