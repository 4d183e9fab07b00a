//! Messages to a client over requests: as events of one response, or in the answers to polls.

use std::{
    cell::RefCell,
    collections::VecDeque,
    mem,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use offhook::protocol::CloseCode;
use offhook_dialects::sse::with_lines;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::Wrong;
use crate::worker::{
    outlet::{Gone, Kind, Transport, wait},
    streaming::Unsent,
};

/// The size of one answer in bytes; only a single message may be larger. 64 KiB: small enough to be
/// sent again after a loss.
const PAGE: usize = 64 * 1024;

/// How many places for messages an idle connection keeps after a burst.
const SPARE: usize = 8;

/// Messages as events of one response.
#[derive(Debug)]
pub(super) struct Events(pub(super) Rc<Unsent>);

impl Transport for Events {
    fn put(&self, _kind: Kind, message: &[u8]) -> Result<usize, Gone> {
        let mut event = String::new();
        with_lines(&mut event, &String::from_utf8_lossy(message));
        event.push('\n');
        self.0.put(Kind::Text, event.as_bytes())
    }

    fn unsent(&self) -> usize {
        self.0.unsent()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.0.poll_room(cx)
    }

    fn close(&self, code: CloseCode, reason: &str) {
        let data = Closing::new(code, reason).to_json();
        self.0.write(&format!("event: close\ndata: {data}\n\n"));
        self.0.close(code, reason);
    }
}

/// How a connection was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) code: u16,
    pub(crate) reason: Box<str>,
}

impl Closing {
    fn new(code: CloseCode, reason: &str) -> Self {
        Self {
            code: code.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "code": self.code, "reason": self.reason })
    }
}

/// Messages that are kept until a poll acknowledges them.
#[derive(Debug)]
pub(super) struct Kept {
    inner: RefCell<Inner>,
    bound: usize,
    /// Wakes the connection's task when a poll can be answered, a receipt has come, or it has ended.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<String>,
    bytes: usize,
    /// The number of the first of them; the first of all is 1.
    first: u64,
    /// The poll that waits for messages.
    waiting: Option<oneshot::Sender<Result<Answer, Wrong>>>,
    /// When the last poll came.
    polled: Option<Instant>,
    /// The number of the last message that an answer contained.
    answered: u64,
    /// Whether polls are numbered, so that each acknowledges what came before.
    acknowledges: bool,
    /// The mark that was asked for, and the number of the last message before it.
    mark: Option<(u32, u64)>,
    /// The newest mark that the client has reached, until it is taken.
    reached: Option<u32>,
    closed: Option<Closing>,
    end: End,
    /// The tasks that wait for room: that of the connection, and the one that refills it.
    room: Vec<Waker>,
}

/// Whether the client knows that the connection is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Unknown,
    /// An answer said so. It may have been lost.
    Told,
    /// A poll acknowledged everything, and was answered again.
    Known,
}

/// The answer to a poll.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The number of the first message.
    pub(crate) first: u64,
    pub(crate) messages: Vec<String>,
    pub(crate) closed: Option<Closing>,
}

impl Inner {
    /// The number of the last message.
    fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    /// The client has all messages up to this one.
    fn acknowledged(&mut self, after: u64) {
        while self.first <= after {
            self.bytes -= self.messages.pop_front().map_or(0, |gone| gone.len());
            self.first += 1;
        }
        if self.messages.is_empty() && self.messages.capacity() > SPARE {
            self.messages = VecDeque::new();
        }
        self.reach();
    }

    /// Notes the mark, if the client has everything before it.
    fn reach(&mut self) {
        if let Some((mark, _)) = self.mark.take_if(|(_, last)| *last < self.first) {
            self.reached = Some(mark);
        }
    }
}

impl Kept {
    pub(super) fn new(bound: usize) -> Rc<Self> {
        let inner = Inner {
            first: 1,
            ..Inner::default()
        };
        Rc::new(Self {
            inner: RefCell::new(inner),
            bound,
            changed: Notify::new(),
        })
    }

    /// A poll of a client that has everything up to `after`; without a number, everything that was
    /// ever put into an answer.
    pub(super) fn poll(&self, after: Option<u64>, done: oneshot::Sender<Result<Answer, Wrong>>) {
        let inner = &mut *self.inner.borrow_mut();
        let last = inner.last();
        inner.acknowledges = after.is_some();
        let after = after.unwrap_or(inner.answered);
        // Messages that the client acknowledged are no longer here.
        if after + 1 < inner.first || after > last {
            let least = inner.first - 1;
            return drop(done.send(Err(Wrong::Number { least, most: last })));
        }
        inner.acknowledged(after);
        inner.polled = Some(Instant::now());
        if inner.bytes <= self.bound / 2 {
            inner.room.drain(..).for_each(Waker::wake);
        }
        // A client has one poll at a time, so it has given up the older one.
        if let Some(older) = inner.waiting.replace(done) {
            drop(older.send(Err(Wrong::Replaced)));
        }
        self.changed.notify_one();
    }

    /// Answers the waiting poll, if there are messages or the connection is closed.
    pub(super) fn answer(&self) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.messages.is_empty() && inner.closed.is_none() {
            return;
        }
        let Some(waiting) = inner.waiting.take() else {
            return;
        };
        let mut bytes = 0;
        let fits = inner.messages.iter().take_while(|message| {
            let fits = bytes == 0 || bytes + message.len() <= PAGE;
            bytes += message.len();
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

    /// Whether an answer contained the last message, and that the connection is closed.
    pub(super) fn is_over(&self) -> bool {
        self.inner.borrow().end != End::Unknown
    }

    /// Whether the client has acknowledged that answer.
    pub(super) fn is_known_to_be_over(&self) -> bool {
        self.inner.borrow().end == End::Known
    }

    /// When the client polled last: now, if it is waiting for an answer. None before its first poll.
    pub(super) fn polled(&self) -> Option<Instant> {
        let inner = self.inner.borrow();
        let waiting = inner.waiting.as_ref();
        let is_polling = waiting.is_some_and(|waiting| !waiting.is_closed());
        is_polling.then(Instant::now).or(inner.polled)
    }

    /// The connection has ended: a waiting poll gets no answer, and later messages are refused.
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
    fn put(&self, _kind: Kind, message: &[u8]) -> Result<usize, Gone> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.closed.is_some() {
            return Err(Gone);
        }
        let message = String::from_utf8_lossy(message).into_owned();
        inner.bytes += message.len();
        inner.messages.push_back(message);
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
        inner.room.drain(..).for_each(Waker::wake);
        self.changed.notify_one();
    }

    fn mark(&self, number: u32) -> Option<bool> {
        let inner = &mut *self.inner.borrow_mut();
        if !inner.acknowledges {
            return None;
        }
        if inner.mark.is_some() {
            return Some(false);
        }
        inner.mark = Some((number, inner.last()));
        inner.reach();
        self.changed.notify_one();
        Some(true)
    }
}
