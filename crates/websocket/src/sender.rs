//! Sending, from any task.

use std::fmt;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use offhook_protocol::deflate::DeflateParams;
use offhook_protocol::{
    CloseCode, Closed, Kind, Outgoing, Prepared, ReadyState, Sendable, SentPing,
};

use crate::driver::{Driver, Sending, now};
use crate::error::Error;
use crate::writer::MessageWriter;

/// Sends on a connection. Clones send on the same connection; each message is queued as a whole, in
/// the order of the calls.
///
/// A sender does not keep the connection open: it ends with the [`WebSocket`](crate::WebSocket).
///
/// # Which method to use
///
/// | method | while more than the send buffer is unsent | for |
/// |---|---|---|
/// | [`send`](Self::send) | waits | nearly everything |
/// | [`send_urgent`](Self::send_urgent) | waits | a message that must overtake queued ones |
/// | [`send_stream`](Self::send_stream) | waits | a message that is too long to hold, or not complete yet |
/// | [`try_send`](Self::try_send) | fails with [`Error::Full`] | a message that is worthless if it is late |
/// | [`put`](Self::put) | queues, and returns the number of unsent bytes | code that cannot wait, or sends to many and must not wait for one of them; limit the unsent bytes yourself, with [`room`](Self::room) |
/// | [`write_prepared`](Self::write_prepared) | as `put` | broadcasts to thousands: writes at once, so that output does not wait in a buffer per connection |
///
/// All of them take text and bytes, and a [`Prepared`] message, which is framed and compressed once for
/// many connections.
#[derive(Clone)]
pub struct Sender {
    driver: Arc<Driver>,
}

impl Sender {
    pub(crate) const fn new(driver: Arc<Driver>) -> Self {
        Self { driver }
    }

    pub(crate) const fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// Sends a message: `&str`, `String` and [`Text`](crate::Text) as text, bytes as binary, and a
    /// [`Prepared`] message as it was prepared.
    ///
    /// Returns when the message is queued; waits first while more than the send buffer is unsent.
    /// Cancel-safe: the message is queued as a whole or not at all.
    ///
    /// # Errors
    /// The connection is closing or closed; the message was not sent.
    #[inline]
    pub fn send<'a, M: Sendable<'a>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<(), Error>> + use<'_, 'a, M> {
        Sending::new(&self.driver, message)
    }

