//! Sends messages to a client in the answers to its polls.

use std::{
    cell::RefCell,
    collections::VecDeque,
    mem,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use offhook::{Sender, WebSocket, protocol::CloseCode};
use offhook_dialects::{Payload, socketio::packet::Engine};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::Wrong;
use crate::{
    door::Place,
    worker::outlet::{Gone, Kind, Outlet, Transport, wait},
};

/// The size of one answer in bytes; only a single message may be larger. 64 KiB: small enough to be
/// sent again after a loss.
const PAGE: usize = 64 * 1024;

/// The maximum number of messages in one answer of Engine.IO. 16: python-engineio closes its connection
/// when there are more.
const RECORDS: usize = 16;

/// How many places for messages an idle connection keeps after a burst.
const SPARE: usize = 8;

/// The code and the reason with which a connection was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) code: u16,
    pub(crate) reason: Box<str>,
}

impl Closing {
    pub(super) fn new(code: CloseCode, reason: &str) -> Self {
        Self {
            code: code.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "code": self.code, "reason": self.reason })
    }
}

/// The form of a connection's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Requests are numbered: each poll acknowledges the messages up to its number.
    Numbered,
    /// Requests of Engine.IO: a message counts as received once it has been in an answer.
    EngineIo,
}

/// Messages that are kept until a poll acknowledges them or, if requests are not numbered, until
/// they have been in an answer.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) form: Form,
    inner: RefCell<Inner>,
    bound: usize,
    /// Wakes the connection's task when a poll can be answered, a receipt has arrived, or the
    /// connection has ended.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<Payload>,
    bytes: usize,
    /// The number of the first message that is kept. Messages are numbered from 1.
    first: u64,
    /// The poll that waits for messages.
    waiting: Option<oneshot::Sender<Result<Answer, Wrong>>>,
    /// When the last poll arrived.
    polled: Option<Instant>,
    /// The number of the last message that an answer contained.
    answered: u64,
    /// The requested mark, and the number of the last message before it.
    mark: Option<(u32, u64)>,
    /// The newest mark that the client has reached, until it is taken.
    reached: Option<u32>,
    closed: Option<Closing>,
    end: End,
    /// True once the client has opened a WebSocket that it may upgrade to, until that has failed.
    is_claimed: bool,
    /// True while the client is trying a WebSocket.
    is_probing: bool,
    /// The WebSocket to which the client upgrades, until the connection's task takes it.
    upgrade: Option<(Box<WebSocket>, Box<Place>)>,
    /// The sender of that WebSocket, once the task has taken it.
    sender: Option<Sender>,
    /// The tasks that wait for room: the connection's task, and the task that refills it.
    room: Vec<Waker>,
}

/// Whether the client knows that the connection is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Unknown,
    /// An answer reported the end, but it may have been lost.
    Told,
    /// A poll acknowledged everything, and was answered with the end again.
    Known,
}

/// The answer to a poll.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The number of the first message.
    pub(crate) first: u64,
    pub(crate) messages: Vec<Payload>,
    pub(crate) closed: Option<Closing>,
}

impl Inner {
    /// The number of the last message.
    fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    /// Whether no message of the application waits for a poll of Engine.IO.
    fn has_only_pings(&self) -> bool {
        let is_ping = |message: &Payload| {
            let Payload::Text(text) = message else {
                return false;
            };
            matches!(Engine::read(text), Ok(Engine::Ping(_)))
        };
        self.messages.iter().all(is_ping)
    }

    /// Notes that the client has received all messages up to `after`.
    fn acknowledged(&mut self, after: u64) {
        while self.first <= after {
            let gone = self.messages.pop_front();
            self.bytes -= gone.map_or(0, |gone| gone.as_bytes().len());
            self.first += 1;
        }
        if self.messages.is_empty() && self.messages.capacity() > SPARE {
            self.messages = VecDeque::new();
        }
        self.reach();
    }

    /// Notes that the mark is reached if the client has received everything before it.
    fn reach(&mut self) {
        if let Some((mark, _)) = self.mark.take_if(|(_, last)| *last < self.first) {
            self.reached = Some(mark);
        }
    }
}

impl Kept {
    pub(super) fn new(form: Form, bound: usize) -> Rc<Self> {
        let inner = Inner {
            first: 1,
            ..Inner::default()
        };
        Rc::new(Self {
            form,
            inner: RefCell::new(inner),
            bound,
            changed: Notify::new(),
        })
    }

