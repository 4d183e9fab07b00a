//! A connection that reconnects.

mod backoff;
mod open;
mod outbox;
mod update;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use offhook_protocol::{CloseCode, Closed};
use tokio::time::{Instant, Sleep, sleep};

pub use backoff::Backoff;
pub use open::Open;
use open::Opening;
pub use outbox::ReconnectingSender;
pub use update::Update;

use crate::error::Error;
use crate::message::Message;
use crate::socket::WebSocket;

#[doc = include_str!("reconnecting.md")]
pub struct Reconnecting {
    open: Box<dyn FnMut(u32) -> Opening + Send>,
    retry: Box<dyn FnMut(&Error) -> bool + Send>,
    backoff: Backoff,
    sender: ReconnectingSender,
    phase: Phase,
    /// Attempts since the last stable connection.
    attempt: u32,
}

/// ```text
///           ┌────────────── Pause ◀── Wait ◀──────────────┐
///           ▼                            ▲ failed         │ lost
/// begin ─▶ Start ─▶ Connecting ──────────┴─▶ Opened ─▶ Online
///                       └──────── for good ───────────────┴──▶ Ended
/// ```
enum Phase {
    Start,
    Connecting(Opening),
    /// The user was notified, and may send messages that must precede the queue.
    Opened(WebSocket),
    Online(WebSocket, Instant),
    /// The delay, still to be reported.
    Wait(Duration),
    Pause(Pin<Box<Sleep>>),
    Ended,
}

impl Reconnecting {
    /// Connects with `open`: a [`Connect`](crate::Connect), or a function that is called for each
    /// attempt and can first obtain a fresh token or choose another server.
    ///
    /// Nothing happens until [`recv`](Self::recv) or [`next`](Self::next) is called.
    pub fn to(mut open: impl Open + Send + 'static) -> Self {
        Self {
            open: Box::new(move |attempt| Box::pin(open.open(attempt))),
            retry: Box::new(Error::is_retryable),
            backoff: Backoff::default(),
            sender: ReconnectingSender::new(),
            phase: Phase::Start,
            attempt: 0,
        }
    }

    /// Sets the delays between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Limits how many bytes of messages are kept while disconnected. Default: 1 MiB.
    #[must_use]
    pub fn queue(self, bytes: usize) -> Self {
        self.sender.set_limit(bytes);
        self
    }

    /// Decides which failures are followed by another attempt, replacing
    /// [`is_retryable`](Error::is_retryable). A connection closed by either side is reported as
    /// [`Error::Closed`] with its code.
    #[must_use]
    pub fn retry_if(mut self, retry: impl FnMut(&Error) -> bool + Send + 'static) -> Self {
        self.retry = Box::new(retry);
        self
    }

    /// Receives the next message, reconnecting as often as necessary. `None` once it was closed
    /// permanently: by [`close`](Self::close), or by the server with 1000. Cancel-safe.
    ///
    /// # Errors
    /// Returned once, with the reason, when it gives up.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        loop {
            match self.next().await {
                Some(Update::Message(message)) => return Ok(Some(message)),
                Some(Update::GivenUp { cause, .. }) => {
                    if cause.close_code() != Some(CloseCode::NORMAL) {
                        return Err(cause);
                    }
                }
                Some(
                    Update::Connecting { .. }
                    | Update::Open(_)
                    | Update::Failed { .. }
                    | Update::Lost { .. }
                    | Update::Waiting { .. },
                ) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next message or change of the connection. `None` once it was closed or has given up.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Update> {
        poll_fn(|cx| self.poll_update(cx)).await
    }

    /// [`next`](Self::next) as a poll function, for hand-written futures. The implementation of
    /// [`Stream`](futures_core::Stream) uses it.
    pub fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        loop {
            match &mut self.phase {
                Phase::Start => return Poll::Ready(Some(self.connect())),
                Phase::Connecting(opening) => {
                    let opened = ready!(opening.as_mut().poll(cx));
                    return Poll::Ready(Some(self.opened(opened)));
                }
                Phase::Opened(_) => self.go_online(),
                Phase::Online(socket, _) => {
                    let ended = match ready!(socket.poll_recv(cx)) {
                        Ok(Some(message)) => return Poll::Ready(Some(Update::Message(message))),
                        Ok(None) => socket
                            .closed()
                            .map_or(Error::Closing, |closed| Error::Closed(Box::new(closed))),
                        Err(error) => error,
                    };
                    return Poll::Ready(Some(self.lost(ended)));
                }
                Phase::Wait(delay) => {
                    let delay = *delay;
                    self.phase = Phase::Pause(Box::pin(sleep(delay)));
                    return Poll::Ready(Some(Update::Waiting { delay }));
                }
                Phase::Pause(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.phase = Phase::Start;
                }
                Phase::Ended => return Poll::Ready(None),
            }
        }
    }

