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
use crate::{door::Place, refused};

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
    // Boxed, so that a connected client does not reserve room for it.
    let guest = Box::new(guest);
    async move {
        if let Some(connection) = Box::pin(connect(&lease, &mut socket, guest)).await {
            let mut client = Client {
                connection,
                socket: &mut socket,
                receiving: Receiving::default(),
            };
            // The message that connected it may have asked for something large as well.
            Box::pin(client.wait(Taken::AwaitsAnswer)).await;
            while let Some(taken) = poll_fn(|cx| client.poll_messages(cx)).await {
                Box::pin(client.wait(taken)).await;
            }
            Box::pin(client.connection.until_it_may_end()).await;
        }
        // Without a Close, the connection was lost (RFC 6455 §7.1.5).
        let code = socket.closed().map_or(1006, |closed| closed.code.get());
        lease.worker().metrics.closed.count(code);
        // In this order: the connection counts as open until nothing refers to it any more.
        drop((socket, place, lease));
    }
}

/// Serves a connection that began over another transport, until it ends. Such connections are rare,
/// so their task need not be small.
pub(super) async fn go_on(connection: Connection, socket: &mut WebSocket) {
    let mut client = Client {
        connection,
        socket,
        receiving: Receiving::default(),
    };
    client.wait(Taken::AwaitsAnswer).await;
    while let Some(taken) = poll_fn(|cx| client.poll_messages(cx)).await {
        client.wait(taken).await;
    }
    client.connection.until_it_may_end().await;
}

/// The same for a connection whose client has not sent `connect` yet.
pub(super) async fn serve_connecting(
    lease: &Lease,
    socket: &mut WebSocket,
    connecting: Connecting,
) {
    if let Some(connection) = until_connected(lease, socket, connecting).await {
        go_on(connection, socket).await;
    }
}

/// Waits until the client has connected; closes the connection if it does not.
///
/// Takes the box, because a caller would keep an emptied box until its own end.
async fn connect(lease: &Lease, socket: &mut WebSocket, guest: Box<Guest>) -> Option<Connection> {
    let mut connecting = Connecting::new(socket.sender().into(), *guest);
    // If the client cannot be reached, receiving notices that.
    let _lost = connecting.opened();
    until_connected(lease, socket, connecting).await
}

async fn until_connected(
    lease: &Lease,
    socket: &mut WebSocket,
    mut connecting: Connecting,
) -> Option<Connection> {
    let worker = lease.worker();
    let late = connecting.late();
    let within = worker.shared.config.connections.connect_timeout;
    let client = connecting
        .peer()
        .map(refused::Client::at)
        .unwrap_or_default();
    let mut stopping = worker.stopping();
    let connected = tokio::select! {
        connected = introduction(worker, socket, connecting) => connected,
        () = sleep(within) => Err(late),
        () = stopping.begun() => {
            Err(Ended::Close(CloseCode::SERVICE_RESTART, "the server goes away"))
        }
    };
    match connected {
        Ok(connection) => Some(connection),
        Err(Ended::Lost) => None,
        Err(Ended::Close(code, reason)) => {
            worker.note_refusal("connect", reason, client);
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
    let mut connected = connecting.begin_by_itself(worker)?;
    loop {
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
        connected = connecting.receive(worker, incoming(&message))?;
        if socket.buffered_amount() > worker.shared.config.messages.outbox_bytes {
            // An error means that the connection is closing, which the next receive reports.
            let _closing = socket.room().await;
        }
        if connecting.unfinished() > FIRST {
            let reason = "the first packet is split over too many messages";
            return Err(Ended::Close(CloseCode::TOO_BIG, reason));
        }
    }
}

/// How many bytes of an incomplete first packet of MQTT may be spread over several messages. 64 KiB:
/// clients send a CONNECT as one message, and what strangers leave unfinished here is not counted.
const FIRST: usize = 64 * 1024;

/// A connected client. One variable instead of three makes the task of a connection smaller.
struct Client<'s> {
    connection: Connection,
    socket: &'s mut WebSocket,
    receiving: Receiving,
}

impl Client<'_> {
    /// Takes messages until there is a reason to pause: something to wait for, or a full outbox,
    /// since a client that does not read its answers may not send further requests. None at the end.
    fn poll_messages(&mut self, cx: &mut Context<'_>) -> Poll<Option<Taken>> {
        let worker = Rc::clone(&self.connection.worker);
        worker.gather(|| self.take_messages(cx))
    }

    fn take_messages(&mut self, cx: &mut Context<'_>) -> Poll<Option<Taken>> {
        let Self {
            connection,
            socket,
            receiving,
        } = self;
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
                    record_end(connection, socket);
                    return Poll::Ready(None);
                }
                Poll::Ready(Err(error)) => {
                    lost(connection, &error);
                    record_end(connection, socket);
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

    async fn wait(&mut self, taken: Taken) {
        let bound = self.connection.worker.shared.config.messages.outbox_bytes;
        let socket = &self.socket;
        let room = async || {
            if socket.buffered_amount() > bound {
                // An error means that the connection is closing, which the next receive reports.
                let _closing = socket.room().await;
            }
        };
        self.connection.settle(taken, room).await;
    }
}

/// The next message; pongs in between are receipts, or measure the round trip.
fn poll_message(
    connection: &mut Connection,
    socket: &mut WebSocket,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Message>, Error>> {
    let polled = socket.poll_recv(cx);
    if polled.is_pending() {
        if let Some(mark) = socket.take_reached() {
            connection.receipt(mark);
        }
        if let Some(time) = socket.take_rtt() {
            connection.worker.metrics.ping_round_trip.record(time);
        }
    }
    polled
}

fn is_full(connection: &Connection, socket: &WebSocket) -> bool {
    socket.buffered_amount() > connection.worker.shared.config.messages.outbox_bytes
}

fn lost(connection: &Connection, error: &Error) {
    if let Error::Peer(error) = error {
        let is_long = error.close_code() == CloseCode::TOO_BIG;
        let kind = if is_long { "too_long" } else { "protocol" };
        connection.note_refusal(kind, error);
    } else {
        tracing::debug!(%error, "connection lost");
    }
}

fn record_end(connection: &Connection, socket: &WebSocket) {
    match socket.closed() {
        Some(closed) => connection.ended(closed.code.get(), &closed.reason),
        // Without a Close it was lost, RFC 6455 §7.1.5.
        None => connection.ended(1006, ""),
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use offhook::WebSocket;

    use super::{Guest, Place, Worker, serve};

    /// The runtime adds 104 bytes and rounds up to a multiple of 128.
    #[test]
    fn the_task_of_a_connection_fits_into_256_bytes() {
        fn size<F>(_: impl Fn(&Rc<Worker>, WebSocket, Guest, Place) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(serve);
        assert!(size <= 152, "{size} bytes");
    }
}
