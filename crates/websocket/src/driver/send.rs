//! A sender's turn: queue, and wait only when too much is unsent.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use offhook_protocol::halves::{self, Outbound};
use offhook_protocol::{Outgoing, ReadyState, SendError, Sendable};

use super::{Driver, Locked, Receiver, State, buffers, now};
use crate::error::Error;

/// Sends one message.
///
/// Not an `async fn`: the message is sent from this future's own storage, without being moved
/// again.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Sending<'l, 'a, M> {
    driver: &'l Arc<Driver>,
    message: SendState<'a, M>,
}

enum SendState<'a, M> {
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
            message: SendState::Given(message),
        }
    }
}

/// No field is pinned.
impl<M> Unpin for Sending<'_, '_, M> {}

impl<'a, M: Sendable<'a>> Future for Sending<'_, 'a, M> {
    type Output = Result<(), Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let SendState::Given(message) = &self.message
            && self.driver.send_at_once(message)
        {
            self.message = SendState::Sent;
            return Poll::Ready(Ok(()));
        }
        self.poll_with_room(cx)
    }
}

impl<'a, M: Sendable<'a>> Sending<'_, 'a, M> {
    #[cold]
    fn poll_with_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut message = match mem::replace(&mut self.message, SendState::Sent) {
            SendState::Given(message) => Some(message.into()),
            SendState::Waiting(message) => Some(message),
            SendState::Sent => None,
        };
        let sent = self.driver.poll_send(cx, |outbound| match message.take() {
            Some(message) => outbound.send(message),
            None => Ok(()),
        });
        if sent.is_pending() {
            self.message = message.map_or(SendState::Sent, SendState::Waiting);
        }
        sent
    }
}