    /// Sends a message before all queued messages that are not urgent and not partly sent.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_urgent<'a>(&self, message: impl Into<Outgoing<'a>>) -> Result<(), Error> {
        let mut message = Some(message.into());
        poll_fn(|cx| {
            self.driver.poll_send(cx, |outbound| match message.take() {
                Some(message) => outbound.send_urgent(message),
                None => Ok(()),
            })
        })
        .await
    }

    /// Sends a message if that needs no wait.
    ///
    /// # Errors
    /// [`Error::Full`] while more than the send buffer is unsent; otherwise as
    /// [`send`](Self::send).
    pub fn try_send<'a>(&self, message: impl Sendable<'a>) -> Result<(), Error> {
        self.driver.try_send(|outbound| outbound.send(message))
    }

    /// Queues a message without waiting and returns the number of unsent bytes. When it exceeds the
    /// send buffer, stop sending and await [`room`](Self::room).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn put<'a>(&self, message: impl Sendable<'a>) -> Result<usize, Error> {
        self.driver.put(|outbound| outbound.send(message))
    }

    /// Queues messages without waiting, as [`put`](Self::put) does, and writes at once what the
    /// transport accepts, instead of when the runtime runs the flush task. Use it to send the same
    /// messages to very many connections: one buffer then serves one connection after another,
    /// instead of one buffer waiting for each.
    ///
    /// # Errors
    /// As [`send`](Self::send); messages before the rejected one are sent.
    #[inline]
    pub fn write_prepared(&self, messages: &[Prepared]) -> Result<usize, Error> {
        self.driver.put_through(|outbound| {
            messages
                .iter()
                .try_for_each(|message| outbound.send(message))
        })
    }

    /// Waits until at most half of the send buffer is unsent. Cancel-safe.
    ///
    /// # Errors
    /// The connection is closing or closed.
    pub async fn room(&self) -> Result<(), Error> {
        poll_fn(|cx| self.driver.poll_room(cx)).await
    }

    /// Sends a ping that carries this number, after everything sent before. When its pong has
    /// arrived, [`take_reached`](Self::take_reached) returns the number: the peer's WebSocket has
    /// received everything sent until now. Returns `false` and sends nothing while so much is
    /// unsent that the ping would overtake some of it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn mark(&self, number: u32) -> Result<bool, Error> {
        self.driver.mark(number)
    }

    /// Takes the number of the latest [`mark`](Self::mark) that the peer has answered. Pongs are
    /// noticed only while a task receives on the [`WebSocket`](crate::WebSocket). Peers may invent
    /// numbers.
    #[must_use]
    pub fn take_reached(&self) -> Option<u32> {
        self.driver.lock().reached.take()
    }

    /// Takes the round-trip time that the latest answered ping has measured, if it was not taken
    /// before; a [`mark`](Self::mark) measures none. As with marks, pongs are noticed only while a
    /// task receives.
    #[must_use]
    pub fn take_rtt(&self) -> Option<Duration> {
        let mut state = self.driver.lock();
        let is_new = std::mem::take(&mut state.measured);
        is_new.then(|| state.outbound.rtt()).flatten()
    }

    /// Starts a message that is written piece by piece. Other senders wait until it is finished;
    /// pings and pongs do not.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_stream(&self, kind: Kind) -> Result<MessageWriter, Error> {
        MessageWriter::begin(Arc::clone(&self.driver), kind).await
    }

    /// Waits until everything sent so far was written to the network.
    ///
    /// # Errors
    /// The connection ended first.
    pub async fn flush(&self) -> Result<(), Error> {
        poll_fn(|cx| self.driver.poll_drained(cx)).await
    }

    /// Sends a ping and returns the round-trip time. The pong is noticed after all messages before
    /// it were received.
    ///
    /// # Errors
    /// The connection has ended, or ends before the pong.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let ping = self.begin_ping()?;
        poll_fn(|cx| self.driver.poll_pong(cx, ping)).await
    }

    pub(crate) fn begin_ping(&self) -> Result<SentPing, Error> {
        let mut sent = SentPing::default();
        self.driver.send_now(|outbound| {
            sent = outbound.ping(now())?;
            Ok(())
        })?;
        Ok(sent)
    }

    /// Starts the closing handshake and returns. Queued messages are sent first. The receiver
    /// continues until the peer has answered.
    ///
    /// # Errors
    /// The code must not be sent, or the reason is longer than 123 bytes: the connection stays
    /// open.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.driver.begin_close(code, reason)
    }

    /// Starts the closing handshake with the end of another connection, as a bridge does: with that
    /// peer's code and reason; without a code if it sent none (1005); with 1011 if there was no
    /// Close (1006) or the code must not be sent.
    ///
    /// # Errors
    /// None in practice: what must not be sent is replaced.
    pub fn close_as(&self, closed: &Closed) -> Result<(), Error> {
        let code = closed.code;
        if code == CloseCode::NO_STATUS {
            self.close(code, "")
        } else if code.is_sendable() {
            self.close(code, &closed.reason)
        } else {
            self.close(CloseCode::INTERNAL_ERROR, "the other connection was lost")
        }
    }

    /// Waits until the connection has ended, and returns how it ended.
    pub async fn ended(&self) -> Closed {
        poll_fn(|cx| self.driver.poll_ended(cx)).await
    }

    /// How the connection ended; `None` before it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.driver.lock().closed()
    }

    /// The connection's state in terms of the browser's API.
    #[must_use]
    pub fn state(&self) -> ReadyState {
        self.driver.lock().outbound.ready_state()
    }

    /// The number of unsent bytes.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.driver.lock().outbound.buffered_amount()
    }

    /// Bytes of memory that an incompletely received message takes; 0 if there is none. A server
    /// that limits what all its clients together may make it hold adds these up.
    #[must_use]
    pub fn incomplete_bytes(&self) -> usize {
        self.driver.lock().incomplete_bytes()
    }

    /// The number of unsent bytes; after the connection has ended, how many were certainly lost.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.driver.lock().unsent()
    }

    /// The last measured round-trip time.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.driver.lock().outbound.rtt()
    }

    /// The negotiated subprotocol.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.driver.agreement()?.protocol.as_deref()
    }

    /// The terms of permessage-deflate, if it was negotiated.
    #[must_use]
    pub fn deflate(&self) -> Option<&DeflateParams> {
        self.driver.agreement()?.deflate.as_ref()
    }

    /// The extensions in use, as `Sec-WebSocket-Extensions` names them; empty if there are none.
    #[must_use]
    pub fn extensions(&self) -> String {
        self.deflate().map(ToString::to_string).unwrap_or_default()
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
        Arc::ptr_eq(&self.driver, &other.driver)
    }
}

impl Eq for Sender {}

impl Hash for Sender {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(Arc::as_ptr(&self.driver), state);
    }
}
