//! The server's one interface for sending to a client, over any transport.

use std::{
    fmt,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use offhook::{
    ReadyState, Sender,
    protocol::{CloseCode, Prepared},
};
use offhook_dialects::Payload;

/// Accepts messages for one client on behalf of its transport. Cloning costs a reference count.
///
/// Nothing waits here: a transport queues messages and returns how many bytes are unsent. The
/// caller enforces the limit.
#[derive(Clone, Debug)]
pub(crate) enum Outlet {
    /// A WebSocket. It is not behind the trait because a broadcast loops over thousands of them.
    WebSocket(Sender),
    /// Any other transport.
    Other(Rc<dyn Transport>),
}

/// How the bytes of a connection travel, by which connections are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    WebSocket,
    /// Requests and responses of HTTP: server-sent events, polling, Engine.IO before its upgrade.
    Http,
    /// A byte stream of its own: TCP or TLS.
    Stream,
    /// A WebTransport session.
    WebTransport,
}

impl Medium {
    /// Its name in the metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Http => "http",
            Self::Stream => "stream",
            Self::WebTransport => "webtransport",
        }
    }
}

/// The connection is closing or closed, and accepts nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The sending half of a transport that is not a WebSocket.
pub(crate) trait Transport: fmt::Debug {
    /// Queues a message and returns how many bytes are unsent.
    fn put(&self, kind: Kind, message: &[u8]) -> Result<usize, Gone>;

    /// How many bytes are unsent.
    fn unsent(&self) -> usize;

    /// Ready once at most half of the bound is unsent. Several tasks may wait: that of the connection,
    /// and the one that refills it.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Sends what was put before, then ends the connection.
    fn close(&self, code: CloseCode, reason: &str);

    /// Whether it is known that nothing more is accepted. Checked before a message is built.
    fn is_closing(&self) -> bool {
        false
    }

    /// How its bytes travel.
    fn medium(&self) -> Medium {
        Medium::Http
    }

    /// The WebSocket that has taken its place; everything goes there then.
    fn socket(&self) -> Option<Sender> {
        None
    }

    /// Asks for proof that everything put before has arrived; the proof is
    /// [`Engine::handle_receipt`](offhook_engine::Engine::handle_receipt) with this number. `false`
    /// if too much is unsent to ask now, none if this transport cannot prove anything.
    fn mark(&self, _number: u32) -> Option<bool> {
        None
    }
}

/// Whether a message is text or bytes, for transports that distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

impl Outlet {
    /// How the connection's bytes travel.
    pub(crate) fn medium(&self) -> Medium {
        match self {
            Self::WebSocket(_) => Medium::WebSocket,
            Self::Other(transport) => match transport.socket() {
                Some(_) => Medium::WebSocket,
                None => transport.medium(),
            },
        }
    }

    /// Queues a message without waiting and returns how many bytes are unsent.
    pub(crate) fn put(&self, message: Payload) -> Result<usize, Gone> {
        match (self, message) {
            (Self::WebSocket(sender), Payload::Text(text)) => sender.put(text).map_err(gone),
            (Self::WebSocket(sender), Payload::Binary(bytes)) => sender.put(bytes).map_err(gone),
            (Self::Other(transport), message) => match (transport.socket(), message) {
                (Some(sender), message) => Self::WebSocket(sender).put(message),
                (None, Payload::Text(text)) => transport.put(Kind::Text, text.as_bytes()),
                (None, Payload::Binary(bytes)) => transport.put(Kind::Binary, &bytes),
            },
        }
    }

    /// Queues messages one after the other, and returns how many bytes are unsent.
    pub(crate) fn put_all(&self, messages: Vec<Payload>) -> Result<usize, Gone> {
        let mut unsent = self.unsent();
        for message in messages {
            unsent = self.put(message)?;
        }
        Ok(unsent)
    }

