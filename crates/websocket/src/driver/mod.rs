//! A live connection: the protocol's two halves, the transport below them, and the tasks that wait
//! on them.
//!
//! A [`Driver`] is shared by the [`WebSocket`](crate::WebSocket), its senders and, while there is
//! work for them, the runtime's [flush task and timer](tasks). All work is done in short turns
//! under one lock:
//!
//! - a receiver reads, takes messages out, and writes queued output when it has no more messages to
//!   hand out ([`receive`]);
//! - a sender queues, and writes only above the high-water mark, or if the message is
//!   [probably](habit) the only reply ([`send`]);
//! - a task that [waits](wait) for anything else is woken when its wait may be over;
//! - the flush task writes the remaining output, and the timer enforces every deadline.
//!
//! User code does not run under the lock, with one exception: wakers are woken after it is
//! [released](deferred), a closed transport is dropped then, and a handler of borrowed messages runs
//! on a [lease](lease) of the receiving half. The exception is a stream of the user's that carries
//! the connection. It is polled under the lock, and must not use that connection while it is polled.
//! It may use other connections, as a stream over another WebSocket does.

mod attendance;
mod broadcast;
pub(crate) mod buffers;
mod deferred;
mod ending;
mod flush;
mod habit;
mod idle;
mod lease;
mod observer;
mod ready;
mod receive;
mod send;
mod take;
mod tasks;
mod wait;
mod waiters;
mod wheel;

use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use buffers::ReadBuffer;
use deferred::{Later, LockHeld, Reader};
use habit::Habit;
pub use lease::Replies;
use observer::{Observer, Told};
use offhook_protocol::halves::{Inbound, Outbound};
use offhook_protocol::handshake::Negotiated;
use offhook_protocol::{Closed, Connection, Event, ReadyState};
pub(crate) use ready::Ready;
pub(crate) use receive::Turns;
pub(crate) use send::Sending;
pub(crate) use take::Turn;
use tasks::Tasks;
use waiters::{Waiters, Wakers};

use crate::Transport;
use crate::error::Error;
use crate::settings::Settings;
use crate::socket::Agreement;
use crate::trace::Span;

/// The runtime's clock, which tests can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[derive(Debug)]
pub(crate) struct Driver {
    state: Mutex<State>,
    /// Whether the connection is in the flush task's list.
    called: AtomicBool,
    tasks: Arc<Tasks>,
    agreement: Option<Box<Agreement>>,
    /// `None` if there is neither a `Metrics` nor a subscriber for this connection.
    observer: Option<Box<Observer>>,
}

#[derive(Debug)]
pub(crate) struct State {
    /// `None` while it is [leased](lease) to a handler.
    inbound: Option<Inbound>,
    pub(crate) outbound: Outbound,
    /// `None` once it is closed.
    transport: Option<Transport>,
    unread: Unread,
    receiver: Receiver,
    reader: Reader,
    habit: Habit,
    waiters: Option<Box<Waiters>>,
    output: Output,
    /// The connection's entry in the timer's wheel, once a time was set.
    timer: Option<wheel::Key>,
    /// Senders wait while this many bytes are unsent.
    high_water: u32,
    /// The latest mark that the peer answered.
    pub(crate) reached: Option<u32>,
    /// A ping has measured the round trip, and the time was not taken yet.
    pub(crate) measured: bool,
    /// A pong has arrived: the deadline may be earlier than the timer.
    answered: bool,
    /// How many bytes were unsent when the transport was closed.
    unsent: u32,
    /// Whether a message is being written piece by piece.
    streaming: bool,
    /// Whether the last message was so long that part of it was read directly into it.
    after_long: bool,
    /// Whether the connection continues when its [`WebSocket`](crate::WebSocket) is dropped.
    kept: Kept,
    /// How the connection ended, until it was reported.
    fault: Option<Box<Fault>>,
}

