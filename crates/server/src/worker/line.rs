//! A line: one task that receives its commands. What it is sent is not this task's business.

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
use offhook_engine::{CommandId, ErrorCode, LineId, Refusal};
use tokio::task::coop::poll_proceed;

use super::{Worker, connecting::connect, stopping::Held};
use crate::door::Place;

/// Serves a WebSocket until it ends.
///
/// Not an `async fn`, whose arguments would lie in the task twice: there is one of these a line.
pub(super) fn serve(
    worker: &Rc<Worker>,
    mut socket: WebSocket,
    place: Place,
) -> impl Future<Output = ()> + use<> {
    let held = Held::new(worker);
    async move {
        // Boxed, so that a line that is connected does not carry along what that took.
        if let Some(mut line) = Box::pin(connect(&held, &mut socket)).await {
            // Who does not take the answers asks nothing more.
            while let Pause::Full = poll_fn(|cx| line.poll_commands(&mut socket, cx)).await {
                // That it is closing is said by the next message, which there is none of.
                let _closing = Box::pin(socket.room()).await;
            }
        }
        // In this order: it is open until nobody knows of it any more.
        drop((socket, place, held));
    }
}

/// Why no more commands are taken.
enum Pause {
    /// Its outbox is full.
    Full,
    /// It has ended.
    Ended,
}

/// A line that said who it is. The engine knows of it until this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    worker: Rc<Worker>,
    id: LineId,
    /// Whether its client has said goodbye.
    left: bool,
}

impl Line {
    pub(super) fn new(worker: &Rc<Worker>, id: LineId) -> Self {
        worker.shared.line_came();
        Self {
            worker: Rc::clone(worker),
            id,
            left: false,
        }
    }

    /// Takes commands until there is a reason to pause.
    fn poll_commands(&mut self, socket: &mut WebSocket, cx: &mut Context<'_>) -> Poll<Pause> {
        loop {
            // Nobody keeps the event loop for himself.
            let turn = ready!(poll_proceed(cx));
            match self.poll_message(socket, cx) {
                Poll::Ready(Ok(Some(message))) => self.take(&message),
                Poll::Ready(Ok(None)) => {
                    self.left = socket.closed().is_some_and(|closed| said_goodbye(&closed));
                    return Poll::Ready(Pause::Ended);
                }
                Poll::Ready(Err(error)) => {
                    self.lost(&error);
                    return Poll::Ready(Pause::Ended);
                }
                Poll::Pending => return Poll::Pending,
            }
            turn.made_progress();
            if socket.buffered_amount() > self.worker.shared.config.messages.outbox_bytes {
                return Poll::Ready(Pause::Full);
            }
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

    /// Takes a message: a command, or what is answered with what is wrong with it.
    fn take(&self, message: &Message) {
        let Some(text) = message.as_text() else {
            return self.refuse(None, bad("binary messages are not used here; send text"));
        };
        match native::decode(text) {
            Ok(Request::Command { id, command }) => {
                self.worker
                    .turn(|engine, now| engine.handle_command(self.id, id, command, now));
            }
            Ok(Request::Connect(connect)) => {
                self.refuse(Some(connect.id), bad("this line is connected already"));
            }
            Err(rejection) => self.refuse(rejection.id, rejection.refusal),
        }
    }

    fn refuse(&self, id: Option<CommandId>, refusal: Refusal) {
        self.worker
            .turn(|engine, now| engine.handle_refused(self.id, id, refusal, now));
    }

    fn lost(&self, error: &Error) {
        if let Error::Peer(error) = error {
            self.worker.note_refused("protocol", error);
        } else {
            tracing::debug!(%error, "line lost");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.worker.end_line(self.id, self.left);
        self.worker.shared.line_went();
    }
}

impl Worker {
    fn end_line(self: &Rc<Self>, line: LineId, left: bool) {
        self.state.borrow_mut().outboxes.remove(line);
        self.turn(|engine, _| {
            if left {
                engine.handle_line_closed(line);
            } else {
                engine.handle_line_lost(line);
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
