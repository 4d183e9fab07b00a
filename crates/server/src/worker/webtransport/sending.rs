//! The sending half of a session: the output of each of its streams, and the newest datagrams. A task writes
//! each stream, and one sends datagrams.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    mem,
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use offhook::protocol::CloseCode;
use offhook_dialects::webtransport::{Placed, framed};
use offhook_http3::{Code, webtransport as wire};
use quinn::{SendDatagramError, SendStream, VarInt};
use tokio::{
    sync::{Notify, watch},
    task::spawn_local,
    time::sleep,
};

use super::{Farewell, Session};
use crate::{
    metrics::WorkerMetrics,
    worker::{
        Worker,
        outlet::{Gone, Kind, Medium, Transport, wait},
    },
};

/// The sending half.
#[derive(Debug)]
pub(super) struct Streams {
    quic: quinn::Connection,
    session: u64,
    control: Rc<Lane>,
    /// Those of subscriptions, by number. None: the client allows no further stream, so that the control stream
    /// has the messages.
    own: RefCell<HashMap<u32, Option<Rc<Lane>>>>,
    datagrams: RefCell<Datagrams>,
    /// Wakes the task that sends datagrams.
    news: Notify,
    /// Bytes in all lanes and datagrams that were not written.
    unsent: Cell<usize>,
    /// The limit for unsent bytes. Once it was exceeded, there is room again at half of it.
    bound: usize,
    /// The tasks that wait for room: the one that reads, and the one that refills the connection.
    waiting: RefCell<Vec<Waker>>,
    state: watch::Sender<State>,
    farewell: RefCell<Option<Farewell>>,
    /// Refers to itself, for the tasks that it starts.
    own_self: Weak<Self>,
    metrics: Arc<WorkerMetrics>,
}

/// ```text
///      close, or the client has gone        the control stream is written, or the client is gone
/// Open ──────────────────────────────▶ Closing ───────────────────────────────────────────▶ Ended
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Open,
    /// Queued output is still written, and no more is accepted.
    Closing,
    Ended,
}

/// The output of one stream.
#[derive(Debug, Default)]
struct Lane {
    unsent: RefCell<Vec<u8>>,
    /// Nothing follows what is queued.
    is_over: Cell<bool>,
    /// Wakes the task that writes.
    filled: Notify,
}

impl Lane {
    fn put(&self, bytes: &[u8]) {
        self.unsent.borrow_mut().extend_from_slice(bytes);
        self.filled.notify_one();
    }
}

/// The newest message of each subject, in the order in which the subjects were first said.
#[derive(Debug, Default)]
struct Datagrams {
    order: VecDeque<Box<[u8]>>,
    newest: HashMap<Box<[u8]>, Vec<u8>>,
}

impl Datagrams {
    /// Queues a message; returns the one that it replaces.
    fn put(&mut self, subject: &[u8], message: Vec<u8>) -> Option<Vec<u8>> {
        let replaced = self.newest.insert(subject.into(), message);
        if replaced.is_none() {
            self.order.push_back(subject.into());
        }
        replaced
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let subject = self.order.pop_front()?;
        let message = self.newest.remove(&subject);
        if self.order.is_empty() {
            // An idle session holds no buffer.
            *self = Self::default();
        }
        message
    }
}

impl Streams {
    pub(super) fn new(worker: &Worker, session: &Session) -> Rc<Self> {
        Rc::new_cyclic(|own_self| Self {
            quic: session.quic.clone(),
            session: session.id,
            control: Rc::default(),
            own: RefCell::default(),
            datagrams: RefCell::default(),
            news: Notify::new(),
            unsent: Cell::new(0),
            bound: worker.shared.config.messages.outbox_bytes,
            waiting: RefCell::default(),
            state: watch::Sender::new(State::Open),
            farewell: RefCell::default(),
            own_self: own_self.clone(),
            metrics: Arc::clone(&worker.metrics),
        })
    }

