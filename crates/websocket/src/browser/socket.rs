//! The open connection in a browser, as its user holds it.

use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use offhook_protocol::{CloseCode, Closed, Sendable};

use crate::browser::registry;
use crate::connect::Connect;
use crate::error::Error;
use crate::message::Message;
use crate::sender::Sender;

/// An open connection over the browser's own `WebSocket`.
///
/// Pings, pongs, fragments and compression are the browser's; a page does not see them. When this is
/// dropped the connection is closed.
pub struct WebSocket {
    sender: Sender,
}

impl WebSocket {
    pub(crate) const fn new(sender: Sender) -> Self {
        Self { sender }
    }

    /// Checks what was negotiated.
    pub(crate) fn agreed(self, connect: &Connect) -> Result<Self, Error> {
        if connect.subprotocol_required && self.protocol().is_none() {
            let failure = offhook_protocol::handshake::HandshakeFailure::SubprotocolMissing;
            return Err(failure.into());
        }
        Ok(self)
    }

    /// Receives the next message. Returns `None` once the connection is closed;
    /// [`closed`](Sender::closed) then returns the code, the reason, and which side closed it.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Once, if the connection was lost, or a limit was passed.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](Self::recv), for futures written by hand and for
    /// [`Stream`](futures_core::Stream), which is this.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        self.sender.shared().lock().poll_recv(cx)
    }

    /// Closes the connection with a complete closing handshake, within the browser's own timeout.
    /// Messages that arrive in the meantime are discarded.
    ///
    /// # Errors
    /// The code must not be sent, or the reason is longer than 123 bytes: the connection goes on.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        self.sender.close(code, reason)?;
        Ok(self.ended().await)
    }

    /// Sends a message; see [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn send<'a, M: Sendable<'a>>(&self, message: M) -> Result<(), Error> {
        self.sender.send(message).await
    }

    /// A handle to send with, from any task. It can be cloned, and does not keep the connection
    /// open: that ends with the `WebSocket`.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// A sender, and the receiver that is left.
    #[must_use]
    pub fn split(self) -> (Sender, Self) {
        (self.sender(), self)
    }
}

/// Sending, state and end are asked of the [`Sender`] inside.
impl Deref for WebSocket {
    type Target = Sender;
    fn deref(&self) -> &Sender {
        &self.sender
    }
}

impl Drop for WebSocket {
    /// Closes the browser's socket without waiting. Browsers can't say 1001 here: no code is sent.
    fn drop(&mut self) {
        self.sender.tell_browser(CloseCode::NO_STATUS, "");
        registry::forget(self.sender.key());
        self.sender.shared().abandon();
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl futures_core::Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(Result::transpose)
    }
}
