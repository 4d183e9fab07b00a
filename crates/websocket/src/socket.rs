//! An open connection.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use offhook_protocol::deflate::DeflateParams;
use offhook_protocol::handshake::Negotiated;
use offhook_protocol::{self as protocol, CloseCode, Closed, Connection, Event, ReadyState};

use crate::driver::{Driver, Ready, Replies, Turn, Turns};
use crate::error::Error;
use crate::message::Message;
use crate::reader::MessageReader;
use crate::sender::Sender;
use crate::server::{Connections, Place};
use crate::settings::Settings;
use crate::trace::Span;
use crate::transport::Transport;

#[doc = include_str!("socket.md")]
pub struct WebSocket {
    sender: Sender,
    /// Prefetched messages.
    ready: Ready,
    /// Its place among the [`Connections`] it belongs to.
    place: Option<Box<Place>>,
}

impl WebSocket {
    /// Makes the server's end of a connection whose opening handshake was done elsewhere. `unread`
    /// are the bytes received after the request's head.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn server(
        transport: impl Into<Transport>,
        negotiated: Negotiated,
        unread: &[u8],
        settings: &Settings,
    ) -> Self {
        let span = Span::opened_elsewhere(true);
        Self::server_in(span, transport.into(), negotiated, unread, settings)
    }

    /// Makes the client's end of a connection whose opening handshake was done elsewhere. `unread`
    /// are the bytes received after the response's head.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn client(
        transport: impl Into<Transport>,
        negotiated: Negotiated,
        unread: &[u8],
        settings: &Settings,
    ) -> Self {
        let span = Span::opened_elsewhere(false);
        Self::client_in(span, transport.into(), negotiated, unread, settings)
    }

    /// [`server`](Self::server), in the span of its handshake.
    pub(crate) fn server_in(
        span: Span,
        transport: Transport,
        negotiated: Negotiated,
        unread: &[u8],
        settings: &Settings,
    ) -> Self {
        let connection = settings.server(&negotiated);
        Self::new(connection, transport, negotiated, unread, settings, span)
    }

    /// [`client`](Self::client), in the span of its handshake.
    pub(crate) fn client_in(
        span: Span,
        transport: Transport,
        negotiated: Negotiated,
        unread: &[u8],
        settings: &Settings,
    ) -> Self {
        let connection = settings.client(&negotiated);
        Self::new(connection, transport, negotiated, unread, settings, span)
    }

    fn new(
        connection: Connection,
        transport: Transport,
        negotiated: Negotiated,
        unread: &[u8],
        settings: &Settings,
        span: Span,
    ) -> Self {
        let driver = Driver::new(connection, transport, negotiated, unread, settings, span);
        Self {
            sender: Sender::new(driver),
            ready: Ready::default(),
            place: None,
        }
    }

    /// Registers it with these connections for as long as it exists.
    pub(crate) fn tracked_by(mut self, connections: Option<&Connections>) -> Self {
        let place = connections.and_then(|connections| connections.admit(&self));
        self.place = place.map(Box::new);
        self
    }

    /// Takes its place, to be held elsewhere.
    #[cfg(feature = "hyper")]
    pub(crate) fn take_place(&mut self) -> Option<Box<Place>> {
        self.place.take()
    }

    /// Receives the next message. Returns `None` once the connection is closed;
    /// [`closed`](Sender::closed) then returns the code, the reason, and which side closed it.
    ///
    /// Pings, pongs and the closing handshake are handled internally. Cancel-safe: a message is
    /// returned or stays for the next call.
    ///
    /// # Errors
    /// Returned once, if the connection was lost, or was failed because the peer violated the
    /// protocol, exceeded a limit or stopped responding.
    #[inline]
    pub fn recv(&mut self) -> impl Future<Output = Result<Option<Message>, Error>> + Send {
        let Self { sender, ready, .. } = self;
        let driver = sender.driver();
        Turns::new(driver, |cx| poll_next(driver, ready, cx, Turn::WHOLE))
    }

    /// [`recv`](Self::recv) as a poll function, for hand-written futures. The implementation of
    /// [`Stream`](futures_core::Stream) uses it. It may be abandoned at any time, which has a cost:
    /// an internal task is woken for each read, and wakes this one.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let Self { sender, ready, .. } = self;
        poll_next(sender.driver(), ready, cx, Turn::WHOLE.watched())
    }

    /// Takes the next prefetched message.
    #[inline]
    pub(crate) fn next_ready(&mut self) -> Option<Message> {
        self.ready.next()
    }

    /// Receives the next message piece by piece, of any length, in constant memory. `None` once the
    /// connection is closed.
    ///
    /// Cancel-safe. The unread rest of a message is skipped.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_stream(&mut self) -> Result<Option<MessageReader<'_>>, Error> {
        MessageReader::begin(self).await
    }

    /// Passes each message to `handle` directly from the read buffer, until the connection ends.
    /// This is the fastest way to serve, without an allocation for each message. Replies sent in
    /// `handle` are written at once, after all messages of one read were handled.
    ///
    /// `handle` never waits: replies are queued, however much is unsent. Reading stops while more
    /// than the send buffer is unsent, so a peer that never reads costs bounded memory.
    ///
    /// Replies are sent in order, when the batch is done or fills the send buffer. Messages sent
    /// with a [`Sender`] meanwhile may overtake them.
    ///
    /// ```
    /// # async fn example(mut socket: offhook::WebSocket) -> Result<(), offhook::Error> {
    /// socket.each(|message, replies| replies.send(message)).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and the error that `handle` returns.
    pub async fn each(
        &mut self,
        mut handle: impl FnMut(protocol::Message<'_>, &mut Replies<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Self { sender, ready, .. } = self;
        let driver = sender.driver();
        while let Some(message) = ready.next() {
            let mut replies = driver.replies();
            let handled = handle(message.borrowed(), &mut replies);
            replies.send_framed();
            handled?;
        }
        Turns::new(driver, |cx| driver.poll_each(cx, &mut handle)).await
    }

    /// Sends a ping and returns the round-trip time. Messages that arrive before the pong are
    /// stored for [`recv`](Self::recv).
    ///
    /// # Errors
    /// The connection has ended, or ends before the pong. [`Error::Unread`] if more than the
    /// maximum message size arrives before the pong: receive those messages first.
    pub async fn ping(&mut self) -> Result<Duration, Error> {
        let ping = self.sender.begin_ping()?;
        let cost = |message: &Message| (message.len() + size_of::<Message>()) as u64;
        let mut kept: u64 = self.ready.iter().map(cost).sum();
        let Self { sender, ready, .. } = self;
        let driver = sender.driver();
        let most = driver.lock().outbound.config().limits.message_size;
        Turns::new(driver, |cx| {
            if let Some(rtt) = driver.rtt_of(ping) {
                return Poll::Ready(Ok(rtt));
            }
            let turn = driver.poll_turn(cx, Turn::WHOLE, |event| match event {
                Event::Message(message) => Some(Some(Message::from(message))),
                Event::Pong { rtt: Some(_), .. } => Some(None),
                Event::Pong { .. } | Event::Chunk(_) | Event::Ping(_) | Event::Close(_) => None,
            });
            match ready!(turn)? {
                Some(Some(message)) => {
                    kept += cost(&message);
                    ready.push(message);
                    if kept > most {
                        return Poll::Ready(Err(Error::Unread));
                    }
                }
                Some(None) => {}
                None => return Poll::Ready(Err(driver.closed_error())),
            }
            // Poll again at once: the pong may already be there.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Closes the connection and completes the closing handshake, within the close timeout. Queued
    /// messages are sent first; messages that still arrive are discarded. To receive them, start
    /// the close with [`Sender::close`] and continue receiving until the end.
    ///
    /// # Errors
    /// The code must not be sent, or the reason is longer than 123 bytes: the connection stays
    /// open. Or the peer did not answer in time, violated the protocol, or the connection was lost.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        self.sender.close(code, reason)?;
        let driver = self.driver();
        Turns::new(driver, |cx| {
            driver.poll_turn(cx, Turn::CHUNKS, |_| None::<()>)
        })
        .await?;
        self.closed().ok_or(Error::Closing)
    }

    /// Sends a message; see [`Sender::send`].
    ///
    /// Defined here although [`Sender`] has it too: with `futures`' `SinkExt` in scope, its `send`
    /// would be called instead, which flushes after each message.
    ///
    /// # Errors
    /// As [`Sender::send`].
    #[inline]
    pub fn send<'a, M: protocol::Sendable<'a>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<(), Error>> + use<'_, 'a, M> {
        self.sender.send(message)
    }

    /// A handle for sending from any task. It can be cloned, and does not keep the connection open:
    /// that ends with the `WebSocket`.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Splits it into a sender and a receiver.
    #[must_use]
    pub fn split(self) -> (Sender, Self) {
        (self.sender(), self)
    }

    /// The peer's address, if it is known: over TLS and HTTP/2 that of the underlying connection,
    /// through a proxy the proxy's. A Unix socket has none, and neither has a stream connected
    /// elsewhere, unless it was [given](Transport::with_peer_addr).
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.driver().peer_addr()
    }

    pub(crate) fn driver(&self) -> &Arc<Driver> {
        self.sender.driver()
    }
}

/// The next message, prefetched or received.
#[inline]
fn poll_next(
    driver: &Arc<Driver>,
    ready: &mut Ready,
    cx: &mut Context<'_>,
    turn: Turn,
) -> Poll<Result<Option<Message>, Error>> {
    if ready.is_empty() && !ready!(driver.poll_batch(cx, turn, ready))? {
        return Poll::Ready(Ok(None));
    }
    Poll::Ready(Ok(ready.next()))
}

/// Sending, state and the end of the connection are available through the [`Sender`].
impl Deref for WebSocket {
    type Target = Sender;
    fn deref(&self) -> &Sender {
        &self.sender
    }
}

impl Drop for WebSocket {
    /// Sends 1001 if no Close was sent yet, and closes the transport without waiting.
    fn drop(&mut self) {
        self.driver().abandon();
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

impl futures_sink::Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.driver().poll_send(cx, |_| Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.driver().send_now(|outbound| outbound.send(message))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.driver().poll_drained(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.state() == ReadyState::Open {
            self.sender.close(CloseCode::NORMAL, "")?;
        }
        let socket = &mut *self;
        socket
            .driver()
            .poll_turn(cx, Turn::CHUNKS.watched(), |_| None::<()>)
            .map(|result| result.map(|_| ()))
    }
}

/// What the opening handshake negotiated; stored only if it is not empty.
#[derive(Debug)]
pub(crate) struct Agreement {
    pub(crate) protocol: Option<Box<str>>,
    pub(crate) deflate: Option<DeflateParams>,
}

impl Agreement {
    pub(crate) fn of(negotiated: Negotiated) -> Option<Box<Self>> {
        let Negotiated { protocol, deflate } = negotiated;
        if protocol.is_none() && deflate.is_none() {
            return None;
        }
        Some(Box::new(Self {
            protocol: protocol.map(Into::into),
            deflate,
        }))
    }
}
