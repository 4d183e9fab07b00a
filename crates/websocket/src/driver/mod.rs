//! A live connection: the protocol's machine, the transport under it, and who waits for what.
//!
//! A [`Driver`] is shared by the [`WebSocket`](crate::WebSocket), its senders and, while something
//! is to be done, the [switchboard](switchboard). All work is done in short turns under one lock:
//!
//! - whoever receives reads, takes messages out, and writes what was queued when there is nothing
//!   more to hand out ([`turn`]);
//! - whoever sends queues, and writes only past the high-water mark ([`send`]);
//! - whoever [waits](wait) for something else is woken when it may have come;
//! - the switchboard writes what is left and keeps the time.

pub(crate) mod buffers;
mod ending;
mod flush;
mod idle;
mod outbox;
mod ready;
mod send;
mod switchboard;
mod take;
mod turn;
mod wait;
mod wheel;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

use buffers::ReadBuffer;
use offhook_protocol::handshake::Negotiated;
use offhook_protocol::{Closed, Connection, Event};
pub(crate) use ready::Ready;
pub(crate) use send::Sending;
use switchboard::Switchboard;
pub(crate) use take::Turn;

use crate::Transport;
use crate::error::Error;
use crate::socket::Agreement;

/// The runtime's clock, which tests can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[derive(Debug)]
pub(crate) struct Driver {
    state: Mutex<State>,
    /// Whether the switchboard was called and has not come yet.
    called: AtomicBool,
    board: Arc<Switchboard>,
    agreement: Option<Box<Agreement>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) connection: Connection,
    /// `None` once it is closed.
    transport: Option<Transport>,
    /// What was read and is not used up.
    inbox: Option<Box<ReadBuffer>>,
    /// Whether a read went straight into the message under way.
    read_payload: bool,
    /// Whoever waits for a message, or did.
    reader: Option<Waker>,
    /// Whether it still waits.
    parked: bool,
    /// Whoever waits for room, for the output to have drained, for a pong or for the end.
    #[expect(
        clippy::box_collection,
        reason = "hardly any connection has one: a third of the size"
    )]
    waiting: Option<Box<Vec<Waker>>>,
    /// The place in the wheel, once a time was asked for.
    timer: Option<wheel::Key>,
    /// Senders wait while this much is unsent.
    high_water: u32,
    /// The latest mark that came back.
    pub(crate) reached: Option<u32>,
    /// What was unsent when the transport was closed.
    unsent: u32,
    /// Whether a message is being written piece by piece.
    streaming: bool,
    /// Whether a layer below us may hold bytes back until it is flushed.
    unflushed: bool,
    /// Why nothing can be written any more, while there may be something to read: the peer's last
    /// words, and its Close.
    broken: Option<Box<io::Error>>,
    /// How it ended, until somebody was told.
    fault: Option<Box<Fault>>,
}

#[derive(Debug)]
enum Fault {
    Peer(offhook_protocol::Error),
    Lost(io::Error),
}

