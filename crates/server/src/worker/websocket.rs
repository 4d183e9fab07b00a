//! A WebSocket as a transport: one task a connection, which receives. What is sent to the client is
//! not this task's business.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

use offhook::{
    Error, Message, WebSocket,
    protocol::{CloseCode, Closed, ClosedBy},
};
use offhook_dialects::Incoming;
use tokio::{task::coop::poll_proceed, time::sleep};

use super::{
    Guest, Worker,
    connecting::{Connected, Connecting, Ended},
    connection::{Connection, Taken},
    stopping::Lease,
};
use crate::door::Place;

/// Serves a WebSocket until it ends.
///
/// Not an `async fn`, which would hold its arguments twice: there is one of these tasks a connection.
pub(super) fn serve(
    worker: &Rc<Worker>,
    mut socket: WebSocket,
    guest: Guest,
    place: Place,
) -> impl Future<Output = ()> + use<> {
    let lease = Lease::new(worker);
    async move {
        // Boxed, so that a connection that is connected does not keep room for it.
        if let Some(mut connection) = Box::pin(connect(&lease, &mut socket, guest)).await {
            while let Some(pause) =
                poll_fn(|cx| poll_messages(&mut connection, &mut socket, cx)).await
            {
                Box::pin(wait(&connection, pause, &socket)).await;
            }
        }
        // In this order: the connection counts as open until nothing refers to it any more.
        drop((socket, place, lease));
    }
}

/// Waits until the client has connected; closes the connection if it does not.
async fn connect(lease: &Lease, socket: &mut WebSocket, guest: Guest) -> Option<Connection> {
    let worker = lease.worker();
    let within = worker.shared.config.connections.connect_timeout;
    let mut stopping = worker.stopping();
    let connected = tokio::select! {
        connected = introduction(worker, socket, guest) => connected,
        () = sleep(within) => {
            Err(Ended::Close(CloseCode::POLICY_VIOLATION, "no connect came in time"))
        }
        () = stopping.begun() => {
            Err(Ended::Close(CloseCode::SERVICE_RESTART, "the server goes away"))
        }
    };
    match connected {
        Ok(connection) => Some(connection),
        Err(Ended::Lost) => None,
        Err(Ended::Close(code, reason)) => {
            worker.note_refused("connect", reason);
            // How it ended is of no more interest.
            let _closed = socket.close(code, reason).await;
            None
        }
    }
}

async fn introduction(
    worker: &Rc<Worker>,
    socket: &mut WebSocket,
    guest: Guest,
) -> Result<Connection, Ended> {
    let mut connecting = Connecting::new(socket.sender().into(), guest);
    loop {
        let Ok(Some(message)) = socket.recv().await else {
            return Err(Ended::Lost);
        };
        match connecting.receive(worker, incoming(&message))? {
            Connected::NotYet => {}
            Connected::Yes(mut connection, intents) => {
                for intent in intents {
                    connection.carry_out(intent);
                }
                return Ok(connection);
            }
        }
    }
}

/// Why no more messages are taken for now.
enum Pause {
    /// The outbox is full: a client that does not take its answers may not ask for more.
    Full,
    /// A large answer is under way.
    Answer,
}

/// Takes messages until there is a reason to pause; none is the end.
fn poll_messages(
    connection: &mut Connection,
    socket: &mut WebSocket,
    cx: &mut Context<'_>,
) -> Poll<Option<Pause>> {
    loop {
        // Yields to other tasks after a batch.
        let turn = ready!(poll_proceed(cx));
        match poll_message(connection, socket, cx) {
            Poll::Ready(Ok(Some(message))) => {
                if connection.receive(incoming(&message)) == Taken::AwaitsAnswer {
                    return Poll::Ready(Some(Pause::Answer));
                }
            }
            Poll::Ready(Ok(None)) => {
                if socket.closed().is_some_and(|closed| said_goodbye(&closed)) {
                    connection.leave();
                }
                return Poll::Ready(None);
            }
            Poll::Ready(Err(error)) => {
                lost(connection, &error);
                return Poll::Ready(None);
            }
            Poll::Pending => return Poll::Pending,
        }
        turn.made_progress();
        if is_full(connection, socket) {
            return Poll::Ready(Some(Pause::Full));
        }
    }
}

/// The next message; pongs on the way are receipts.
fn poll_message(
    connection: &mut Connection,
    socket: &mut WebSocket,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Message>, Error>> {
    let polled = socket.poll_recv(cx);
    if polled.is_pending()
        && let Some(mark) = socket.take_reached()
    {
        connection.receipt(mark);
    }
    polled
}

async fn wait(connection: &Connection, pause: Pause, socket: &WebSocket) {
    if let Pause::Answer = pause {
        connection.worker.answered(connection.id()).await;
    }
    if is_full(connection, socket) {
        // An error means that the connection is closing, which the next receive reports.
        let _closing = socket.room().await;
    }
}

fn is_full(connection: &Connection, socket: &WebSocket) -> bool {
    socket.buffered_amount() > connection.worker.shared.config.messages.outbox_bytes
}

fn lost(connection: &Connection, error: &Error) {
    if let Error::Peer(error) = error {
        connection.worker.note_refused("protocol", error);
    } else {
        tracing::debug!(%error, "connection lost");
    }
}

fn incoming(message: &Message) -> Incoming<'_> {
    match message {
        Message::Text(text) => Incoming::Text(text),
        Message::Binary(bytes) => Incoming::Binary(bytes),
    }
}

/// Whether the client wished to leave. 1001 does not say so: a page that is loaded again sends it,
/// too, and comes back at once (RFC 6455 §7.4.1).
fn said_goodbye(closed: &Closed) -> bool {
    let wished = closed.code == CloseCode::NORMAL || closed.code == CloseCode::NO_STATUS;
    wished && closed.by == ClosedBy::Remote
}