/// Which task handles input.
///
/// ```text
///         nothing to hand out                     bytes come
///  Away ──────────────────────▶ Waiting, Watched ────────────▶ Away
///   ▲                              │
///   └──── its future is dropped ───┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    /// No task receives, or the receiver still has messages to hand out: the flush task answers
    /// pings and notices the end.
    Away,
    /// A future waits for a message; the transport wakes it, and the future reports when it is
    /// dropped.
    Waiting,
    /// As `Waiting`, but the future may be dropped without a report: the transport wakes the flush
    /// task, which wakes the reader.
    Watched,
}

/// Input that was read and is not consumed.
#[derive(Debug)]
enum Unread {
    Nothing,
    Bytes(Box<ReadBuffer>),
    /// It was read directly into the incomplete message.
    Payload,
}

/// The state of writing.
#[derive(Debug)]
enum Output {
    /// The transport accepts bytes and passes them on without being flushed.
    Open,
    /// A layer below may hold bytes back until it is flushed.
    Unflushed,
    /// Nothing can be written any more, for this reason. There may still be input to read: the
    /// peer's last messages and its Close.
    Broken(Box<io::Error>),
}

/// Whether a connection outlives its [`WebSocket`](crate::WebSocket).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// No: it is closed with the `WebSocket`.
    No,
    /// Yes: a server closes it when its handler has returned.
    Yes,
    /// Yes, and the `WebSocket` is gone.
    Abandoned,
}

#[derive(Debug)]
enum Fault {
    Peer(offhook_protocol::Error),
    Lost(io::Error),
}

/// The locked state, and what to do after unlocking, because it runs code outside this crate: in
/// this order, since fields are dropped in order.
pub(crate) struct Locked<'d> {
    state: MutexGuard<'d, State>,
    _lock_held: LockHeld,
    later: Later,
    told: Told<'d>,
}

impl Driver {
    /// Takes over a connection and its transport; `unread` are bytes received after the handshake.
    pub(crate) fn new(
        connection: Connection,
        transport: Transport,
        negotiated: Negotiated,
        unread: &[u8],
        settings: &Settings,
        span: Span,
    ) -> Arc<Self> {
        let (inbound, outbound) = connection.into_halves();
        let unread = if unread.is_empty() {
            Unread::Nothing
        } else {
            Unread::Bytes(ReadBuffer::with(unread))
        };
        let driver = Arc::new(Self {
            state: Mutex::new(State {
                inbound: Some(inbound),
                outbound,
                transport: Some(transport),
                unread,
                receiver: Receiver::Away,
                reader: Reader::default(),
                habit: Habit::default(),
                waiters: None,
                output: Output::Open,
                timer: None,
                high_water: settings.high_water,
                reached: None,
                measured: false,
                answered: false,
                unsent: 0,
                streaming: false,
                after_long: false,
                kept: Kept::No,
                fault: None,
            }),
            called: AtomicBool::new(false),
            tasks: Tasks::current(),
            agreement: Agreement::of(negotiated),
            observer: Observer::begin(&settings.counter, span),
        });
        driver.set_timer(&mut driver.lock());
        driver
    }

    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked {
            _lock_held: LockHeld::over(state.transport.as_ref()),
            state,
            later: Later::default(),
            told: Told::by(self.observer.as_deref()),
        }
    }

    pub(crate) fn agreement(&self) -> Option<&Agreement> {
        self.agreement.as_deref()
    }

    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        self.lock()
            .transport
            .as_ref()
            .and_then(Transport::peer_addr)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = state.timer {
            self.tasks.forget(key);
        }
        if let Some(observer) = &self.observer
            && state.transport.take().is_some()
        {
            // Its `WebSocket` was forgotten rather than dropped: that ends it as well.
            state.outbound.handle_transport_closed(now());
            if let Some(closed) = state.outbound.closed() {
                observer.tell_end(&closed);
            }
        }
        if let Unread::Bytes(buffer) = std::mem::replace(&mut state.unread, Unread::Nothing) {
            buffers::give_read(buffer);
        }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    /// Before the lock is released.
    #[inline]
    fn drop(&mut self) {
        if let Some(observer) = self.told.observer {
            observer.sent_so_far(self.state.outbound.messages_sent());
        }
    }
}

