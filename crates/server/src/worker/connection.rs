//! A connected client, over any transport: carries out its requests.

use std::rc::Rc;

use offhook_dialects::{Incoming, Intent};
use offhook_engine::{Command, CommandId, ConnectionId, Refusal};

use super::{Worker, connecting::bad};
use crate::directory::Place;

/// A connection whose client has identified itself. The engine knows it until this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    id: ConnectionId,
    /// Whether its client has sent anything since it was connected.
    confirmed: bool,
    /// Whether its client has said that it is leaving.
    left: bool,
}

/// The result of passing data to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Continue.
    Done,
    /// A large answer is pending: pass no more data until [`Worker::answered`]. Otherwise small
    /// requests could make a connection's outbox arbitrarily large.
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

    /// The client has announced, by means of the transport, that it is leaving.
    pub(super) const fn leave(&mut self) {
        self.left = true;
    }

    /// Handles data received by the transport.
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

    /// Carries out an intent of a client's message.
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

    /// The client has its newest token: no older one can displace this connection any more.
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

    /// Waits until the broker has answered all requests of a connection.
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
