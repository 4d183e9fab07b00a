//! A connection: one task that receives its commands. What it is sent is not this task's business.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

use offhook::{
    Error, Message, WebSocket,
    protocol::{CloseCode, Closed, ClosedBy},
};
use offhook_dialects::native::{self, Request};
use offhook_engine::{Command, CommandId, ConnectionId, ErrorCode, Refusal};
use tokio::task::coop::poll_proceed;

use super::{Worker, connecting::connect, stopping::Held};
use crate::door::Place;

/// Serves a WebSocket until it ends.
///
/// Not an `async fn`, whose arguments would lie in the task twice: there is one of these a connection.
pub(super) fn serve(
    worker: &Rc<Worker>,
    mut socket: WebSocket,
    place: Place,
) -> impl Future<Output = ()> + use<> {
    let held = Held::new(worker);
    async move {
        // Boxed, so that a connection that is connected does not carry along what that took.
        if let Some(mut connection) = Box::pin(connect(&held, &mut socket)).await {
            while let Some(pause) = poll_fn(|cx| connection.poll_commands(&mut socket, cx)).await {
                Box::pin(connection.wait(pause, &socket)).await;
            }
        }
        // In this order: it is open until nobody knows of it any more.
        drop((socket, place, held));
    }
}

/// Why no more commands are taken for now.
enum Pause {
    /// The outbox is full: who does not take the answers asks nothing more.
    Full,
    /// A large answer is under way: else small questions would make a connection's outbox as large as
    /// one likes.
    Asked,
}

/// A connection that said who it is. The engine knows of it until this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    worker: Rc<Worker>,
    id: ConnectionId,
    /// Whether its client has said goodbye.
    left: bool,
}

impl Connection {
    pub(super) fn new(worker: &Rc<Worker>, id: ConnectionId) -> Self {
        worker.shared.connection_came();
        Self {
            worker: Rc::clone(worker),
            id,
            left: false,
        }
    }

    /// Takes commands until there is a reason to pause; none is the end.
    fn poll_commands(
        &mut self,
        socket: &mut WebSocket,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Pause>> {
        loop {
            // Nobody keeps the event loop for himself.
            let turn = ready!(poll_proceed(cx));
            match self.poll_message(socket, cx) {
                Poll::Ready(Ok(Some(message))) => {
                    if self.take(&message) {
                        return Poll::Ready(Some(Pause::Asked));
                    }
                }
                Poll::Ready(Ok(None)) => {
                    self.left = socket.closed().is_some_and(|closed| said_goodbye(&closed));
                    return Poll::Ready(None);
                }
                Poll::Ready(Err(error)) => {
                    self.lost(&error);
                    return Poll::Ready(None);
                }
                Poll::Pending => return Poll::Pending,
            }
            turn.made_progress();
            if socket.buffered_amount() > self.worker.shared.config.messages.outbox_bytes {
                return Poll::Ready(Some(Pause::Full));
            }
        }
    }

    async fn wait(&self, pause: Pause, socket: &WebSocket) {
        if let Pause::Asked = pause {
            self.worker.answered(self.id).await;
        }
        if socket.buffered_amount() > self.worker.shared.config.messages.outbox_bytes {
            // That it is closing is said by the next message, which there is none of.
            let _closing = socket.room().await;
        }
    }

    /// The next message; pongs on the way are receipts.
    fn poll_message(
        &self,
        socket: &mut WebSocket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, Error>> {
        let polled = socket.poll_recv(cx);
        if polled.is_pending()
            && let Some(number) = socket.take_reached()
        {
            self.worker
                .turn(|engine, _| engine.handle_receipt(self.id, number));
        }
        polled
    }

    /// Takes a message: a command, or what is answered with what is wrong with it. Says whether
    /// the answer may be large.
    fn take(&self, message: &Message) -> bool {
        let Some(text) = message.as_text() else {
            self.refuse(None, bad("binary messages are not used here; send text"));
            return false;
        };
        match native::decode(text) {
            Ok(Request::Command { id, command }) => {
                let large = matches!(
                    command,
                    Command::History { .. }
                        | Command::State { .. }
                        | Command::Presence { .. }
                        | Command::Receipts { .. }
                );
                self.worker
                    .turn(|engine, now| engine.handle_command(self.id, id, command, now));
                return large;
            }
            Ok(Request::Connect(connect)) => {
                self.refuse(
                    Some(connect.id),
                    bad("this connection is connected already"),
                );
            }
            Err(rejection) => self.refuse(rejection.id, rejection.refusal),
        }
        false
    }

    fn refuse(&self, id: Option<CommandId>, refusal: Refusal) {
        self.worker
            .turn(|engine, now| engine.handle_refused(self.id, id, refusal, now));
    }

    fn lost(&self, error: &Error) {
        if let Error::Peer(error) = error {
            self.worker.note_refused("protocol", error);
        } else {
            tracing::debug!(%error, "connection lost");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.end_connection(self.id, self.left);
        self.worker.shared.connection_went();
    }
}

impl Worker {
    /// Waits until everything that a connection has asked of the broker is answered.
    async fn answered(&self, connection: ConnectionId) {
        let bell = self
            .state
            .borrow_mut()
            .outboxes
            .ring_when_answered(connection);
        let Some(bell) = bell else { return };
        while self.state.borrow().engine.unanswered(connection) > 0 {
            bell.notified().await;
        }
        self.state.borrow_mut().outboxes.ring_no_more(connection);
    }

    fn end_connection(self: &Rc<Self>, connection: ConnectionId, left: bool) {
        self.state.borrow_mut().outboxes.remove(connection);
        self.turn(|engine, _| {
            if left {
                engine.handle_connection_closed(connection);
            } else {
                engine.handle_connection_lost(connection);
            }
        });
    }
}

/// Whether the client wished to leave. 1001 is none: a page that is loaded again says so, too, and
/// comes back at once (RFC 6455 §7.4.1).
fn said_goodbye(closed: &Closed) -> bool {
    let wished = closed.code == CloseCode::NORMAL || closed.code == CloseCode::NO_STATUS;
    wished && closed.by == ClosedBy::Remote
}

pub(super) fn bad(detail: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, detail)
}