impl Locked<'_> {
    /// Ends a turn of the flush task or the timer: closes the transport if the connection has
    /// ended, whether or not a task receives, and wakes every task concerned.
    fn settle(&mut self) {
        if self.outbound.wants_disconnect() {
            self.disconnect();
        }
        if self.transport.is_none() {
            self.wake_reader();
        }
        self.wake_waiters();
    }

    /// Wakes the task that waits for a message.
    fn wake_reader(&mut self) {
        let reader = self.state.reader.take();
        self.later.wake(reader);
    }

    /// Wakes tasks whose wait may be over: room, nothing unsent, a stream finished, the end.
    #[inline]
    fn wake_waiters(&mut self) {
        if self.waiters.is_some() {
            self.wake_those_waiting();
        }
    }

    fn wake_those_waiting(&mut self) {
        let state = &mut *self.state;
        let Some(waiters) = &mut state.waiters else {
            return;
        };
        let ended = state.transport.is_none();
        let over = ended || matches!(state.output, Output::Broken(_));
        let closing = over || state.outbound.ready_state() != ReadyState::Open;
        let unsent = state.outbound.buffered_amount();
        if closing || unsent <= state.high_water as usize / 2 {
            self.later.wake_all(&mut waiters.room);
        }
        if closing || !state.streaming {
            self.later.wake_all(&mut waiters.stream);
        }
        let unflushed = matches!(state.output, Output::Unflushed);
        if over || !state.outbound.has_output() && !unflushed {
            self.later.wake_all(&mut waiters.drained);
        }
        if ended {
            self.later.wake_all(&mut waiters.pong);
            self.later.wake_all(&mut waiters.end);
        }
        if waiters.is_empty() {
            state.waiters = None;
        }
    }

    /// Records an event for tasks other than the receiver: they may wait for a pong, for example.
    fn note(&mut self, event: &Event<'_>) {
        let Event::Pong { payload, rtt } = event else {
            return;
        };
        if let Some(rtt) = rtt {
            self.told.round_trip(*rtt);
            self.measured = true;
            self.answered = true;
            // As for a mark, below.
            let reader = self.state.reader.waker();
            self.later.wake(reader);
            if let Some(waiters) = &mut self.state.waiters {
                self.later.wake_all(&mut waiters.pong);
            }
        } else if let Ok(number) = <[u8; 4]>::try_from(&**payload) {
            self.reached = Some(u32::from_be_bytes(number));
            // The reader checks this whenever it is polled, and may be parked while the flush task
            // reads.
            let reader = self.state.reader.waker();
            self.later.wake(reader);
        }
    }
}

impl State {
    /// How the connection ended, if it has.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.outbound.closed()
    }

    /// The error for a sender after the connection has ended.
    pub(crate) fn closed_error(&self) -> Error {
        match self.outbound.closed() {
            Some(closed) => Error::Closed(Box::new(closed)),
            None => Error::Closing,
        }
    }

    /// Whether there is output to write or to flush.
    #[inline]
    fn has_output(&self) -> bool {
        self.outbound.has_output() || matches!(self.output, Output::Unflushed)
    }

    fn is_broken(&self) -> bool {
        matches!(self.output, Output::Broken(_))
    }

    /// The number of unsent bytes now, or when the connection ended.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.max(self.buffered()) as usize
    }

    /// Must be called before the connection learns of its end and drops unsent output.
    fn note_unsent(&mut self) {
        self.unsent = self.unsent.max(self.buffered());
    }

    /// The memory of an incomplete message; 0 while a handler has the receiving half.
    pub(crate) fn incomplete_bytes(&self) -> usize {
        self.inbound.as_ref().map_or(0, Inbound::incomplete_bytes)
    }

    fn buffered(&self) -> u32 {
        u32::try_from(self.outbound.buffered_amount()).unwrap_or(u32::MAX)
    }

    /// Registers a task that waits for something.
    fn wait(&mut self, purpose: impl FnOnce(&mut Waiters) -> &mut Wakers, waker: &Waker) {
        purpose(self.waiters.get_or_insert_default()).add(waker);
    }
}
