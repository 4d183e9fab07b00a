//! A receiver's turn: take messages out of the read buffer, write queued output, read more.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use offhook_protocol::halves::Inbound;
use offhook_protocol::{Event, ReadyState};
use tokio::io::ReadBuf;

use super::idle::AHEAD;
use super::take::{Batch, Each, Take, Turn};
use super::{Driver, Fault, Locked, Ready, Receiver, State, Unread, buffers, now};
use crate::Transport;
use crate::error::Error;

/// A future that takes turns at receiving. If it is dropped while it waits, it informs the driver,
/// and the flush task handles input from then on.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Turns<'d, F> {
    driver: &'d Arc<Driver>,
    poll: F,
    waits: bool,
}

impl<'d, F> Turns<'d, F> {
    pub(crate) const fn new<T>(driver: &'d Arc<Driver>, poll: F) -> Self
    where
        F: FnMut(&mut Context<'_>) -> Poll<T>,
    {
        Self {
            driver,
            poll,
            waits: false,
        }
    }
}

/// No field is pinned.
impl<F> Unpin for Turns<'_, F> {}

impl<T, F: FnMut(&mut Context<'_>) -> Poll<T>> Future for Turns<'_, F> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let polled = (self.poll)(cx);
        self.waits = polled.is_pending();
        polled
    }
}

impl<F> Drop for Turns<'_, F> {
    #[inline]
    fn drop(&mut self) {
        if self.waits {
            self.driver.stop_waiting();
        }
    }
}