impl Driver {
    /// Queues a message if it is short, no wait is needed and nothing fails.
    #[inline]
    fn send_at_once<'a>(self: &Arc<Self>, message: &impl Sendable<'a>) -> bool {
        let mut state = self.lock();
        if state.streaming || state.is_full() {
            return false;
        }
        halves::lend_with(&mut state.outbound, buffers::take_write);
        let sent = state
            .outbound
            .send_short(message.kind(), message.as_bytes());
        if sent != Ok(true) {
            return false;
        }
        if state.habit.reply() {
            self.flush(&mut state);
            state.wake_waiters();
            if !state.has_output() && !state.is_broken() {
                return true;
            }
        }
        self.call();
        true
    }

    /// Calls `queue` as soon as less than the high-water mark is unsent. The output is written when
    /// the receiver has no more messages to hand out, or when the runtime runs the flush task.
    #[inline]
    pub(crate) fn poll_send(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        queue: impl FnOnce(&mut Outbound) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if state.streaming && state.is_open() {
            state.wait(|waiters| &mut waiters.stream, cx.waker());
            return Poll::Pending;
        }
        self.poll_queue(&mut state, cx, queue)
    }

    /// Queues a piece of a message that is written piece by piece.
    pub(crate) fn poll_piece(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        queue: impl FnOnce(&mut Outbound) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        // Output that waits for this message to end cannot leave before it does.
        let behind = state.outbound.amount_behind_stream();
        if behind > 0 && !state.is_broken() {
            ready!(poll_budget(cx));
            self.flush(&mut state);
            let before = state.outbound.buffered_amount().saturating_sub(behind);
            if before >= state.high_water as usize && state.is_open() {
                state.wait(|waiters| &mut waiters.room, cx.waker());
                return Poll::Pending;
            }
            return Poll::Ready(self.queue(&mut state, queue));
        }
        self.poll_queue(&mut state, cx, queue)
    }

    /// Makes all other senders wait until the message is finished.
    pub(crate) fn poll_begin_stream(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if !state.is_open() {
            return Poll::Ready(Err(state.closed_error()));
        }
        if state.streaming {
            state.wait(|waiters| &mut waiters.stream, cx.waker());
            return Poll::Pending;
        }
        state.streaming = true;
        Poll::Ready(Ok(()))
    }

    /// Lets the other senders continue.
    pub(crate) fn end_stream(&self) {
        let mut state = self.lock();
        state.streaming = false;
        state.wake_waiters();
    }

    #[inline]
    fn poll_queue(
        self: &Arc<Self>,
        state: &mut Locked<'_>,
        cx: &mut Context<'_>,
        queue: impl FnOnce(&mut Outbound) -> Result<(), SendError>,
    ) -> Poll<Result<(), Error>> {
        if state.is_full() {
            ready!(poll_budget(cx));
            self.flush(state);
            if state.is_broken() {
                return Poll::Ready(Err(state.closed_error()));
            }
            if state.is_full() && state.is_open() {
                state.wait(|waiters| &mut waiters.room, cx.waker());
                return Poll::Pending;
            }
        }
        Poll::Ready(self.queue(state, queue))
    }

    /// Queues if that needs no wait.
    pub(crate) fn try_send(
        self: &Arc<Self>,
        queue: impl FnOnce(&mut Outbound) -> Result<(), SendError>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        if state.is_full() {
            self.flush(&mut state);
        }
        if state.is_broken() {
            return Err(state.closed_error());
        }
        if (state.streaming || state.is_full()) && state.is_open() {
            return Err(Error::Full);
        }
        self.queue(&mut state, queue)
    }

    /// Queues without waiting, however much is unsent.
    pub(crate) fn send_now(
        self: &Arc<Self>,
        queue: impl FnOnce(&mut Outbound) -> Result<(), SendError>,
    ) -> Result<(), Error> {
        self.queue(&mut self.lock(), queue)
    }

    #[inline]
    pub(super) fn queue(
        self: &Arc<Self>,
        state: &mut Locked<'_>,
        queue: impl FnOnce(&mut Outbound) -> Result<(), SendError>,
    ) -> Result<(), Error> {
        halves::lend_with(&mut state.outbound, buffers::take_write);
        match queue(&mut state.outbound) {
            Ok(()) => {}
            Err(error) => return Err(state.refused(error)),
        }
        if state.is_full() {
            self.flush(state);
        }
        if state.outbound.has_output() {
            self.call();
        }
        Ok(())
    }

    /// Writes until nothing is unsent.
    pub(crate) fn poll_drained(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if state.has_output() {
            ready!(poll_budget(cx));
            self.flush(&mut state);
        }
        if state.transport.is_none() || state.is_broken() {
            return Poll::Ready(Err(state.closed_error()));
        }
        if state.has_output() {
            state.wait(|waiters| &mut waiters.drained, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Starts the closing handshake.
    pub(crate) fn begin_close(
        self: &Arc<Self>,
        code: offhook_protocol::CloseCode,
        reason: &str,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        state.outbound.close(code, reason, now())?;
        self.flush(&mut state);
        self.set_timer(&mut state);
        if state.receiver == Receiver::Away {
            // A task must receive the peer's answer.
            self.call();
        }
        // The receiver now has a deadline, and perhaps nothing more to wait for; senders that wait
        // for room are too late.
        state.wake_reader();
        state.wake_waiters();
        Ok(())
    }
}

/// How much of a task's budget a sender's turn uses if it is not the fast one. 32 of 128: a task
/// that only sends, to a peer that accepts everything, yields after four send buffers.
const BUDGET: usize = 32;

/// Takes part in tokio's cooperative scheduling, which writing to a socket directly does not.
fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
    for _ in 0..BUDGET {
        ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
    }
    Poll::Ready(())
}

impl State {
    /// The error for a sender whose message was rejected.
    #[cold]
    pub(super) fn refused(&mut self, error: SendError) -> Error {
        self.give_buffer_back();
        if error == SendError::NotOpen {
            self.closed_error()
        } else {
            error.into()
        }
    }

    /// Whether a message could be sent now.
    pub(crate) fn is_open(&self) -> bool {
        self.outbound.ready_state() == ReadyState::Open
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.outbound.buffered_amount() >= self.high_water as usize
    }
}