impl Driver {
    /// Takes a connection and its transport; `unread` are bytes that came behind the handshake.
    pub(crate) fn new(
        connection: Connection,
        transport: Transport,
        negotiated: Negotiated,
        unread: &[u8],
        high_water: u32,
    ) -> Arc<Self> {
        let inbox = (!unread.is_empty()).then(|| ReadBuffer::with(unread));
        let driver = Arc::new(Self {
            state: Mutex::new(State {
                connection,
                transport: Some(transport),
                inbox,
                read_payload: false,
                reader: None,
                parked: false,
                waiting: None,
                timer: None,
                high_water,
                reached: None,
                unsent: 0,
                streaming: false,
                unflushed: false,
                broken: None,
                fault: None,
            }),
            called: AtomicBool::new(false),
            board: Switchboard::of_thread(),
            agreement: Agreement::of(negotiated),
        });
        driver.set_timer(&mut driver.lock());
        driver
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Asks the switchboard to come, once.
    #[inline]
    pub(crate) fn call(self: &Arc<Self>) {
        // Whoever calls has changed the state under its lock, and the switchboard takes that lock
        // after it has cleared the flag: where the flag is still set, it is yet to look.
        if !self.called.load(Ordering::Acquire) && !self.called.swap(true, Ordering::AcqRel) {
            self.board.call(Arc::clone(self));
        }
    }

    /// The switchboard has come: writes what nobody has written.
    pub(crate) fn look_after(self: &Arc<Self>) {
        self.called.store(false, Ordering::Release);
        let mut state = self.lock();
        if !state.parked {
            self.listen(&mut state);
        }
        if state.connection.has_output() || state.unflushed {
            self.flush(&mut state);
        }
        self.settle(state);
    }

    /// The switchboard has come because of the time.
    pub(crate) fn keep_time(self: &Arc<Self>) {
        let mut state = self.lock();
        self.listen(&mut state);
        let unsent = state.buffered();
        if let Err(error) = state.connection.handle_timeout(now()) {
            if state.connection.wants_disconnect() {
                state.unsent = unsent;
            }
            state
                .fault
                .get_or_insert_with(|| Box::new(Fault::Peer(error)));
        }
        self.flush(&mut state);
        self.set_timer(&mut state);
        self.settle(state);
    }

    /// Sets the wheel by what the connection wants.
    pub(crate) fn set_timer(self: &Arc<Self>, state: &mut State) {
        if let Some(at) = state.connection.poll_timeout() {
            let key = self.board.call_at(state.timer, &Arc::downgrade(self), at);
            state.timer = Some(key);
        }
    }

    /// Ends a turn of the switchboard's: closes what has ended, whether or not somebody receives,
    /// and wakes whom it concerns.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        if state.connection.wants_disconnect() {
            state.disconnect();
        }
        let ended = state.transport.is_none();
        let reader = if ended { state.reader.take() } else { None };
        let waiting = state.take_waiting();
        drop(state);
        reader.into_iter().chain(waiting).for_each(Waker::wake);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = state.timer {
            self.board.forget(key);
        }
        if let Some(buffer) = state.inbox.take() {
            buffers::give_read(buffer);
        }
    }
}

/// A full transport that has room again calls the switchboard.
impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.call();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.call();
    }
}

impl State {
    /// How it ended, if it has.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.connection.closed()
    }

    /// What a sender is told that comes too late.
    pub(crate) fn closed_error(&self) -> Error {
        match self.connection.closed() {
            Some(closed) => Error::Closed(Box::new(closed)),
            None => Error::Closing,
        }
    }

    /// Those who wait, if there may be something for them: room, nothing unsent, or the end.
    fn take_waiting(&mut self) -> Vec<Waker> {
        let unsent = self.connection.buffered_amount();
        if self.waiting.is_none() || unsent > self.high_water as usize / 2 {
            return Vec::new();
        }
        self.take_all_waiting()
    }

    /// Those who wait, whatever for.
    fn take_all_waiting(&mut self) -> Vec<Waker> {
        self.waiting
            .take()
            .map_or_else(Vec::new, |waiting| *waiting)
    }

    /// What is unsent, or was when the connection ended.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.max(self.buffered()) as usize
    }

    /// To be called before the connection hears of its end, and forgets what is unsent.
    fn note_unsent(&mut self) {
        self.unsent = self.unsent.max(self.buffered());
    }

    fn buffered(&self) -> u32 {
        u32::try_from(self.connection.buffered_amount()).unwrap_or(u32::MAX)
    }

    /// Everybody who waits for anything.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        let mut wakers = self.take_all_waiting();
        wakers.extend(self.reader.take());
        wakers
    }

    /// Notes somebody who waits.
    pub(crate) fn wait(&mut self, waker: &Waker) {
        let waiting = self.waiting.get_or_insert_default();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// Wakes whom an event concerns besides the receiver.
    fn note(&mut self, event: &Event<'_>) {
        if let Event::Pong { rtt: Some(_), .. } = event {
            let waiting = self.take_all_waiting();
            waiting.into_iter().for_each(Waker::wake);
        }
        self.note_mark(event);
    }
}
