//! A line: one task that receives its commands. What it is sent is not this task's business.

use std::{future::poll_fn, rc::Rc};

use offhook::{
    Error, Message, WebSocket,
    protocol::{CloseCode, Closed, ClosedBy},
};
use offhook_dialects::native::{self, Request};
use offhook_engine::{CommandId, ErrorCode, LineId, Refusal};
use tokio::task::coop::consume_budget;

use super::{Worker, connecting::connect, stopping::Held};
use crate::door::Place;

/// Serves a WebSocket until it ends.
pub(super) async fn serve(worker: Rc<Worker>, mut socket: WebSocket, place: Place) {
    let held = Held::new(&worker);
    // Boxed, so that a line that is connected does not carry along what that took.
    if let Some(mut line) = Box::pin(connect(&worker, &mut socket)).await {
        line.receive(&mut socket).await;
    }
    drop((socket, place, held));
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

    async fn receive(&mut self, socket: &mut WebSocket) {
        let bound = self.worker.shared.config.messages.outbox_bytes;
        loop {
            match self.next(socket).await {
                Ok(Some(message)) => self.take(&message),
                Ok(None) => {
                    self.left = socket.closed().is_some_and(|closed| said_goodbye(&closed));
                    return;
                }
                Err(error) => return self.lost(&error),
            }
            // Who does not take the answers asks nothing more.
            if socket.buffered_amount() > bound {
                // That it is closing is said by the next message, which there is none of.
                let _closing = socket.room().await;
            }
            // Nobody keeps the event loop for himself.
            consume_budget().await;
        }
    }

    /// The next message; pongs on the way are receipts.
    async fn next(&self, socket: &mut WebSocket) -> Result<Option<Message>, Error> {
        poll_fn(|cx| {
            let polled = socket.poll_recv(cx);
            if polled.is_pending()
                && let Some(number) = socket.take_reached()
            {
                self.worker
                    .turn(|engine, _| engine.handle_receipt(self.id, number));
            }
            polled
        })
        .await
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