    /// Sends a message over the connection, or queues it for the next one; see
    /// [`ReconnectingSender::send`].
    ///
    /// # Errors
    /// As [`ReconnectingSender::send`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.sender.send(message).await
    }

    /// A handle to send with, from any task.
    #[must_use]
    pub fn sender(&self) -> ReconnectingSender {
        self.sender.clone()
    }

    /// Closes permanently. If there is a connection, queued messages are sent first, and the
    /// closing handshake is completed. Without a connection it returns at once.
    ///
    /// # Errors
    /// As [`WebSocket::close`]. It is closed permanently even then, unless the code or the reason
    /// cannot be sent.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<Option<Closed>, Error> {
        if let Phase::Opened(_) = self.phase {
            self.go_online();
        }
        if let Phase::Online(socket, _) = &mut self.phase {
            socket.sender().close(code, reason)?;
            self.sender.end();
            let closed = socket.close(code, reason).await;
            self.phase = Phase::Ended;
            return closed.map(Some);
        }
        self.sender.end();
        self.phase = Phase::Ended;
        Ok(None)
    }

    fn connect(&mut self) -> Update {
        self.attempt = self.attempt.saturating_add(1);
        self.phase = Phase::Connecting((self.open)(self.attempt));
        Update::Connecting {
            attempt: self.attempt,
        }
    }

    fn opened(&mut self, opened: Result<WebSocket, Error>) -> Update {
        match opened {
            Ok(socket) => {
                let sender = socket.sender();
                self.phase = Phase::Opened(socket);
                Update::Open(sender)
            }
            Err(cause) if self.may_retry(&cause) => {
                self.phase = Phase::Wait(self.backoff.delay(self.attempt, &cause));
                Update::Failed { cause }
            }
            Err(cause) => self.give_up(cause, 0),
        }
    }

    /// Moves from [`Phase::Opened`] to [`Phase::Online`].
    fn go_online(&mut self) {
        if let Phase::Opened(socket) = std::mem::replace(&mut self.phase, Phase::Ended) {
            self.sender.arrive(socket.sender());
            self.phase = Phase::Online(socket, Instant::now());
        }
    }

    fn lost(&mut self, cause: Error) -> Update {
        let (mut unsent, mut open_for) = (0, Duration::ZERO);
        if let Phase::Online(socket, since) = &self.phase {
            unsent = socket.unsent();
            open_for = since.elapsed();
        }
        self.sender.go_away();
        if open_for >= self.backoff.stable_after {
            self.attempt = 0;
        }
        if !self.may_retry(&cause) {
            return self.give_up(cause, unsent);
        }
        self.phase = Phase::Wait(self.backoff.delay(self.attempt, &cause));
        Update::Lost { cause, unsent }
    }

    fn may_retry(&mut self, cause: &Error) -> bool {
        let spent = |most: u32| self.attempt >= most;
        // A close that was started and not awaited is also permanent.
        let over = self.backoff.attempts.is_some_and(spent) || self.sender.has_ended();
        !over && (self.retry)(cause)
    }

    fn give_up(&mut self, cause: Error, unsent: usize) -> Update {
        self.phase = Phase::Ended;
        self.sender.end();
        Update::GivenUp { cause, unsent }
    }
}

impl futures_core::Stream for Reconnecting {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        self.poll_update(cx)
    }
}

impl Drop for Reconnecting {
    /// Senders get an error from now on.
    fn drop(&mut self) {
        self.sender.end();
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Start | Phase::Connecting(_) => "connecting",
            Phase::Opened(_) | Phase::Online(..) => "open",
            Phase::Wait(_) | Phase::Pause(_) => "waiting",
            Phase::Ended => "ended",
        };
        f.debug_struct("Reconnecting")
            .field("phase", &phase)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
