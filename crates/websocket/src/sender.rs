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

/// A handle to send with. Clones send on the same connection; what one of them sends is queued
/// whole, in the order of the calls.
///
/// It does not keep the connection open: that ends with the [`WebSocket`](crate::WebSocket).
///
/// Which way to send:
///
/// | to | call |
/// |---|---|
/// | send, and wait for a slow peer | [`send`](Self::send) |
/// | the same, ahead of what waits | [`send_urgent`](Self::send_urgent) |
/// | the same message to many | [`send_prepared`](Self::send_prepared) |
/// | give up at a slow peer instead of waiting | [`try_send`](Self::try_send) |
/// | never wait, and look after the bound oneself | [`put`](Self::put), [`put_prepared`](Self::put_prepared), [`write_prepared`](Self::write_prepared) |
/// | send a message piece by piece | [`send_stream`](Self::send_stream) |
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

    /// Sends a message: text from `&str`, `String` and [`Text`](crate::Text), binary from bytes.
    ///
    /// Returns when it is queued; waits first while more than the send buffer is unsent.
    /// Cancel-safe: queued whole, or not at all.
    ///
    /// # Errors
    /// The connection is closing or closed; nothing was sent.
    #[inline]
    pub fn send<'a, M: Sendable<'a>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<(), Error>> + use<'_, 'a, M> {
        Sending::new(&self.driver, message)
    }

    /// Sends a message ahead of all that have not begun to be sent.
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

    /// Sends a message that was framed, and perhaps compressed, once for many connections.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_prepared(&self, message: &Prepared) -> Result<(), Error> {
        poll_fn(|cx| {
            self.driver
                .poll_send(cx, |outbound| outbound.send_prepared(message))
        })
        .await
    }

    /// Sends a message if that needs no waiting.
    ///
    /// # Errors
    /// [`Error::Full`] while more than the send buffer is unsent, else as [`send`](Self::send).
    pub fn try_send<'a>(&self, message: impl Sendable<'a>) -> Result<(), Error> {
        self.driver.try_send(|outbound| outbound.send(message))
    }

    /// Sends a message without waiting, whatever is unsent, and gives how many bytes are unsent
    /// now. For who sends to many and minds the bound: past the send buffer, stop, and wait for
    /// [`room`](Self::room).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn put<'a>(&self, message: impl Sendable<'a>) -> Result<usize, Error> {
        self.driver.put(|outbound| outbound.send(message))
    }

    /// As [`put`](Self::put), for messages that were framed once for many connections.
    ///
    /// # Errors
    /// As [`send`](Self::send); those before the one that was refused are sent.
    #[inline]
    pub fn put_prepared(&self, messages: &[Prepared]) -> Result<usize, Error> {
        self.driver.put(|outbound| {
            messages
                .iter()
                .try_for_each(|message| outbound.send_prepared(message))
        })
    }

    /// As [`put_prepared`](Self::put_prepared), and writes at once what the transport takes, rather
    /// than when the runtime comes round to it. For who has the same for very many: the bytes go
    /// from one buffer, one connection after the other, instead of waiting in one each.
    ///
    /// # Errors
    /// As [`put_prepared`](Self::put_prepared).
    #[inline]
    pub fn write_prepared(&self, messages: &[Prepared]) -> Result<usize, Error> {
        self.driver.put_through(|outbound| {
            messages
                .iter()
                .try_for_each(|message| outbound.send_prepared(message))
        })
    }

    /// Waits until at most half of the send buffer is unsent. Cancel-safe.
    ///
    /// # Errors
    /// The connection is closing or closed.
    pub async fn room(&self) -> Result<(), Error> {
        poll_fn(|cx| self.driver.poll_room(cx)).await
    }

    /// Sends a ping that carries this number, behind everything that was sent before. When its
    /// pong has come, [`take_reached`](Self::take_reached) gives the number: the peer's WebSocket has all
    /// that was sent until now. `false`, and nothing is sent, while so much is unsent that the
    /// ping would overtake some of it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn mark(&self, number: u32) -> Result<bool, Error> {
        self.driver.mark(number)
    }

    /// Takes the number of the latest [`mark`](Self::mark) that the peer has answered, as far as
    /// somebody receives on the [`WebSocket`](crate::WebSocket). Peers may invent numbers.
    #[must_use]
    pub fn take_reached(&self) -> Option<u32> {
        self.driver.lock().reached.take()
    }

    /// Begins a message that is written piece by piece. Other senders wait until it is finished;
    /// pings and pongs do not.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_stream(&self, kind: Kind) -> Result<MessageWriter, Error> {
        MessageWriter::begin(Arc::clone(&self.driver), kind).await
    }

    /// Waits until everything sent so far has left for the network.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn flush(&self) -> Result<(), Error> {
        poll_fn(|cx| self.driver.poll_drained(cx)).await
    }

    /// Asks the peer for a pong, and gives the round trip. The pong is seen when all messages that
    /// came before it were received.
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

    /// Begins the closing handshake and returns; what was sent before goes out first. The
    /// receiver goes on until the peer has answered.
    ///
    /// # Errors
    /// The code must not be sent, or the reason is longer than 123 bytes: the connection goes on.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.driver.begin_close(code, reason)
    }

    /// Begins the closing handshake as a bridge does that passes on how its other connection ended:
    /// with the peer's code and reason; without a code where it sent none (1005), and with 1011 where
    /// there was no Close (1006) or the code must not travel.
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

    /// Waits until the connection has ended, and gives how.
    pub async fn ended(&self) -> Closed {
        poll_fn(|cx| self.driver.poll_ended(cx)).await
    }

    /// How the connection ended; `None` before it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.driver.lock().closed()
    }

    /// Where the connection is in its life.
    #[must_use]
    pub fn state(&self) -> ReadyState {
        self.driver.lock().outbound.ready_state()
    }

    /// How many bytes are unsent.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.driver.lock().outbound.buffered_amount()
    }

    /// How many bytes are unsent, or were at least when the connection ended: those are lost for
    /// certain.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.driver.lock().unsent()
    }

    /// The last measured round trip.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.driver.lock().outbound.rtt()
    }

    /// The subprotocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.driver.agreement()?.protocol.as_deref()
    }

    /// The terms of permessage-deflate, if it is used.
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