    /// Handles a poll of a client that has received everything up to `after` or, without a number,
    /// everything that was ever put into an answer. Returns the poll if it is not numbered and
    /// another one is waiting.
    pub(super) fn poll(
        &self,
        after: Option<u64>,
        done: oneshot::Sender<Result<Answer, Wrong>>,
    ) -> Result<(), oneshot::Sender<Result<Answer, Wrong>>> {
        let inner = &mut *self.inner.borrow_mut();
        let is_waiting = inner
            .waiting
            .as_ref()
            .is_some_and(|older| !older.is_closed());
        if is_waiting && self.form == Form::EngineIo {
            return Err(done);
        }
        let last = inner.last();
        let after = after.unwrap_or(inner.answered);
        // Messages that the client has acknowledged are no longer kept.
        if after + 1 < inner.first || after > last {
            let least = inner.first - 1;
            let _sent = done.send(Err(Wrong::Number { least, most: last }));
            return Ok(());
        }
        inner.acknowledged(after);
        inner.polled = Some(Instant::now());
        self.make_room(inner);
        // A client has one poll at a time, so it must have given up the older one.
        if let Some(older) = inner.waiting.replace(done) {
            drop(older.send(Err(Wrong::Replaced)));
        }
        self.changed.notify_one();
        Ok(())
    }

    fn make_room(&self, inner: &mut Inner) {
        if inner.bytes <= self.bound / 2 {
            inner.room.drain(..).for_each(Waker::wake);
        }
    }

    /// Answers the waiting poll, if there are messages or the connection is closed.
    pub(super) fn answer(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.messages.is_empty() && inner.closed.is_none() && !inner.is_probing {
            return;
        }
        let Some(waiting) = inner.waiting.take() else {
            return;
        };
        let most = match self.form {
            Form::Numbered => usize::MAX,
            Form::EngineIo => RECORDS,
        };
        let mut bytes = 0;
        let fits = inner.messages.iter().take(most).take_while(|message| {
            let len = message.as_bytes().len();
            let fits = bytes == 0 || bytes + len <= PAGE;
            bytes += len;
            fits
        });
        let messages: Vec<_> = fits.cloned().collect();
        let is_all = messages.len() == inner.messages.len();
        let closed = inner.closed.clone().filter(|_| is_all);
        let ends = closed.is_some();
        let answer = Answer {
            first: inner.first,
            messages,
            closed,
        };
        let last = answer.first + answer.messages.len() as u64 - 1;
        let is_known = inner.end == End::Told && answer.messages.is_empty();
        // A client that has closed its request polls again.
        if waiting.send(Ok(answer)).is_ok() {
            inner.answered = last;
            inner.polled = Some(Instant::now());
            if self.form == Form::EngineIo {
                inner.acknowledged(last);
                self.make_room(inner);
            }
            if ends {
                inner.end = if is_known { End::Known } else { End::Told };
            }
        }
    }

    /// Answers the waiting poll without messages.
    pub(super) fn answer_without(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(waiting) = inner.waiting.take() {
            let answer = Answer {
                first: inner.first,
                ..Answer::default()
            };
            // A client that has closed its request polls again.
            if waiting.send(Ok(answer)).is_ok() {
                inner.polled = Some(Instant::now());
            }
        }
    }

    /// The newest mark that the client has reached since the last call.
    pub(super) fn take_reached(&self) -> Option<u32> {
        self.inner.borrow_mut().reached.take()
    }

    /// Whether the connection is closed, whether or not its client knows.
    pub(super) fn is_closed(&self) -> bool {
        self.inner.borrow().closed.is_some()
    }

    /// Whether the connection was closed because its client violated the protocol.
    pub(super) fn is_violated(&self) -> bool {
        let inner = self.inner.borrow();
        let closed = inner.closed.as_ref();
        closed.is_some_and(|closed| closed.code == u16::from(CloseCode::PROTOCOL_ERROR))
    }

    /// Whether an answer contained the last message and reported that the connection is closed.
    pub(super) fn is_over(&self) -> bool {
        self.inner.borrow().end != End::Unknown
    }

    /// Whether the client has acknowledged that answer. A client without numbers never does, nor
    /// does it poll again.
    pub(super) fn is_known_to_be_over(&self) -> bool {
        self.form == Form::EngineIo || self.inner.borrow().end == End::Known
    }

    /// A WebSocket asks to be the one that the client may upgrade to. False if there is another one.
    pub(super) fn claim(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        inner.closed.is_none() && !mem::replace(&mut inner.is_claimed, true)
    }

