//! A WebSocket as a transport: one task per connection, which receives. Sending is done elsewhere.

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
    unfinished::Receiving,
};
use crate::door::Place;

/// Serves a WebSocket until it ends.
///
/// Not an `async fn`, which would store its arguments twice: there is one such task per connection.
pub(super) fn serve(
    worker: &Rc<Worker>,
    mut socket: WebSocket,
    guest: Guest,
    place: Place,
) -> impl Future<Output = ()> + use<> {
    let lease = Lease::new(worker);
    async move {
        // Boxed, so that a connected client does not reserve room for it.
        if let Some(connection) = Box::pin(connect(&lease, &mut socket, guest)).await {
            go_on(connection, &mut socket).await;
        }
        // In this order: the connection counts as open until nothing refers to it any more.
        drop((socket, place, lease));
    }
}

/// Serves a connection whose client has connected, until it ends.
pub(super) async fn go_on(mut connection: Connection, socket: &mut WebSocket) {
    // The message that connected it may have asked for something large as well.
    Box::pin(wait(&mut connection, Taken::AwaitsAnswer, socket)).await;
    let mut receiving = Receiving::default();
    while let Some(taken) =
        poll_fn(|cx| poll_messages(&mut connection, socket, &mut receiving, cx)).await
    {
        Box::pin(wait(&mut connection, taken, socket)).await;
    }
}

/// Serves a connection that began over another transport and whose client has not connected yet.
pub(super) async fn serve_connecting(
    lease: &Lease,
    socket: &mut WebSocket,
    connecting: Connecting,
) {
    if let Some(connection) = Box::pin(until_connected(lease, socket, connecting)).await {
        go_on(connection, socket).await;
    }
}

/// Waits until the client has connected; closes the connection if it does not.
async fn connect(lease: &Lease, socket: &mut WebSocket, guest: Guest) -> Option<Connection> {
    let mut connecting = Connecting::new(socket.sender().into(), guest);
    // A client that can't be told anything is noticed by receiving from it.
    let _lost = connecting.opened();
    until_connected(lease, socket, connecting).await
}

async fn until_connected(
    lease: &Lease,
    socket: &mut WebSocket,
    connecting: Connecting,
) -> Option<Connection> {
    let worker = lease.worker();
    let within = worker.shared.config.connections.connect_timeout;
    let mut stopping = worker.stopping();
    let connected = tokio::select! {
        connected = introduction(worker, socket, connecting) => connected,
        () = sleep(within) => {
            Err(Ended::Close(CloseCode::POLICY_VIOLATION, "no connect was received in time"))
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
            // How it ended no longer matters.
            let _closed = socket.close(code, reason).await;
            None
        }
    }
}

async fn introduction(
    worker: &Rc<Worker>,
    socket: &mut WebSocket,
    mut connecting: Connecting,
) -> Result<Connection, Ended> {
    let mut receiving = Receiving::default();
    loop {
        let received = poll_fn(|cx| {
            if receiving.is_cut() {
                return Poll::Ready(Ok(None));
            }
            let polled = socket.poll_recv(cx);
            if polled.is_pending() {
                receiving.pause(socket, &worker.unfinished, cx);
            }
            polled
        });
        let Ok(Some(message)) = received.await else {
            return Err(Ended::Lost);
        };
        receiving.message();
        let mut connected = connecting.receive(worker, incoming(&message))?;
        loop {
            match connected {
                Connected::NotYet => break,
                Connected::Awaits(loading) => {
                    connected = connecting.go_on(worker, loading).await?;
                }
                Connected::Yes(mut connection, intents) => {
                    for intent in intents {
                        connection.carry_out(intent);
                    }
                    return Ok(connection);
                }
            }
        }
    }
}

/// Takes messages until there is a reason to pause: something to wait for, or a full outbox, since a
/// client that does not read its answers may not send further requests. None at the end.
fn poll_messages(
    connection: &mut Connection,
    socket: &mut WebSocket,
    receiving: &mut Receiving,
    cx: &mut Context<'_>,
) -> Poll<Option<Taken>> {
    loop {
        if receiving.is_cut() {
            return Poll::Ready(None);
        }
        // Yields to other tasks after a batch.
        let turn = ready!(poll_proceed(cx));
        match poll_message(connection, socket, cx) {
            Poll::Ready(Ok(Some(message))) => {
                receiving.message();
                let taken = connection.receive(incoming(&message));
                if taken != Taken::Done {
                    return Poll::Ready(Some(taken));
                }
            }
            Poll::Ready(Ok(None)) => {
                if socket.closed().is_some_and(|closed| said_goodbye(&closed)) {
                    connection.leave_by_transport();
                }
                return Poll::Ready(None);
            }
            Poll::Ready(Err(error)) => {
                lost(connection, &error);
                return Poll::Ready(None);
            }
            Poll::Pending => {
                receiving.pause(socket, &connection.worker.unfinished, cx);
                return Poll::Pending;
            }
        }
        turn.made_progress();
        if is_full(connection, socket) {
            return Poll::Ready(Some(Taken::Done));
        }
    }
}

/// The next message; pongs in between are receipts.
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

async fn wait(connection: &mut Connection, taken: Taken, socket: &WebSocket) {
    let bound = connection.worker.shared.config.messages.outbox_bytes;
    let room = async || {
        if socket.buffered_amount() > bound {
            // An error means that the connection is closing, which the next receive reports.
            let _closing = socket.room().await;
        }
    };
    connection.settle(taken, room).await;
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

/// Whether the client said that it is leaving. 1001 does not say so: a page that is reloaded sends
/// it, too, and returns at once (RFC 6455 §7.4.1).
fn said_goodbye(closed: &Closed) -> bool {
    let wished = closed.code == CloseCode::NORMAL || closed.code == CloseCode::NO_STATUS;
    wished && closed.by == ClosedBy::Remote
}
