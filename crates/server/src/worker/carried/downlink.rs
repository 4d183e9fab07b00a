//! What a client is told over requests: as events of one response, or in the answers to polls.

use std::{
    cell::RefCell,
    collections::VecDeque,
    mem,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use offhook::protocol::CloseCode;
use offhook_dialects::sse::with_lines;
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::Wrong;
use crate::worker::{
    outlet::{Gone, Kind, Transport},
    streaming::Unsent,
};

/// The most that one answer has, in bytes. 64 KiB: small enough to be sent again after a loss.
const PAGE: usize = 64 * 1024;

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
        let data = closed(code, reason);
        self.0.write(&format!("event: close\ndata: {data}\n\n"));
        self.0.close(code, reason);
    }
}

fn closed(code: CloseCode, reason: &str) -> serde_json::Value {
    json!({ "code": u16::from(code), "reason": reason })
}

/// Messages that are kept until a poll says that the client has them.
#[derive(Debug)]
pub(super) struct Kept {
    inner: RefCell<Inner>,
    bound: usize,
    /// Wakes the connection's task when there is something to answer, or it has ended.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<String>,
    bytes: usize,
    /// The number of the first of them; the first of all is 1.
    first: u64,
    waiting: Option<oneshot::Sender<Result<Answer, Wrong>>>,
    /// After which message it waits.
    after: u64,
    closed: Option<serde_json::Value>,
    /// The client was told that it is closed.
    is_over: bool,
    room: Option<Waker>,
}

/// The answer to a poll.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The number of the first message.
    first: u64,
    messages: Vec<String>,
    closed: Option<serde_json::Value>,
}

impl Answer {
    /// Nothing has come after this message.
    pub(crate) const fn nothing(after: u64) -> Self {
        Self {
            first: after + 1,
            messages: Vec::new(),
            closed: None,
        }
    }

    pub(crate) fn write(&self) -> String {
        let mut text = format!("{{\"first\":{},\"messages\":[", self.first);
        text.push_str(&self.messages.join(","));
        text.push(']');
        if let Some(closed) = &self.closed {
            text.push_str(&format!(",\"closed\":{closed}"));
        }
        text.push('}');
        text
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

    /// A poll of a client that has everything up to `after`.
    pub(super) fn poll(&self, after: u64, done: oneshot::Sender<Result<Answer, Wrong>>) {
        let inner = &mut *self.inner.borrow_mut();
        let end = inner.first + inner.messages.len() as u64;
        // What it had before it can't have lost since.
        if after + 1 < inner.first || after >= end {
            return drop(done.send(Err(Wrong::Number { most: end - 1 })));
        }
        while inner.first <= after {
            inner.bytes -= inner
                .messages
                .pop_front()
                .map_or(0, |message| message.len());
            inner.first += 1;
        }
        if inner.bytes <= self.bound / 2
            && let Some(room) = inner.room.take()
        {
            room.wake();
        }
        inner.after = after;
        // The client has given up the older one, or should.
        if let Some(older) = inner.waiting.replace(done) {
            drop(older.send(Err(Wrong::Replaced)));
        }
    }

    /// Answers the poll that waits, if there is something to say.
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
        // Who no longer waits gets it with the next poll.
        inner.is_over = waiting.send(Ok(answer)).is_ok() && ends;
    }

    /// Whether the client was told everything, and that it is closed.
    pub(super) fn is_over(&self) -> bool {
        self.inner.borrow().is_over
    }

    /// Whether a client waits for an answer now.
    pub(super) fn is_polled(&self) -> bool {
        let inner = self.inner.borrow();
        inner
            .waiting
            .as_ref()
            .is_some_and(|waiting| !waiting.is_closed())
    }

    /// Nothing is told any more: whoever waits learns that the connection is gone.
    pub(super) fn end(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner
            .closed
            .get_or_insert_with(|| closed(CloseCode::NORMAL, ""));
        drop(mem::take(&mut inner.messages));
        inner.waiting = None;
        if let Some(room) = inner.room.take() {
            room.wake();
        }
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
        inner.room = Some(cx.waker().clone());
        Poll::Pending
    }

    fn close(&self, code: CloseCode, reason: &str) {
        let inner = &mut *self.inner.borrow_mut();
        inner.closed.get_or_insert_with(|| closed(code, reason));
        if let Some(room) = inner.room.take() {
            room.wake();
        }
        self.changed.notify_one();
    }
}
