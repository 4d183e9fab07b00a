//! The sending half of a polled connection: records that wait for a poll or, after the upgrade, a
//! WebSocket.

use std::{
    cell::RefCell,
    collections::VecDeque,
    mem,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use offhook::{Sender, WebSocket, protocol::CloseCode};
use offhook_dialects::{
    Payload,
    socketio::packet::{Engine, Record, write_record},
};
use tokio::sync::{Notify, oneshot};

use super::Unpolled;
use crate::{
    door::Place,
    worker::outlet::{Gone, Kind, Outlet, Transport, wait},
};

/// The most that one answer has, in bytes, unless one record is larger. 64 KiB: the buffer of a
/// response.
const PAGE: usize = 64 * 1024;

/// The most records that one answer has. 16: python-engineio closes its connection when there are more.
const RECORDS: usize = 16;

/// A polled connection.
#[derive(Debug)]
pub(super) struct Polled {
    inner: RefCell<Inner>,
    bound: usize,
    /// Wakes the connection's task: something was posted, or the connection has changed.
    pub(super) wake: Notify,
    /// Notified when there may be something to answer.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    records: VecDeque<Payload>,
    bytes: usize,
    /// The poll that waits.
    waiting: Option<oneshot::Sender<Result<String, Unpolled>>>,
    /// What was posted and is to be handled.
    posted: Option<Posted>,
    /// Something that was posted is being handled.
    is_handling: bool,
    /// The client tries a WebSocket.
    is_probing: bool,
    upgrade: Option<(Box<WebSocket>, Box<Place>)>,
    /// After the upgrade.
    sender: Option<Sender>,
    /// The last packet, once the connection is closed.
    closed: Option<Engine<'static>>,
    /// The client was told that it is closed.
    is_over: bool,
    /// The tasks that wait for room: that of the connection, and the one that refills it.
    room: Vec<Waker>,
}

/// A payload that was posted.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) payload: String,
    /// Told when it was handled.
    pub(super) done: oneshot::Sender<Result<(), Unpolled>>,
}

