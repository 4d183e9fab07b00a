//! A receiver's turn: take messages out of what was read, write what was queued, read on.

use std::io;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use offhook_protocol::{Connection, Event};
use tokio::io::ReadBuf;

use super::take::{Batch, Each, Take, Turn};
use super::{Driver, Fault, Ready, State, buffers, now};
use crate::error::Error;

impl Driver {
    /// Gives events to `take` until it makes something of one, or the connection has ended:
    /// `None` if it was closed, an error, once, if it was lost or failed.
    ///
    /// Events are what lies in the read buffer; when there is none left, all that was queued in
    /// the meantime is written at once, and only then more is read.
    #[inline]
    pub(crate) fn poll_turn<R>(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        turn: Turn,
        mut take: impl FnMut(Event<'_>, &mut Connection) -> Option<R>,
    ) -> Poll<Result<Option<R>, Error>> {
        self.poll_take(cx, turn, &mut Each(&mut take))
    }

    /// Puts the messages of one read into `ready`, up to [`BATCH`](super::take::BATCH) of them, so
    /// that all but the first cost no turn of their own. `false` once the connection is closed.
    #[inline(never)]
    pub(crate) fn poll_batch(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        ready: &mut Ready,
    ) -> Poll<Result<bool, Error>> {
        let taken = self.poll_take(cx, Turn::WHOLE, &mut Batch::new(ready));
        ready.rest();
        taken.map_ok(|taken| taken.is_some())
    }

    #[inline]
    fn poll_take<T: Take>(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        turn: Turn,
        take: &mut T,
    ) -> Poll<Result<Option<T::Taken>, Error>> {
        let mut state = self.lock();
        state.connection.set_receive_mode(turn.mode);
        state.parked = false;
        loop {
            if let Some(taken) = state.take_events(take) {
                if !state.connection.has_output() {
                    state.give_buffer_back();
                }
                // The user may not come back for long, and the peer waits for its pong.
                self.call();
                return Poll::Ready(Ok(Some(taken)));
            }
            if state.connection.has_output() || state.unflushed {
                self.flush(&mut state);
                if state.waiting.is_some() {
                    state.take_waiting().into_iter().for_each(Waker::wake);
                }
            }
            if state.connection.wants_disconnect() {
                state.disconnect();
            }
            if state.transport.is_none() {
                state.take_all_waiting().into_iter().for_each(Waker::wake);
                return Poll::Ready(state.outcome());
            }
            if turn.replies && state.is_full() && state.broken.is_none() {
                state.wait(cx.waker());
                return Poll::Pending;
            }
            match state.poll_fill(cx) {
                Poll::Ready(Ok(true)) if turn.replies => {
                    state.connection.lend_with(buffers::take_write);
                }
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => state.lose(None),
                Poll::Ready(Err(error)) => state.lose(Some(error)),
                Poll::Pending => {
                    state.give_buffer_back();
                    state.parked = true;
                    if !state
                        .reader
                        .as_ref()
                        .is_some_and(|known| known.will_wake(cx.waker()))
                    {
                        state.reader = Some(cx.waker().clone());
                    }
                    if state.closing_needs_timer() {
                        self.set_timer(&mut state);
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl State {
    /// Gives the events that lie in the read buffer to `take`.
    #[inline]
    fn take_events<T: Take>(&mut self, take: &mut T) -> Option<T::Taken> {
        if mem::take(&mut self.read_payload) {
            return self.take_payload(take);
        }
        let mut buffer = self.inbox.take()?;
        let mut input = buffer.input();
        let used_up;
        let taken = loop {
            if take.has_some() && !self.connection.message_comes_next(&input) {
                used_up = input.is_empty();
                break take.end();
            }
            match self.connection.receive(&mut input) {
                Ok(Some(event)) => {
                    let is_message = matches!(event, Event::Message(_));
                    if !is_message {
                        self.note(&event);
                    }
                    if let Some(taken) = take.event(event, &mut self.connection) {
                        used_up = is_message && input.is_empty();
                        break Some(taken);
                    }
                }
                Ok(None) => {
                    used_up = true;
                    break take.end();
                }
                Err(error) => {
                    self.fault = Some(Box::new(Fault::Peer(error)));
                }
            }
        };
        let left = input.len();
        if taken.is_some() && !used_up {
            // A chunk may be followed by another even if no byte is left; the next turn finds out.
            buffer.leave(left);
            self.inbox = Some(buffer);
        } else {
            buffers::give_read(buffer);
        }
        taken
    }

    /// Gives the message that a read straight into it has made whole to `take`.
    fn take_payload<T: Take>(&mut self, take: &mut T) -> Option<T::Taken> {
        match self.connection.payload_read(now()) {
            Ok(Some(event)) => take
                .event(event, &mut self.connection)
                .or_else(|| take.end()),
            Ok(None) => None,
            Err(error) => {
                self.fault = Some(Box::new(Fault::Peer(error)));
                None
            }
        }
    }

    /// Reads once. `false` at the end of the stream.
    #[inline]
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(transport) = &mut self.transport else {
            return Poll::Ready(Ok(false));
        };
        if let Some(mut room) = self.connection.payload_room() {
            let read = transport.poll_read_into(cx, &mut room);
            self.read_payload = matches!(read, Poll::Ready(Ok(1..)));
            return read.map_ok(|count| count > 0);
        }
        let mut buffer = buffers::take_read();
        let mut read = ReadBuf::new(&mut buffer);
        let result = transport.poll_read(cx, &mut read);
        let len = read.filled().len();
        if let Poll::Ready(Ok(())) = result
            && len > 0
        {
            buffer.filled(len);
            self.inbox = Some(buffer);
            return Poll::Ready(Ok(true));
        }
        buffers::give_read(buffer);
        result.map(|result| result.map(|()| false))
    }

    /// Whether a closing handshake is under way, whose deadline must be kept.
    fn closing_needs_timer(&self) -> bool {
        self.connection.ready_state() == offhook_protocol::ReadyState::Closing
    }
}
