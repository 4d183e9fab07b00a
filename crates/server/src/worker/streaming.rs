//! The body of an HTTP response as a transport, for clients that can only read.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use offhook::protocol::CloseCode;
use offhook_dialects::Incoming;
use tokio::sync::Notify;

use super::{
    Guest, Worker,
    connecting::{Connected, Connecting},
    connection::Connection,
    outlet::{Gone, Kind, Outlet, Transport, wait},
};

/// The maximum number of bytes passed to the HTTP library at once. 16 KiB: bytes that it holds do
/// not count as unsent, and writes of this size are efficient.
const PIECE: usize = 16 * 1024;

/// The unsent bytes of a response. An idle one holds no buffer.
#[derive(Debug)]
pub(super) struct Unsent {
    inner: RefCell<Inner>,
    bound: usize,
    /// Notified when it has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    /// Nothing more is accepted, and the response ends after these bytes.
    closed: bool,
    /// The code with which the connection was closed.
    code: Option<CloseCode>,
    /// Waits for bytes.
    reader: Option<Waker>,
    /// The tasks that wait for room: that of the connection, and the one that refills it.
    room: Vec<Waker>,
}

impl Unsent {
    pub(super) fn new(bound: usize) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::default(),
            bound,
            ended: Notify::new(),
        })
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.bytes.is_empty() {
            if inner.closed {
                return Poll::Ready(None);
            }
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let rest = match inner.bytes.len() > PIECE {
            true => inner.bytes.split_off(PIECE),
            false => Vec::new(),
        };
        let piece = mem::replace(&mut inner.bytes, rest);
        if inner.bytes.len() <= self.bound / 2 {
            inner.room.drain(..).for_each(Waker::wake);
        }
        Poll::Ready(Some(piece.into()))
    }

    /// Ready once something was put, or the stream has ended.
    fn poll_put(&self, cx: &Context<'_>) -> Poll<()> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.closed || !inner.bytes.is_empty() {
            return Poll::Ready(());
        }
        inner.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Sends a text; after the end nothing is sent.
    pub(super) fn write(&self, text: &str) {
        // A caller to whom the end matters waits for it.
        let _ended = self.put(Kind::Text, text.as_bytes());
    }

    /// Waits for the end; only one task may.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.borrow().closed
    }

    pub(super) fn end(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner.closed = true;
        self.ended.notify_one();
        inner.reader.take().into_iter().for_each(Waker::wake);
        inner.room.drain(..).for_each(Waker::wake);
    }
}

impl Transport for Unsent {
    fn put(&self, _kind: Kind, message: &[u8]) -> Result<usize, Gone> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.closed {
            return Err(Gone);
        }
        inner.bytes.extend_from_slice(message);
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
        Ok(inner.bytes.len())
    }

    fn unsent(&self) -> usize {
        self.inner.borrow().bytes.len()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let inner = &mut *self.inner.borrow_mut();
        if inner.closed {
            return Poll::Ready(Err(Gone));
        }
        if inner.bytes.len() <= self.bound / 2 {
            return Poll::Ready(Ok(()));
        }
        wait(&mut inner.room, cx);
        Poll::Pending
    }

    fn close(&self, code: CloseCode, _reason: &str) {
        // The first close stands.
        {
            let inner = &mut *self.inner.borrow_mut();
            if !inner.closed {
                inner.code = Some(code);
            }
        }
        self.end();
    }
}

/// The body of a response that carries everything sent to a connection. The connection ends with
/// it.
#[derive(Debug)]
pub(crate) struct Streaming {
    unsent: Rc<Unsent>,
    connection: Option<Connection>,
}

impl Worker {
    /// Creates the connection of a client whose dialect already has the request. If it is refused,
    /// the body contains only the refusal.
    pub(crate) async fn stream(self: &Rc<Self>, guest: Guest) -> Streaming {
        let unsent = Unsent::new(self.shared.config.messages.outbox_bytes);
        let outlet = Outlet::Other(Rc::<Unsent>::clone(&unsent));
        let mut connecting = Connecting::new(outlet, guest);
        let mut connected = connecting.receive(self, Incoming::Text(""));
        // The backend may be asked about the client.
        while let Ok(Connected::Awaits(loading)) = connected {
            connected = connecting.go_on(self, loading).await;
        }
        let connection = match connected {
            Ok(Connected::Yes(mut connection, intents)) => {
                for intent in intents {
                    connection.carry_out(intent);
                }
                Some(connection)
            }
            Ok(Connected::NotYet | Connected::Awaits(_)) | Err(_) => {
                unsent.end();
                None
            }
        };
        Streaming { unsent, connection }
    }
}

impl Streaming {
    /// A body whose connection is looked after elsewhere.
    pub(super) const fn of(unsent: Rc<Unsent>) -> Self {
        Self {
            unsent,
            connection: None,
        }
    }

    /// Waits until there is something to send, and returns it. It stays in the body.
    pub(crate) async fn first(&self) -> String {
        poll_fn(|cx| self.unsent.poll_put(cx)).await;
        let inner = self.unsent.inner.borrow();
        String::from_utf8_lossy(&inner.bytes).into_owned()
    }

    /// Waits for the next bytes to send, and takes them; none at the end. They may end inside an
    /// event.
    pub(crate) async fn take(&self) -> Option<Bytes> {
        poll_fn(|cx| self.unsent.poll_take(cx)).await
    }

    /// Whether the client was let in.
    pub(crate) const fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether the connection's dialect has closed it because the request is answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.unsent.inner.borrow().code == Some(CloseCode::NORMAL)
    }

    #[cfg(test)]
    pub(super) const fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// The client is leaving, and is no longer a member.
    pub(crate) const fn leave(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.leave();
        }
    }
}

impl Body for Streaming {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.unsent.poll_take(cx);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.unsent.end();
    }
}