    /// Queues messages that are identical for many connections. They are sent together with
    /// everything else of this turn.
    #[inline]
    pub(crate) fn put_prepared(&self, messages: &[Prepared]) -> Result<usize, Gone> {
        match self {
            Self::WebSocket(sender) => put_each_on(sender, messages),
            Self::Other(transport) => match transport.socket() {
                Some(sender) => put_each_on(&sender, messages),
                None => put_each(&**transport, messages),
            },
        }
    }

    /// Queues messages that are identical for many connections, and writes at once what the
    /// transport accepts: the bytes come from one buffer of the thread, which is in the processor's
    /// cache.
    #[inline]
    pub(crate) fn write_prepared(&self, messages: &[Prepared]) -> Result<usize, Gone> {
        match self {
            Self::WebSocket(sender) => sender.write_prepared(messages).map_err(gone),
            Self::Other(transport) => match transport.socket() {
                Some(sender) => sender.write_prepared(messages).map_err(gone),
                None => put_each(&**transport, messages),
            },
        }
    }

    /// How many bytes are unsent.
    pub(crate) fn unsent(&self) -> usize {
        match self {
            Self::WebSocket(sender) => sender.buffered_amount(),
            Self::Other(transport) => match transport.socket() {
                Some(sender) => sender.buffered_amount(),
                None => transport.unsent(),
            },
        }
    }

    /// Whether it is known that nothing more is accepted.
    pub(crate) fn is_closing(&self) -> bool {
        let is_closing = |sender: &Sender| sender.state() != ReadyState::Open;
        match self {
            Self::WebSocket(sender) => is_closing(sender),
            Self::Other(transport) => match transport.socket() {
                Some(sender) => is_closing(&sender),
                None => transport.is_closing(),
            },
        }
    }

    /// Waits until at most half of the limit is unsent.
    pub(crate) async fn room(&self) -> Result<(), Gone> {
        match self {
            Self::WebSocket(sender) => sender.room().await.map_err(gone),
            Self::Other(transport) => match transport.socket() {
                Some(sender) => sender.room().await.map_err(gone),
                None => poll_fn(|cx| transport.poll_room(cx)).await,
            },
        }
    }

    /// Starts closing the connection, unless that has started.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        match self {
            // The connection may already be closing: the first close stands.
            Self::WebSocket(sender) => drop(sender.close(code, reason)),
            Self::Other(transport) => match transport.socket() {
                Some(sender) => drop(sender.close(code, reason)),
                None => transport.close(code, reason),
            },
        }
    }

    /// Asks for a receipt of everything put before; `false` if it must be tried again later.
    pub(crate) fn mark(&self, number: u32) -> bool {
        match self {
            // A closing connection is not asked any more.
            Self::WebSocket(sender) => sender.mark(number).unwrap_or(true),
            // If nothing can be proven, asking again does not help.
            Self::Other(transport) => match transport.socket() {
                Some(sender) => sender.mark(number).unwrap_or(true),
                None => transport.mark(number).unwrap_or(true),
            },
        }
    }
}

impl From<Sender> for Outlet {
    fn from(sender: Sender) -> Self {
        Self::WebSocket(sender)
    }
}

fn put_each_on(sender: &Sender, messages: &[Prepared]) -> Result<usize, Gone> {
    let mut unsent = sender.buffered_amount();
    for message in messages {
        unsent = sender.put(message).map_err(gone)?;
    }
    Ok(unsent)
}

fn put_each(transport: &dyn Transport, messages: &[Prepared]) -> Result<usize, Gone> {
    let mut unsent = transport.unsent();
    for message in messages {
        let kind = match message.kind() {
            offhook::protocol::Kind::Text => Kind::Text,
            offhook::protocol::Kind::Binary => Kind::Binary,
        };
        unsent = transport.put(kind, message.as_bytes())?;
    }
    Ok(unsent)
}

/// Adds the task to those that wait; each is there once.
pub(super) fn wait(waiting: &mut Vec<Waker>, cx: &Context<'_>) {
    if !waiting.iter().any(|other| other.will_wake(cx.waker())) {
        waiting.push(cx.waker().clone());
    }
}

fn gone(_closing: offhook::Error) -> Gone {
    Gone
}
