//! A receiver's turn: take messages out of what was read, write what was queued, read on.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use offhook_protocol::{ClosedBy, Connection, Event, ReceiveMode};
use tokio::io::ReadBuf;

use super::{Fault, Line, State, buffers, now};
use crate::Transport;
use crate::error::Error;
use crate::message::Message;

/// How many slices one vectored write takes: headers and payloads of eight long messages.
const SLICES: usize = 16;

/// What is read and thrown away after a failure, so that the peer gets our Close frame and not a
/// reset: at most this many bytes, for at most this long. 16 MiB: a peer whose message was too big
/// is often in the middle of writing it, and some never read again once a write has failed.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// What a turn is for.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// How messages are taken.
    mode: ReceiveMode,
    /// Whether what is taken is answered within the turn: then no more is read while too much is
    /// unsent.
    replies: bool,
}

impl Turn {
    /// For whole messages.
    pub(crate) const WHOLE: Self = Self {
        mode: ReceiveMode::Whole,
        replies: false,
    };
    /// For messages piece by piece.
    pub(crate) const CHUNKS: Self = Self {
        mode: ReceiveMode::Chunks,
        replies: false,
    };
    /// For whole messages, answered on the spot.
    pub(crate) const REPLIES: Self = Self {
        mode: ReceiveMode::Whole,
        replies: true,
    };
}

/// What takes the events of a turn.
trait Take {
    type Taken;

    /// Makes something of an event that ends the turn, or nothing yet.
    fn event(&mut self, event: Event<'_>, connection: &mut Connection) -> Option<Self::Taken>;

    /// Whether something waits to be given at the [`end`](Self::end).
    fn has_some(&self) -> bool;

    /// What was made of the events of one read.
    fn end(&mut self) -> Option<Self::Taken>;
}

/// One event at a time.
struct Each<'a, F>(&'a mut F);

impl<R, F: FnMut(Event<'_>, &mut Connection) -> Option<R>> Take for Each<'_, F> {
    type Taken = R;

    #[inline]
    fn event(&mut self, event: Event<'_>, connection: &mut Connection) -> Option<R> {
        (self.0)(event, connection)
    }

    fn has_some(&self) -> bool {
        false
    }

    fn end(&mut self) -> Option<R> {
        None
    }
}

/// The messages of one read. What follows them and is no message, a Close or a breach of the
/// protocol, waits: they are to be answered first.
struct Batch<'a> {
    first: Option<Message>,
    rest: &'a mut VecDeque<Message>,
    bytes: usize,
}

/// How many messages are taken ahead of the user. 64: enough to make a turn cheap, and few enough
/// that what was read is not held twice.
const BATCH: usize = 64;

/// How many bytes are taken ahead. As many as one read brings: more is there only where it was
/// compressed, and then it would be as many messages of the longest kind.
const BATCH_BYTES: usize = buffers::READ;

impl Take for Batch<'_> {
    type Taken = Message;

    #[inline]
    fn event(&mut self, event: Event<'_>, _: &mut Connection) -> Option<Message> {
        // A chunk is what is left of a message whose reader was dropped.
        let Event::Message(message) = event else {
            return None;
        };
        self.bytes += message.as_bytes().len();
        if self.first.is_none() {
            self.first = Some(message.into());
        } else {
            self.rest.push_back(message.into());
        }
        if self.rest.len() < BATCH && self.bytes < BATCH_BYTES {
            None
        } else {
            self.first.take()
        }
    }

    #[inline]
    fn has_some(&self) -> bool {
        self.first.is_some()
    }

    #[inline]
    fn end(&mut self) -> Option<Message> {
        self.first.take()
    }
}

impl Line {
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