    /// Advances to this state; does nothing if a later one was reached.
    pub(super) fn reach(&self, state: State) {
        self.state.send_if_modified(|now| {
            let moves = *now < state;
            *now = state.max(*now);
            moves
        });
        for lane in self.own.borrow().values().flatten() {
            lane.filled.notify_one();
        }
        self.control.filled.notify_one();
        self.news.notify_one();
        if state == State::Ended {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until this state is reached.
    pub(super) async fn reached(&self, state: State) {
        // `self` holds the sender, so this does not fail.
        let mut states = self.state.subscribe();
        let _reached = states.wait_for(|now| *now >= state).await;
    }

    /// Whether more is unsent than the limit allows.
    pub(super) fn is_full(&self) -> bool {
        self.unsent.get() > self.bound
    }

    /// How the server ends the session, if it does.
    pub(super) fn farewell(&self) -> Option<Farewell> {
        self.farewell.borrow().clone()
    }

    fn is_open(&self) -> bool {
        *self.state.borrow() == State::Open
    }

    fn queued(&self, bytes: usize) {
        self.unsent.update(|unsent| unsent.saturating_add(bytes));
    }

    fn written(&self, bytes: usize) {
        self.unsent.update(|unsent| unsent.saturating_sub(bytes));
        if self.unsent.get() <= self.bound / 2 {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// The lane of a subscription's stream, which this opens if it is the first message for it. None if the
    /// client did not allow it then.
    fn lane(&self, number: u32) -> Option<Rc<Lane>> {
        if let Some(lane) = self.own.borrow().get(&number) {
            return lane.clone();
        }
        let lane = self.open(number);
        self.own.borrow_mut().insert(number, lane.clone());
        lane
    }

    /// Opens the stream of a subscription. The client decides how many streams it allows, of all sessions on its
    /// connection; some browsers allow 16, and more only when one of them ends. Messages must not wait for that.
    fn open(&self, number: u32) -> Option<Rc<Lane>> {
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(send)) = pin!(self.quic.open_uni()).poll(&mut cx) else {
            return None;
        };
        let this = self.own_self.upgrade()?;
        let lane = Rc::<Lane>::default();
        self.metrics.webtransport_streams.add(1);
        spawn_local(write_own(this, number, Rc::clone(&lane), send));
        Some(lane)
    }

    fn place(&self, placed: Placed<'_>) -> Option<()> {
        match placed {
            Placed::Control(framed) => {
                self.queued(framed.len());
                self.control.put(framed);
            }
            Placed::Stream {
                number,
                is_last,
                framed,
            } => {
                let lane = self.lane(number);
                self.queued(framed.len());
                if is_last {
                    if let Some(lane) = &lane {
                        lane.is_over.set(true);
                    }
                    // Its task has the other reference.
                    self.own.borrow_mut().remove(&number);
                }
                lane.as_ref().unwrap_or(&self.control).put(framed);
            }
            Placed::Datagram { subject, message } => {
                let prefix = wire::datagram_prefix(self.session).len();
                let most = self.quic.max_datagram_size().unwrap_or(0);
                if prefix.saturating_add(message.len()) > most {
                    // It has to arrive all the same: the newest is all that such a subscriber gets.
                    self.metrics.datagrams_too_long.add(1);
                    let framed = framed(message);
                    self.queued(framed.len());
                    self.control.put(&framed);
                    return Some(());
                }
                self.queued(message.len());
                let replaced = self.datagrams.borrow_mut().put(subject, message.to_vec());
                if let Some(replaced) = replaced {
                    self.metrics.datagrams_replaced.add(1);
                    self.written(replaced.len());
                }
                self.news.notify_one();
            }
        }
        Some(())
    }

    /// A stream cannot be written any more.
    fn fail(&self, why: &str) {
        self.close(CloseCode::PROTOCOL_ERROR, why);
    }
}

impl Transport for Streams {
    fn put(&self, _kind: Kind, message: &[u8]) -> Result<usize, Gone> {
        if !self.is_open() {
            return Err(Gone);
        }
        // The dialect of a session writes nothing else.
        let placed = Placed::read(message).ok_or(Gone)?;
        self.place(placed).ok_or(Gone)?;
        Ok(self.unsent.get())
    }

    fn unsent(&self) -> usize {
        self.unsent.get()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if !self.is_open() {
            return Poll::Ready(Err(Gone));
        }
        if self.unsent.get() <= self.bound / 2 {
            return Poll::Ready(Ok(()));
        }
        wait(&mut self.waiting.borrow_mut(), cx);
        Poll::Pending
    }

    fn medium(&self) -> Medium {
        Medium::WebTransport
    }

    fn close(&self, code: CloseCode, reason: &str) {
        // The first close stands.
        let mut farewell = self.farewell.borrow_mut();
        farewell.get_or_insert_with(|| Farewell::new(code, reason));
        drop(farewell);
        self.reach(State::Closing);
    }
}

/// Writes the control stream. Everything that was queued before a close is written first, within a limited
/// time.
pub(super) async fn write_control(streams: Rc<Streams>, mut send: SendStream, within: Duration) {
    // What is said to the session as a whole must not wait for the messages of a subscription.
    let _ended = send.set_priority(1);
    let overdue = async {
        streams.reached(State::Closing).await;
        sleep(within).await;
    };
    let lane = Rc::clone(&streams.control);
    let written = tokio::select! {
        written = write_lane(&streams, &lane, &mut send) => written,
        () = overdue => false,
        () = streams.reached(State::Ended) => false,
    };
    if written {
        let _ended = send.finish();
    } else {
        let _ended = send.reset(gone());
    }
    streams.reach(State::Ended);
}

/// Writes the stream of a subscription until the subscription ends.
async fn write_own(streams: Rc<Streams>, number: u32, lane: Rc<Lane>, mut send: SendStream) {
    let mut begin = wire::unidirectional(streams.session);
    begin.extend_from_slice(&number.to_be_bytes());
    let writing = async {
        match send.write_all(&begin).await {
            Ok(()) => write_lane(&streams, &lane, &mut send).await,
            Err(_stopped) => false,
        }
    };
    let written = tokio::select! {
        // First: a stream whose output is written ends as such, even if its session has ended meanwhile.
        biased;
        written = writing => written,
        () = streams.reached(State::Ended) => false,
    };
    if written {
        let _ended = send.finish();
    } else {
        // Its messages would be missing without anybody noticing; dropping the stream would finish it.
        let _ended = send.reset(gone());
        if *streams.state.borrow() != State::Ended {
            streams.fail("the stream of a subscription was stopped");
        }
    }
}

/// Writes what is queued until nothing follows. Returns whether everything was written.
async fn write_lane(streams: &Streams, lane: &Lane, send: &mut SendStream) -> bool {
    loop {
        let bytes = mem::take(&mut *lane.unsent.borrow_mut());
        if !bytes.is_empty() {
            if let Err(error) = send.write_all(&bytes).await {
                tracing::debug!(%error, "a stream of a session was lost before all output was written");
                return false;
            }
            streams.written(bytes.len());
        } else if lane.is_over.get() || !streams.is_open() {
            return true;
        } else {
            lane.filled.notified().await;
        }
    }
}

/// Sends datagrams as fast as the connection takes them. Meanwhile, newer messages replace older ones.
pub(super) async fn send_datagrams(streams: Rc<Streams>) {
    let sending = async {
        loop {
            streams.news.notified().await;
            loop {
                let Some(message) = streams.datagrams.borrow_mut().take() else {
                    break;
                };
                let length = message.len();
                let sent = send_datagram(&streams, message).await;
                streams.written(length);
                if !sent {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = streams.reached(State::Closing) => {}
    }
}

/// Sends one datagram; returns whether the connection is still there.
async fn send_datagram(streams: &Streams, message: Vec<u8>) -> bool {
    let prefix = wire::datagram_prefix(streams.session);
    let datagram = Bytes::from([&prefix[..], &message].concat());
    match streams.quic.send_datagram_wait(datagram).await {
        Ok(()) => streams.metrics.datagrams_sent.add(1),
        // The path accepts less than a moment ago.
        Err(SendDatagramError::TooLarge | SendDatagramError::UnsupportedByPeer) => {
            streams.metrics.datagrams_too_long.add(1);
            let framed = framed(&message);
            streams.queued(framed.len());
            streams.control.put(&framed);
        }
        Err(SendDatagramError::ConnectionLost(_) | SendDatagramError::Disabled) => return false,
    }
    true
}

fn gone() -> VarInt {
    VarInt::from_u64(Code::SESSION_GONE.0).unwrap_or(VarInt::MAX)
}

#[cfg(test)]
mod tests {
    use super::Datagrams;

    #[test]
    fn a_newer_datagram_replaces_an_older_one_and_keeps_its_place() {
        let mut datagrams = Datagrams::default();
        assert_eq!(datagrams.put(b"a", b"a1".to_vec()), None);
        assert_eq!(datagrams.put(b"b", b"b1".to_vec()), None);
        assert_eq!(datagrams.put(b"a", b"a2".to_vec()), Some(b"a1".to_vec()));
        assert_eq!(datagrams.take(), Some(b"a2".to_vec()));
        assert_eq!(datagrams.take(), Some(b"b1".to_vec()));
        assert_eq!(datagrams.take(), None);
    }
}