impl Polled {
    pub(super) fn new(bound: usize) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::default(),
            bound,
            wake: Notify::new(),
            changed: Notify::new(),
        })
    }

    /// A payload of the client.
    pub(super) fn post(&self, payload: String, done: oneshot::Sender<Result<(), Unpolled>>) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.is_handling || inner.posted.is_some() {
            // A sender that no longer waits is not told.
            let _gone = done.send(Err(Unpolled::Overlap));
            return self.shut(inner, Engine::Close);
        }
        inner.posted = Some(Posted { payload, done });
        self.wake.notify_one();
    }

    /// What was posted, to be handled now.
    pub(super) fn take_posted(&self) -> Option<Posted> {
        let inner = &mut *self.inner.borrow_mut();
        let posted = inner.posted.take();
        inner.is_handling = posted.is_some();
        posted
    }

    /// What was posted was handled.
    pub(super) fn handled(&self) {
        self.inner.borrow_mut().is_handling = false;
    }

    /// A poll of the client.
    pub(super) fn poll(&self, done: oneshot::Sender<Result<String, Unpolled>>) {
        let inner = &mut *self.inner.borrow_mut();
        if inner
            .waiting
            .as_ref()
            .is_some_and(|older| !older.is_closed())
        {
            let _gone = done.send(Err(Unpolled::Overlap));
            return self.shut(inner, Engine::Close);
        }
        inner.waiting = Some(done);
        // Not at once: what else this turn creates goes into the same answer.
        self.changed.notify_one();
    }

    /// Answers the poll that waits, if there is something to say.
    pub(super) fn answer(&self) {
        let inner = &mut *self.inner.borrow_mut();
        let says_something =
            !inner.records.is_empty() || inner.closed.is_some() || inner.is_probing;
        let waiting = inner.waiting.take_if(|_| says_something);
        let Some(waiting) = waiting.filter(|waiting| !waiting.is_closed()) else {
            return;
        };
        let mut payload = String::new();
        let mut room = RECORDS;
        while room > 0
            && let Some(record) = inner.records.pop_front()
        {
            let bytes = record.as_bytes().len();
            if !payload.is_empty() && payload.len() + bytes > PAGE {
                inner.records.push_front(record);
                break;
            }
            inner.bytes -= bytes;
            write_record(
                &match record {
                    Payload::Text(ref text) => Record::Text(text),
                    Payload::Binary(bytes) => Record::Binary(bytes),
                },
                &mut payload,
            );
            room -= 1;
        }
        if room > 0
            && inner.records.is_empty()
            && let Some(last) = inner.closed
        {
            write_record(&Record::Text(&last.write()), &mut payload);
            inner.is_over = true;
        }
        if payload.is_empty() {
            payload = Engine::Noop.write();
        }
        // A client whose request has just ended learns from the next one that its connection is gone,
        // or from what does not come: polling has no acknowledgement.
        let _gone = waiting.send(Ok(payload));
        self.make_room(inner);
        if inner.is_over {
            self.wake.notify_one();
        }
    }

    fn make_room(&self, inner: &mut Inner) {
        if inner.bytes <= self.bound / 2 {
            inner.room.drain(..).for_each(Waker::wake);
        }
    }

    pub(super) fn set_probing(&self, is_probing: bool) {
        self.inner.borrow_mut().is_probing = is_probing;
        self.changed.notify_one();
    }

    pub(super) fn upgrade(&self, socket: Box<WebSocket>, place: Box<Place>) {
        let inner = &mut *self.inner.borrow_mut();
        inner.upgrade = Some((socket, place));
        inner.is_probing = false;
        self.wake.notify_one();
    }

    pub(super) fn is_upgraded(&self) -> bool {
        let inner = self.inner.borrow();
        inner.sender.is_some() || inner.upgrade.is_some()
    }

    /// The WebSocket to which the client has upgraded. From now on messages go over it, those that wait
    /// first.
    pub(super) fn take_upgrade(&self) -> Option<(Box<WebSocket>, Box<Place>)> {
        let inner = &mut *self.inner.borrow_mut();
        let (socket, place) = inner.upgrade.take()?;
        let sender = socket.sender();
        let outlet = Outlet::WebSocket(sender.clone());
        for record in mem::take(&mut inner.records) {
            // If it is closing, receiving from it says so.
            let _unsent = outlet.put(record);
        }
        inner.bytes = 0;
        inner.sender = Some(sender);
        if inner.closed.is_some() {
            outlet.close(CloseCode::NORMAL, "");
        }
        if let Some(waiting) = inner.waiting.take() {
            let _gone = waiting.send(Ok(Engine::Noop.write()));
        }
        self.make_room(inner);
        Some((socket, place))
    }

    /// Ends the connection with this packet.
    fn shut(&self, inner: &mut Inner, last: Engine<'static>) {
        inner.closed.get_or_insert(last);
        inner.room.drain(..).for_each(Waker::wake);
        self.changed.notify_one();
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.borrow().closed.is_some()
    }

    /// Whether the client was told everything, and that the connection is closed.
    pub(super) fn is_over(&self) -> bool {
        self.inner.borrow().is_over
    }

    /// Nothing is told any more: whoever waits learns that the connection is gone.
    pub(super) fn end(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner.closed.get_or_insert(Engine::Close);
        inner.waiting = None;
        inner.posted = None;
        inner.records = VecDeque::new();
    }
}

impl Transport for Polled {
    fn put(&self, kind: Kind, message: &[u8]) -> Result<usize, Gone> {
        let payload = match kind {
            Kind::Text => Payload::Text(String::from_utf8_lossy(message).into_owned()),
            Kind::Binary => Payload::Binary(message.to_vec()),
        };
        let inner = &mut *self.inner.borrow_mut();
        if inner.closed.is_some() {
            return Err(Gone);
        }
        inner.bytes += message.len();
        inner.records.push_back(payload);
        self.changed.notify_one();
        Ok(inner.bytes)
    }

    fn unsent(&self) -> usize {
        self.inner.borrow().bytes
    }

    fn socket(&self) -> Option<Sender> {
        self.inner.borrow().sender.clone()
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

    fn close(&self, code: CloseCode, _reason: &str) {
        let inner = &mut *self.inner.borrow_mut();
        // The client that closes knows that it is closed: its poll ends with nothing.
        let last = match code {
            CloseCode::NORMAL => Engine::Noop,
            _ => Engine::Close,
        };
        self.shut(inner, last);
    }
}