    /// The WebSocket has failed; the client may open another one.
    pub(super) fn probe_failed(&self) {
        self.inner.borrow_mut().is_claimed = false;
        self.set_probing(false);
    }

    pub(super) fn set_probing(&self, is_probing: bool) {
        self.inner.borrow_mut().is_probing = is_probing;
        self.changed.notify_one();
    }

    /// The client upgrades to a WebSocket.
    pub(super) fn upgrade(&self, socket: Box<WebSocket>, place: Box<Place>) {
        let inner = &mut *self.inner.borrow_mut();
        inner.upgrade = Some((socket, place));
        inner.is_probing = false;
    }

    pub(super) fn is_upgraded(&self) -> bool {
        let inner = self.inner.borrow();
        inner.sender.is_some() || inner.upgrade.is_some()
    }

    /// Takes the WebSocket to which the client has upgraded. From now on, messages are sent over
    /// it, starting with those that are waiting.
    pub(super) fn take_upgrade(&self) -> Option<(Box<WebSocket>, Box<Place>)> {
        let inner = &mut *self.inner.borrow_mut();
        let (socket, place) = inner.upgrade.take()?;
        let sender = socket.sender();
        let outlet = Outlet::WebSocket(sender.clone());
        for message in mem::take(&mut inner.messages) {
            // If the WebSocket is closing, receiving from it reports that.
            let _unsent = outlet.put(message);
        }
        inner.bytes = 0;
        inner.sender = Some(sender);
        if inner.closed.is_some() {
            outlet.close(CloseCode::NORMAL, "");
        }
        if let Some(waiting) = inner.waiting.take() {
            // The client may have closed its request already.
            let _sent = waiting.send(Ok(Answer::default()));
        }
        self.make_room(inner);
        Some((socket, place))
    }

    /// When the client last polled, or now if it is waiting for an answer. `None` before its first
    /// poll.
    pub(super) fn polled(&self) -> Option<Instant> {
        let inner = self.inner.borrow();
        let waiting = inner.waiting.as_ref();
        let is_polling = waiting.is_some_and(|waiting| !waiting.is_closed());
        is_polling.then(Instant::now).or(inner.polled)
    }

    /// Ends the connection: a waiting poll gets no answer, and later messages are refused.
    pub(super) fn end(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner
            .closed
            .get_or_insert_with(|| Closing::new(CloseCode::NORMAL, ""));
        drop(mem::take(&mut inner.messages));
        inner.waiting = None;
        inner.room.drain(..).for_each(Waker::wake);
    }
}

impl Transport for Kept {
    fn put(&self, kind: Kind, message: &[u8]) -> Result<usize, Gone> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.closed.is_some() {
            return Err(Gone);
        }
        inner.bytes += message.len();
        inner.messages.push_back(match kind {
            Kind::Text => Payload::Text(String::from_utf8_lossy(message).into_owned()),
            Kind::Binary => Payload::Binary(message.to_vec()),
        });
        self.changed.notify_one();
        Ok(inner.bytes)
    }

    fn unsent(&self) -> usize {
        self.inner.borrow().bytes
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.closed.is_some() {
            return Poll::Ready(Err(Gone));
        }
        if inner.bytes <= self.bound / 2 {
            return Poll::Ready(Ok(()));
        }
        wait(&mut inner.room, cx);
        Poll::Pending
    }

    fn close(&self, code: CloseCode, reason: &str) {
        let inner = &mut *self.inner.borrow_mut();
        inner
            .closed
            .get_or_insert_with(|| Closing::new(code, reason));
        // Engine.IO: the session of a client that violates the protocol, or does not answer pings, is
        // unknown from now on, unless the client has to be told something.
        let is_to_blame = [CloseCode::PROTOCOL_ERROR, CloseCode::POLICY_VIOLATION].contains(&code);
        let is_polling = inner.waiting.as_ref().is_some_and(|poll| !poll.is_closed());
        if self.form == Form::EngineIo && is_to_blame && !is_polling && inner.has_only_pings() {
            inner.end = End::Told;
        }
        inner.room.drain(..).for_each(Waker::wake);
        self.changed.notify_one();
    }

    fn socket(&self) -> Option<Sender> {
        self.inner.borrow().sender.clone()
    }

    fn mark(&self, number: u32) -> Option<bool> {
        if self.form == Form::EngineIo {
            return None;
        }
        let inner = &mut *self.inner.borrow_mut();
        if inner.mark.is_some() {
            return Some(false);
        }
        inner.mark = Some((number, inner.last()));
        inner.reach();
        self.changed.notify_one();
        Some(true)
    }
}
