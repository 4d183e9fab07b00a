//! A sender's turn: queue, and wait only when too much is unsent.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use offhook_protocol::{Connection, Outgoing, ReadyState, SendError, Sendable};

use super::{Driver, State, buffers, now};
use crate::error::Error;

/// Sends one message.
///
/// Not an `async fn`: the message is sent from where it is put here, and moved no more.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Sending<'l, 'a, M> {
    driver: &'l Arc<Driver>,
    message: Stage<'a, M>,
}

enum Stage<'a, M> {
    Given(M),
    /// It waits for room.
    Waiting(Outgoing<'a>),
    Sent,
}

impl<'l, M> Sending<'l, '_, M> {
    #[inline]
    pub(crate) const fn new(driver: &'l Arc<Driver>, message: M) -> Self {
        Self {
            driver,
            message: Stage::Given(message),
        }
    }
}

/// Nothing is pinned in it.
impl<M> Unpin for Sending<'_, '_, M> {}

impl<'a, M: Sendable<'a>> Future for Sending<'_, 'a, M> {
    type Output = Result<(), Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::Given(message) = &self.message
            && self.driver.send_at_once(message)
        {
            self.message = Stage::Sent;
            return Poll::Ready(Ok(()));
        }
        self.poll_with_room(cx)
    }
}

impl<'a, M: Sendable<'a>> Sending<'_, 'a, M> {
    #[cold]
    fn poll_with_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut message = match mem::replace(&mut self.message, Stage::Sent) {
            Stage::Given(message) => Some(message.into()),
            Stage::Waiting(message) => Some(message),
            Stage::Sent => None,
        };
        let sent = self
            .driver
            .poll_send(cx, |connection| match message.take() {
                Some(message) => connection.send(message),
                None => Ok(()),
            });
        if sent.is_pending() {
            self.message = message.map_or(Stage::Sent, Stage::Waiting);
        }
        sent
    }
}

impl Driver {
    /// Queues a message if it is short, nothing has to be waited for and nothing goes wrong.
    #[inline]
    fn send_at_once<'a>(self: &Arc<Self>, message: &impl Sendable<'a>) -> bool {
        let mut state = self.lock();
        if state.streaming || state.is_full() {
            return false;
        }
        state.connection.lend_with(buffers::take_write);
        let sent = state
            .connection
            .send_short(message.kind(), message.as_bytes());
        if sent != Ok(true) {
            return false;
        }
        self.call();
        true
    }

    /// Queues what `queue` queues, as soon as less than the high-water mark is unsent. It leaves
    /// when the receiver has nothing more to hand out, or when the runtime comes round to the
    /// switchboard.
    #[inline]
    pub(crate) fn poll_send(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        queue: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if state.streaming && state.is_open() {
            state.wait(cx.waker());
            return Poll::Pending;
        }
        self.poll_queue(&mut state, cx, queue)
    }

    /// Queues a piece of the message that is being written piece by piece.
    pub(crate) fn poll_piece(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        queue: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        self.poll_queue(&mut self.lock(), cx, queue)
    }

    /// Makes all others wait until the message is finished.
    pub(crate) fn poll_begin_stream(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if !state.is_open() {
            return Poll::Ready(Err(state.closed_error()));
        }
        if state.streaming {
            state.wait(cx.waker());
            return Poll::Pending;
        }
        state.streaming = true;
        Poll::Ready(Ok(()))
    }

    /// Lets the others go on.
    pub(crate) fn end_stream(&self) {
        let mut state = self.lock();
        state.streaming = false;
        let waiting = state.take_all_waiting();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    #[inline]
    fn poll_queue(
        self: &Arc<Self>,
        state: &mut State,
        cx: &mut Context<'_>,
        queue: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        if state.is_full() {
            self.flush(state);
            if state.broken.is_some() {
                return Poll::Ready(Err(state.closed_error()));
            }
            if state.is_full() && state.is_open() {
                state.wait(cx.waker());
                return Poll::Pending;
            }
        }
        Poll::Ready(self.queue(state, queue))
    }

    /// Queues if that needs no waiting.
    pub(crate) fn try_send(
        self: &Arc<Self>,
        queue: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        if state.is_full() {
            self.flush(&mut state);
        }
        if state.broken.is_some() {
            return Err(state.closed_error());
        }
        if (state.streaming || state.is_full()) && state.is_open() {
            return Err(Error::Full);
        }
        self.queue(&mut state, queue)
    }

    /// Queues without waiting, whatever is unsent.
    pub(crate) fn send_now(
        self: &Arc<Self>,
        queue: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<(), Error> {
        self.queue(&mut self.lock(), queue)
    }

    #[inline]
    pub(super) fn queue(
        self: &Arc<Self>,
        state: &mut State,
        queue: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<(), Error> {
        state.connection.lend_with(buffers::take_write);
        match queue(&mut state.connection) {
            Ok(()) => {}
            Err(error) => return Err(state.refused(error)),
        }
        if state.is_full() {
            self.flush(state);
        }
        if state.connection.has_output() {
            self.call();
        }
        Ok(())
    }

    /// Writes until nothing is unsent.
    pub(crate) fn poll_drained(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        self.flush(&mut state);
        if state.transport.is_none() || state.broken.is_some() {
            return Poll::Ready(Err(state.closed_error()));
        }
        if state.connection.has_output() || state.unflushed {
            state.wait(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Begins the closing handshake.
    pub(crate) fn begin_close(
        self: &Arc<Self>,
        code: offhook_protocol::CloseCode,
        reason: &str,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        state.connection.close(code, reason, now())?;
        self.flush(&mut state);
        self.set_timer(&mut state);
        // The receiver has a deadline now, and perhaps nothing more to wait for; senders that wait
        // for room are too late.
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl State {
    /// What a sender is told whose message was not taken.
    #[cold]
    pub(super) fn refused(&mut self, error: SendError) -> Error {
        self.give_buffer_back();
        if error == SendError::NotOpen {
            self.closed_error()
        } else {
            error.into()
        }
    }

    /// Whether a message could be sent at all.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.ready_state() == ReadyState::Open
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.connection.buffered_amount() >= self.high_water as usize
    }
}