impl Driver {
    /// Passes events to `take` until it returns a value, or the connection has ended: `None` if it
    /// was closed; an error, once, if it was lost or failed.
    ///
    /// Takes events from the read buffer. When it is used up, all output queued in the meantime is
    /// written at once, and only then is more read.
    #[inline]
    pub(crate) fn poll_turn<R>(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        turn: Turn,
        mut take: impl FnMut(Event<'_>) -> Option<R>,
    ) -> Poll<Result<Option<R>, Error>> {
        self.poll_receive(cx, turn, |state| state.take_events(&mut Each(&mut take)))
    }

    /// Moves the messages of one read into `ready`, up to [`BATCH`](super::take::BATCH), so that
    /// all but the first need no turn of their own. `false` once the connection is closed.
    #[inline(never)]
    pub(crate) fn poll_batch(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        turn: Turn,
        ready: &mut Ready,
    ) -> Poll<Result<bool, Error>> {
        let taken = self.poll_receive(cx, turn, |state| state.take_events(&mut Batch::new(ready)));
        ready.rest();
        taken.map_ok(|taken| taken.is_some())
    }

    /// Takes turns until `take` returns a value.
    #[inline]
    pub(super) fn poll_receive<R>(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        turn: Turn,
        mut take: impl FnMut(&mut Locked<'_>) -> Option<R>,
    ) -> Poll<Result<Option<R>, Error>> {
        let mut state = self.lock();
        if let Some(inbound) = &mut state.inbound {
            inbound.set_receive_mode(turn.mode);
        }
        if state.receiver == Receiver::Away {
            state.habit.come_back();
        }
        state.receiver = Receiver::Away;
        loop {
            if let Some(taken) = take(&mut state) {
                if !state.outbound.has_output() {
                    state.give_buffer_back();
                }
                // With replies, the messages are handled now, and another turn follows.
                if !turn.replies {
                    self.attend(&mut state);
                }
                return Poll::Ready(Ok(Some(taken)));
            }
            if state.has_output() {
                self.flush(&mut state);
                state.wake_waiters();
            }
            if state.outbound.wants_disconnect() {
                state.disconnect();
            }
            if state.transport.is_none() {
                state.wake_waiters();
                return Poll::Ready(state.outcome());
            }
            // Once the connection closes nothing is replied any more.
            if turn.replies && state.is_full() && state.is_open() && !state.is_broken() {
                state.wait(|waiters| &mut waiters.room, cx.waker());
                self.call();
                return Poll::Pending;
            }
            match self.poll_read(&mut state, cx, turn) {
                Poll::Ready(Ok(0)) => state.lose(None),
                Poll::Ready(Ok(count)) => {
                    if let Some(observer) = &self.observer {
                        observer.read(count);
                    }
                }
                Poll::Ready(Err(error)) => state.lose(Some(error)),
                Poll::Pending => {
                    self.park(&mut state, cx, turn);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads once, and returns the number of bytes; 0 at the end of the stream.
    #[inline]
    fn poll_read(
        self: &Arc<Self>,
        state: &mut Locked<'_>,
        cx: &mut Context<'_>,
        turn: Turn,
    ) -> Poll<io::Result<usize>> {
        if !turn.watched {
            return state.poll_read(cx);
        }
        // Uses the budget of the reader's own task, although the transport wakes another one.
        let Poll::Ready(_budget) = tokio::task::coop::poll_proceed(cx) else {
            return Poll::Pending;
        };
        let waker = Waker::from(Arc::clone(self));
        state.poll_fill(&mut Context::from_waker(&waker))
    }

    /// Leaves a receiver waiting.
    #[inline]
    fn park(self: &Arc<Self>, state: &mut Locked<'_>, cx: &Context<'_>, turn: Turn) {
        state.give_buffer_back();
        state.receiver = if turn.watched {
            Receiver::Watched
        } else {
            Receiver::Waiting
        };
        state.note_reader(cx.waker());
        // A closing handshake in progress has a deadline. After a pong, the next ping is due after the
        // keepalive interval, which may be earlier than the deadline for that pong was.
        let is_answered = mem::take(&mut state.answered);
        if is_answered || state.outbound.ready_state() == ReadyState::Closing {
            self.set_timer(state);
        }
    }
}

impl Locked<'_> {
    /// Notes who waits for a message.
    #[inline]
    fn note_reader(&mut self, waker: &Waker) {
        let Self { state, later, .. } = self;
        if matches!(state.transport, Some(Transport::Boxed(..))) {
            state.reader.wait_on_stream(waker, later);
        } else {
            state.reader.wait_on_socket(waker, later);
        }
    }

    /// Reads once, for the task that is polled, and returns the number of bytes; 0 at the end of
    /// the stream.
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { state, later, .. } = self;
        if !matches!(state.transport, Some(Transport::Boxed(..))) {
            return state.poll_fill(cx);
        }
        let waker = state.reader.wait_on_stream(cx.waker(), later);
        state.poll_fill(&mut Context::from_waker(&waker))
    }

    /// Passes the events that were read to `take`.
    #[inline]
    pub(super) fn take_events<T: Take>(&mut self, take: &mut T) -> Option<T::Taken> {
        let mut buffer = match mem::replace(&mut self.state.unread, Unread::Nothing) {
            Unread::Nothing => return None,
            Unread::Payload => return self.take_payload(take),
            Unread::Bytes(buffer) => buffer,
        };
        // It is leased only within one poll of the receiver, and this is that receiver.
        let mut inbound = self.state.inbound.take()?;
        if self.outbound.is_over() {
            inbound.end();
        }
        let mut input = buffer.input();
        let used_up;
        let mut messages = 0;
        let taken = loop {
            if take.has_some() && !inbound.message_comes_next(&input) {
                used_up = input.is_empty();
                break take.end();
            }
            match inbound.receive(&mut input) {
                Ok(Some(Event::Message(message))) => {
                    messages += 1;
                    if let Some(taken) = take.event(Event::Message(message)) {
                        used_up = input.is_empty();
                        break Some(taken);
                    }
                }
                Ok(None) => {
                    used_up = true;
                    break take.end();
                }
                mut other => {
                    self.react(&mut other, input.at());
                    if let (Ok(Some(event)), Some(observer)) = (&other, self.told.observer) {
                        observer.received(event);
                    }
                    if let Ok(Some(event)) = other
                        && let Some(taken) = take.event(event)
                    {
                        used_up = false;
                        break Some(taken);
                    }
                }
            }
        };
        let left = input.len();
        if let Some(observer) = self.told.observer {
            observer.received_messages(messages);
        }
        if taken.is_some() {
            self.state.habit.hand_out(used_up && messages == 1);
        }
        self.put_back(inbound, taken.is_some());
        if taken.is_some() && !used_up {
            // A chunk may follow even if no byte is left; the next turn finds out.
            buffer.leave(left);
            self.state.unread = Unread::Bytes(buffer);
        } else {
            buffers::give_read(buffer);
        }
        taken
    }

    /// Passes the message completed by a read directly into it to `take`.
    #[cold]
    fn take_payload<T: Take>(&mut self, take: &mut T) -> Option<T::Taken> {
        let mut received = self.state.inbound.as_mut()?.payload_read();
        self.outbound.received();
        self.react(&mut received, now());
        let event = received.ok()??;
        if let Some(observer) = self.told.observer {
            observer.received(&event);
        }
        take.event(event).or_else(|| take.end())
    }

    /// Handles an event that is not a message, or an error.
    #[cold]
    pub(super) fn react(
        &mut self,
        received: &mut Result<Option<Event<'_>>, offhook_protocol::Error>,
        at: std::time::Instant,
    ) {
        self.outbound.react(received, at);
        match received {
            Ok(Some(event)) => self.note(event),
            Ok(None) => {}
            Err(error) => self.state.fault = Some(Box::new(Fault::Peer(error.clone()))),
        }
    }
}

impl State {
    /// Puts the receiving half back after taking events.
    #[inline]
    pub(super) fn put_back(&mut self, mut inbound: Inbound, taken: bool) {
        if inbound.take_progress() || taken {
            self.outbound.received();
        }
        self.inbound = Some(inbound);
    }

    /// Reads once, and returns the number of bytes; 0 at the end of the stream.
    #[inline]
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (Some(transport), Some(inbound)) = (&mut self.transport, &mut self.inbound) else {
            return Poll::Ready(Ok(0));
        };
        if let Some(mut room) = inbound.payload_room() {
            let read = transport.poll_read_into(cx, &mut room);
            if matches!(read, Poll::Ready(Ok(1..))) {
                self.unread = Unread::Payload;
                self.after_long = true;
                self.outbound.heard(now());
            }
            return read;
        }
        let mut buffer = buffers::take_read();
        let mut read = if self.after_long && inbound.is_between_messages() {
            // The next message may be as long: the part of it in this read is copied, and the rest
            // is read directly into it.
            self.after_long = false;
            ReadBuf::new(buffer.get_mut(..AHEAD).unwrap_or_default())
        } else {
            ReadBuf::new(&mut buffer)
        };
        let result = transport.poll_read(cx, &mut read);
        let len = read.filled().len();
        if let Poll::Ready(Ok(())) = result
            && len > 0
        {
            self.outbound.heard(buffer.filled(len));
            self.unread = Unread::Bytes(buffer);
            return Poll::Ready(Ok(len));
        }
        buffers::give_read(buffer);
        result.map(|result| result.map(|()| 0))
    }
}
