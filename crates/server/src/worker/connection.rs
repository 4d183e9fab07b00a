//! A connection that is connected, over whatever transport: what its client asks for.

use std::rc::Rc;

use offhook_dialects::{Incoming, Intent};
use offhook_engine::{Command, CommandId, ConnectionId, Refusal};

use super::{Worker, connecting::bad};
use crate::directory::Place;

/// A connection whose client said who it is. The engine knows of it until this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    id: ConnectionId,
    /// Its client has sent something since it was connected.
    confirmed: bool,
    /// Its client has said that it leaves.
    left: bool,
}

/// What a transport has to know about what it has handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Go on.
    Done,
    /// A large answer is under way: hand over no more until [`Worker::answered`]. Otherwise small
    /// questions would make a connection's outbox as large as their client likes.
    AwaitsAnswer,
}

impl Connection {
    pub(super) fn new(worker: &Rc<Worker>, id: ConnectionId) -> Self {
        worker.shared.connection_came();
        Self {
            worker: Rc::clone(worker),
            id,
            confirmed: false,
            left: false,
        }
    }

    pub(super) const fn id(&self) -> ConnectionId {
        self.id
    }

    /// The client has said, by the transport's own means, that it leaves.
    pub(super) const fn leave(&mut self) {
        self.left = true;
    }

    /// Takes what the transport has received.
    pub(super) fn receive(&mut self, incoming: Incoming<'_>) -> Taken {
        if !self.confirmed {
            self.confirm();
        }
        let mut intents = {
            let state = &mut *self.worker.state.borrow_mut();
            let mut intents = std::mem::take(&mut state.intents);
            state.outboxes.read(self.id, incoming, &mut intents);
            intents
        };
        let mut taken = Taken::Done;
        for intent in intents.drain(..) {
            if self.carry_out(intent) == Taken::AwaitsAnswer {
                taken = Taken::AwaitsAnswer;
            }
        }
        self.worker.state.borrow_mut().intents = intents;
        taken
    }

    /// Does what a client's message asks for.
    pub(super) fn carry_out(&mut self, intent: Intent) -> Taken {
        match intent {
            Intent::Command { id, command } => {
                let large = matches!(
                    command,
                    Command::History { .. }
                        | Command::State { .. }
                        | Command::Presence { .. }
                        | Command::Receipts { .. }
                );
                self.worker
                    .turn(|engine, now| engine.handle_command(self.id, id, command, now));
                if large {
                    return Taken::AwaitsAnswer;
                }
            }
            Intent::Connect(connect) => {
                let refusal = bad("this connection is connected already");
                self.refuse(Some(connect.id), refusal);
            }
            Intent::Refresh { id, token } => self.refresh(id, &token),
            Intent::Granted { id, token, command } => self.with_token(id, &token, command),
            Intent::Refuse { id, refusal } => self.refuse(id, refusal),
            Intent::Say(message) => {
                let mut state = self.worker.state.borrow_mut();
                state.outboxes.say(self.id, |_, out| out.push(message));
            }
            Intent::Leave => self.leave(),
            Intent::Close { code, reason } => {
                let mut state = self.worker.state.borrow_mut();
                state.outboxes.close(self.id, code, reason);
            }
        }
        Taken::Done
    }

    /// The client has its newest token: no older one displaces this connection any more.
    fn confirm(&mut self) {
        self.confirmed = true;
        if let Some(session) = self.worker.state.borrow().engine.session(self.id) {
            let directory = &self.worker.shared.directory;
            directory.confirm(session, self.worker.place(self.id));
        }
    }

    fn refuse(&self, id: Option<CommandId>, refusal: Refusal) {
        self.worker
            .turn(|engine, now| engine.handle_refused(self.id, id, refusal, now));
    }

    /// The transport has proof that everything up to this mark has arrived.
    pub(super) fn receipt(&mut self, mark: u32) {
        if !self.confirmed {
            self.confirm();
        }
        self.worker
            .turn(|engine, _| engine.handle_receipt(self.id, mark));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.end_connection(self.id, self.left);
        self.worker.shared.connection_went();
    }
}

impl Worker {
    /// Where a connection of this worker is.
    pub(super) fn place(&self, connection: ConnectionId) -> Place {
        Place {
            worker: self.number,
            connection,
        }
    }

    /// Waits until the broker has answered everything that a connection has asked of it.
    pub(super) async fn answered(&self, connection: ConnectionId) {
        let wake = self
            .state
            .borrow_mut()
            .outboxes
            .wake_when_answered(connection);
        let Some(wake) = wake else { return };
        while self.state.borrow().engine.unanswered(connection) > 0 {
            wake.notified().await;
        }
        self.state.borrow_mut().outboxes.wake_no_more(connection);
    }

    fn end_connection(self: &Rc<Self>, connection: ConnectionId, left: bool) {
        let session = self.state.borrow().engine.session(connection);
        if let Some(session) = session {
            self.shared.directory.left(session, self.place(connection));
        }
        {
            let state = &mut *self.state.borrow_mut();
            self.forget_end(state, connection);
            state.outboxes.remove(connection);
        }
        self.turn(|engine, _| {
            if left {
                engine.handle_connection_closed(connection);
            } else {
                engine.handle_connection_lost(connection);
            }
        });
    }
}
