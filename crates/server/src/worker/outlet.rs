//! The server's one way to send to a client, whatever the transport.

use std::{
    fmt,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

use offhook::{
    Sender,
    protocol::{CloseCode, Prepared},
};
use offhook_dialects::Payload;

/// Where a transport takes what is to be sent to one client. Cloning costs a reference count.
///
/// Nothing waits here: a transport queues what it is given and says how many bytes are unsent. The
/// caller minds the bound.
#[derive(Clone, Debug)]
pub(crate) enum Outlet {
    /// A WebSocket. It is not behind the trait because a broadcast goes through thousands of these in
    /// one loop.
    WebSocket(Sender),
    /// Any other transport.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "WebSocket is the only transport so far")
    )]
    Other(Rc<dyn Transport>),
}

/// The connection is closing or closed, and takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The sending half of a transport that is not a WebSocket.
pub(crate) trait Transport: fmt::Debug {
    /// Queues a message and returns how many bytes are unsent.
    fn put(&self, kind: Kind, message: &[u8]) -> Result<usize, Gone>;

    /// How many bytes are unsent.
    fn unsent(&self) -> usize;

    /// Ready once at most half of the bound is unsent.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Sends what was put before, then ends the connection.
    fn close(&self, code: CloseCode, reason: &str);

    /// Asks for proof that everything put before has arrived; the proof is
    /// [`Engine::handle_receipt`](offhook_engine::Engine::handle_receipt) with this number. False
    /// where too much is unsent to ask now, none where this transport can prove nothing.
    fn mark(&self, _number: u32) -> Option<bool> {
        None
    }
}

/// Whether a message is text or bytes, for transports that tell these apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

impl Outlet {
    /// Queues a message without waiting and returns how many bytes are unsent.
    pub(crate) fn put(&self, message: Payload) -> Result<usize, Gone> {
        match (self, message) {
            (Self::WebSocket(sender), Payload::Text(text)) => sender.put(text).map_err(gone),
            (Self::WebSocket(sender), Payload::Binary(bytes)) => sender.put(bytes).map_err(gone),
            (Self::Other(transport), Payload::Text(text)) => {
                transport.put(Kind::Text, text.as_bytes())
            }
            (Self::Other(transport), Payload::Binary(bytes)) => transport.put(Kind::Binary, &bytes),
        }
    }

    /// Queues messages that are the same for many connections. They leave with what else this turn
    /// has for the connection.
    #[inline]
    pub(crate) fn put_prepared(&self, messages: &[Prepared]) -> Result<usize, Gone> {
        match self {
            Self::WebSocket(sender) => sender.put_prepared(messages).map_err(gone),
            Self::Other(transport) => put_each(&**transport, messages),
        }
    }

    /// Queues messages that are the same for many connections, and writes at once what the transport
    /// takes: the bytes go from the one buffer of the thread, which the processor has at hand.
    #[inline]
    pub(crate) fn write_prepared(&self, messages: &[Prepared]) -> Result<usize, Gone> {
        match self {
            Self::WebSocket(sender) => sender.write_prepared(messages).map_err(gone),
            Self::Other(transport) => put_each(&**transport, messages),
        }
    }

    /// How many bytes are unsent.
    pub(crate) fn unsent(&self) -> usize {
        match self {
            Self::WebSocket(sender) => sender.buffered_amount(),
            Self::Other(transport) => transport.unsent(),
        }
    }

    /// Waits until at most half of the bound is unsent.
    pub(crate) async fn room(&self) -> Result<(), Gone> {
        match self {
            Self::WebSocket(sender) => sender.room().await.map_err(gone),
            Self::Other(transport) => poll_fn(|cx| transport.poll_room(cx)).await,
        }
    }

    /// Begins to close the connection, if that has not begun.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        match self {
            // It may be closing already: then that stands.
            Self::WebSocket(sender) => drop(sender.close(code, reason)),
            Self::Other(transport) => transport.close(code, reason),
        }
    }

    /// Asks for a receipt of everything put before; false if that is to be tried again later.
    pub(crate) fn mark(&self, number: u32) -> bool {
        match self {
            // A connection that is closing is not asked any more.
            Self::WebSocket(sender) => sender.mark(number).unwrap_or(true),
            // Where nothing can be proven, asking again changes nothing.
            Self::Other(transport) => transport.mark(number).unwrap_or(true),
        }
    }
}

impl From<Sender> for Outlet {
    fn from(sender: Sender) -> Self {
        Self::WebSocket(sender)
    }
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

fn gone(_closing: offhook::Error) -> Gone {
    Gone
}