    /// Takes the messages of one read, up to [`BATCH`] of them: gives the first, and puts the
    /// others into `rest`, so that they cost no turn of their own.
    #[inline]
    pub(crate) fn poll_batch(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        rest: &mut VecDeque<Message>,
    ) -> Poll<Result<Option<Message>, Error>> {
        self.poll_take(
            cx,
            Turn::WHOLE,
            &mut Batch {
                first: None,
                rest,
                bytes: 0,
            },
        )
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
        loop {
            if let Some(taken) = state.take_events(take) {
                if state.connection.has_output() {
                    // The user may not come back for long, and the peer waits for its pong.
                    self.call();
                } else {
                    state.give_buffer_back();
                }
                return Poll::Ready(Ok(Some(taken)));
            }
            if state.connection.has_output() || state.unflushed {
                self.flush(&mut state);
                if !state.waiting.is_empty() {
                    state.take_waiting().into_iter().for_each(Waker::wake);
                }
            }
            if state.connection.wants_disconnect() {
                state.disconnect();
            }
            if state.transport.is_none() {
                mem::take(&mut state.waiting)
                    .into_iter()
                    .for_each(Waker::wake);
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

    /// Writes as much as the transport takes; the rest when it takes more.
    pub(crate) fn flush(self: &Arc<Self>, state: &mut State) {
        let State {
            connection,
            transport,
            unflushed,
            broken,
            ..
        } = state;
        let Some(transport) = transport.as_mut().filter(|_| broken.is_none()) else {
            return;
        };
        let result = loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = connection.transmit(&mut slices);
            let slices = slices.get(..filled).unwrap_or_default();
            if slices.is_empty() {
                break Ok(());
            }
            match self.write(transport, slices) {
                Poll::Ready(Ok(0)) => break Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => connection.transmitted(written),
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Pending => return,
            }
            *unflushed = matches!(transport, Transport::Boxed(_));
        };
        state.give_buffer_back();
        let result = match result {
            Ok(()) if state.unflushed => self.flush_below(state),
            result => result,
        };
        if let Err(error) = result {
            state.break_down(error);
        }
    }

    /// Ends the connection at once, and wakes everybody who waits on it.
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        state.lose(Some(io::ErrorKind::ConnectionAborted.into()));
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    #[inline]
    fn write(
        self: &Arc<Self>,
        transport: &mut Transport,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match transport.try_write(slices) {
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Some(result) => return Poll::Ready(result),
            None => {}
        }
        let waker = Waker::from(Arc::clone(self));
        transport.poll_write(&mut Context::from_waker(&waker), slices)
    }

    /// Flushes what a layer below us holds back.
    fn flush_below(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let Some(transport) = &mut state.transport else {
            return Ok(());
        };
        let waker = Waker::from(Arc::clone(self));
        match transport.poll_flush(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => {
                state.unflushed = false;
                result
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl State {
    /// Gives the events that lie in the read buffer to `take`.
    #[inline]
    fn take_events<T: Take>(&mut self, take: &mut T) -> Option<T::Taken> {
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
                    self.note(&event);
                    let is_message = matches!(event, Event::Message(_));
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

    /// Gives the output buffer back to the thread, if nothing is in it.
    #[inline]
    pub(super) fn give_buffer_back(&mut self) {
        if let Some(buffer) = self.connection.reclaim() {
            buffers::give_write(buffer);
        }
    }

    /// Reads once. `false` at the end of the stream.
    #[inline]
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(transport) = &mut self.transport else {
            return Poll::Ready(Ok(false));
        };
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

    /// Notes that nothing can be written any more. What the peer said before it went can still be
    /// read, so that its Close is not lost over our last write.
    fn break_down(&mut self, error: io::Error) {
        self.broken = Some(Box::new(error));
        // There is no room any more, for anything.
        self.high_water = 0;
        self.take_wakers().into_iter().for_each(Waker::wake);
    }

    /// Notes that the transport has ended by itself.
    fn lose(&mut self, error: Option<io::Error>) {
        self.transport = None;
        self.note_unsent();
        self.connection.handle_transport_closed(now());
        let closed = self.connection.closed();
        if closed.is_some_and(|closed| closed.by == ClosedBy::Lost) {
            let error = self.broken.take().map(|error| *error).or(error);
            let error = error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            self.fault
                .get_or_insert_with(|| Box::new(Fault::Lost(error)));
        }
    }

    /// Closes the transport: everything was said.
    pub(super) fn disconnect(&mut self) {
        let Some(mut transport) = self.transport.take() else {
            return;
        };
        self.note_unsent();
        self.connection.handle_transport_closed(now());
        let failed = self
            .connection
            .closed()
            .is_some_and(|closed| closed.error.is_some());
        let shut = transport.poll_shutdown(&mut Context::from_waker(Waker::noop()));
        if failed || shut.is_pending() {
            // Outside a runtime, where a connection may be dropped, nobody can linger.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(linger(transport));
            }
        }
    }

    /// Closes without waiting for anybody: the user has let go of the connection.
    pub(crate) fn let_go(&mut self) {
        if self.transport.is_none() {
            return;
        }
        let code = offhook_protocol::CloseCode::GOING_AWAY;
        // It may be closing already: then that stands.
        let _closing = self.connection.close(code, "", now());
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = self.connection.transmit(&mut slices);
        let slices = slices.get(..filled).unwrap_or_default();
        if let Some(transport) = &mut self.transport
            && !slices.is_empty()
        {
            let mut cx = Context::from_waker(Waker::noop());
            // Nobody is left to tell if it fails.
            let _written = transport.poll_write(&mut cx, slices);
            let _flushed = transport.poll_flush(&mut cx);
        }
        self.disconnect();
    }

    /// How it ended, as the receiver is told: an error once, then nothing.
    fn outcome<R>(&mut self) -> Result<Option<R>, Error> {
        match self.fault.take().map(|fault| *fault) {
            None => Ok(None),
            Some(Fault::Peer(error)) => Err(Error::Peer(error)),
            Some(Fault::Lost(error)) => Err(Error::Lost(error)),
        }
    }

    /// Whether a closing handshake is under way, whose deadline must be kept.
    fn closing_needs_timer(&self) -> bool {
        self.connection.ready_state() == offhook_protocol::ReadyState::Closing
    }
}

async fn linger(mut transport: Transport) {
    let drain = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        if std::future::poll_fn(|cx| transport.poll_shutdown(cx))
            .await
            .is_err()
        {
            return;
        }
        while left > 0 {
            let mut read = ReadBuf::new(&mut buffer);
            let result = std::future::poll_fn(|cx| transport.poll_read(cx, &mut read)).await;
            let len = read.filled().len();
            if result.is_err() || len == 0 {
                return;
            }
            left = left.saturating_sub(len);
        }
    };
    // Whether it ended or ran out of time: it has had its chance.
    let _ended = tokio::time::timeout(LINGER, drain).await;
}
