//! A connected client, over any transport: carries out its requests.

use std::{fmt, rc::Rc, time::Duration};

use offhook_dialects::{Incoming, Intent, Readiness};
use offhook_engine::{Class, Command, CommandId, ConnectionId, Now, Refusal};
use tokio::task::yield_now;

use super::{State, Worker, connecting::bad, explaining::leaver, now, outlet::Medium};
use crate::{directory::Place, refused::Client};

/// A connection whose client has identified itself. The engine knows it until this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    id: ConnectionId,
    /// Its class and its medium, by which it is counted.
    class: Class,
    medium: Medium,
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
    /// requests could make a connection's outbox arbitrarily large. Or the dialect waits for
    /// answers before it accepts more.
    AwaitsAnswer,
    /// The dialect holds data that it has not handled: call [`Connection::settle`] before passing
    /// more.
    HasMore,
}

impl Connection {
    pub(super) fn new(worker: &Rc<Worker>, id: ConnectionId, class: Class, medium: Medium) -> Self {
        worker.shared.connection_came();
        worker.metrics.opened.add(1);
        let dialect = worker.state.borrow().outboxes.dialect_of(class);
        worker.metrics.clients.came(dialect, medium.name());
        Self {
            worker: Rc::clone(worker),
            id,
            class,
            medium,
            confirmed: false,
            left: false,
        }
    }

    #[cfg(test)]
    pub(super) const fn id(&self) -> ConnectionId {
        self.id
    }

    /// The name of what its client speaks.
    fn dialect(&self) -> &'static str {
        self.worker.state.borrow().outboxes.dialect_of(self.class)
    }

    /// Its client has upgraded to a WebSocket.
    pub(super) fn has_upgraded(&mut self) {
        let (clients, dialect) = (&self.worker.metrics.clients, self.dialect());
        clients.went(dialect, self.medium.name());
        self.medium = Medium::WebSocket;
        clients.came(dialect, self.medium.name());
    }

    /// The client is leaving.
    pub(super) const fn leave(&mut self) {
        self.left = true;
    }

    /// The client has closed its transport in an orderly way. It is leaving, unless its dialect has
    /// a message of its own for that.
    pub(super) fn leave_by_transport(&mut self) {
        let outboxes = &mut self.worker.state.borrow_mut().outboxes;
        self.left |= outboxes.leaves_with_its_transport(self.id);
    }

    /// Its transport has ended with this close code and reason. It is dropped soon.
    pub(super) fn ended(&self, code: u16, reason: &str) {
        self.worker.record_end(self.id, code, reason);
    }

    /// Handles data received by the transport.
    pub(super) fn receive(&mut self, incoming: Incoming<'_>) -> Taken {
        if !self.confirmed {
            self.confirm();
        }
        let now = now();
        self.worker.count_received(incoming);
        let mut intents = {
            let state = &mut *self.worker.state.borrow_mut();
            let mut intents = std::mem::take(&mut state.intents);
            let outboxes = &mut state.outboxes;
            outboxes.read(self.id, incoming, now.instant, &mut intents);
            intents
        };
        let worker = Rc::clone(&self.worker);
        let taken = worker.gather(|| {
            let mut taken = Taken::Done;
            for intent in intents.drain(..) {
                if self.carry_out_at(now, intent) == Taken::AwaitsAnswer {
                    taken = Taken::AwaitsAnswer;
                }
            }
            taken
        });
        let state = &mut *self.worker.state.borrow_mut();
        state.intents = intents;
        match (taken, state.outboxes.readiness(self.id)) {
            (Taken::AwaitsAnswer, _) | (_, Readiness::Waits) => Taken::AwaitsAnswer,
            (_, Readiness::HasMore) => Taken::HasMore,
            (_, Readiness::Ready) => Taken::Done,
        }
    }

    /// Logs what its transport refuses.
    pub(super) fn note_refusal(&self, kind: &'static str, detail: impl fmt::Display) {
        let State {
            engine, outboxes, ..
        } = &mut *self.worker.state.borrow_mut();
        let identity = engine.identity(self.id);
        let client = Client {
            peer: outboxes.peer(self.id),
            session: engine.session(self.id),
            user: identity.map_or("", |identity| &identity.user),
            ..Client::default()
        };
        self.worker.note_refusal(kind, detail, client);
    }

    /// Waits until more may be read from the client: large answers were queued, the dialect has
    /// handled everything it holds, and there is room for its output.
    pub(super) async fn settle(&mut self, taken: Taken, room: impl AsyncFn()) {
        let mut taken = taken;
        loop {
            match taken {
                Taken::AwaitsAnswer => self.worker.answered(self.id).await,
                Taken::HasMore => yield_now().await,
                Taken::Done => {}
            }
            room().await;
            let readiness = self.worker.state.borrow_mut().outboxes.readiness(self.id);
            taken = match readiness {
                Readiness::Ready => return,
                Readiness::HasMore => self.receive(Incoming::Binary(&[])),
                Readiness::Waits => Taken::AwaitsAnswer,
            };
        }
    }

    /// Waits until this may be dropped. To end a connection with thousands of subscriptions takes
    /// milliseconds. If a crowd of them is lost at once, other tasks run between one and the next.
    pub(super) async fn until_it_may_end(&self) {
        if !self.worker.state.borrow().engine.ends_in_parts(self.id) {
            return;
        }
        // The semaphore is never closed.
        let _turn = self.worker.ending.acquire().await;
        yield_now().await;
    }

    /// Carries out an intent of a client's message.
    pub(super) fn carry_out(&mut self, intent: Intent) -> Taken {
        self.carry_out_at(now(), intent)
    }

    fn carry_out_at(&mut self, now: Now, intent: Intent) -> Taken {
        if intent == Intent::Leave {
            self.leave();
            return Taken::Done;
        }
        self.worker.carry_out_intent(self.id, intent, now)
    }

    /// The client has its newest token: no older one can displace this connection any more.
    fn confirm(&mut self) {
        self.confirmed = true;
        if let Some(session) = self.worker.state.borrow().engine.session(self.id) {
            let directory = &self.worker.shared.directory;
            directory.confirm(session, self.worker.place(self.id));
        }
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
        self.worker.metrics.ended.add(1);
        let dialect = self.dialect();
        self.worker
            .metrics
            .clients
            .went(dialect, self.medium.name());
    }
}

impl Worker {
    /// Carries out a request of a connection's dialect, caused by a message or by a timeout.
    pub(super) fn carry_out_intent(
        self: &Rc<Self>,
        connection: ConnectionId,
        intent: Intent,
        now: Now,
    ) -> Taken {
        self.record_request(connection, &intent, now.unix_ms);
        match intent {
            Intent::Command { id, command } => {
                let large = has_large_answer(&command);
                if large {
                    self.state
                        .borrow_mut()
                        .outboxes
                        .await_answer(connection, id);
                }
                self.tell(now, |engine| {
                    engine.handle_command(connection, id, command, now);
                });
                if large {
                    return Taken::AwaitsAnswer;
                }
            }
            Intent::Connect(connect) => {
                let refusal = bad("this connection is connected already");
                self.refuse(connection, Some(connect.id), refusal, now);
            }
            Intent::Refresh { id, token } => self.refresh(connection, id, &token, now),
            Intent::Granted { id, token, command } => {
                self.with_token(connection, id, &token, command, now);
            }
            Intent::Permitted { id, command } => {
                self.tell(now, |engine| {
                    engine.handle_permitted(connection, id, command, now)
                });
            }
            Intent::Identify { id, user, since_ms } => {
                self.identify(connection, id, (&*user, since_ms), now);
            }
            Intent::Refuse { id, refusal } => self.refuse(connection, id, refusal, now),
            Intent::Channels { id, listing } => {
                let mut state = self.state.borrow_mut();
                let State {
                    engine, outboxes, ..
                } = &mut *state;
                self.list_channels(engine, outboxes, connection, (id, &listing));
                // The dialect may go on with further commands.
                self.carry_out_at(state, now);
            }
            Intent::Say(message) => {
                let mut state = self.state.borrow_mut();
                state.outboxes.say(connection, |_, out| out.push(message));
            }
            Intent::Consume { .. } | Intent::Settle { .. } | Intent::Quit { .. } => {
                self.ask_queue(connection, intent);
            }
            // Forgets the connection, since its transport has ended.
            Intent::Leave => {}
            Intent::Keep(expiry) => self.keep_session(connection, expiry),
            Intent::Report(report) => self.report(&report),
            Intent::Close { code, reason } => {
                let mut state = self.state.borrow_mut();
                state.outboxes.close(connection, code, reason);
            }
        }
        Taken::Done
    }

    fn count_received(&self, incoming: Incoming<'_>) {
        let bytes = match incoming {
            Incoming::Text(text) => text.len(),
            Incoming::Binary(bytes) => bytes.len(),
        };
        // Nothing is passed when a dialect continues with what it holds.
        if bytes > 0 {
            self.metrics.received_messages.add(1);
            self.metrics.received_bytes.add(bytes as u64);
        }
    }

    fn refuse(
        self: &Rc<Self>,
        connection: ConnectionId,
        id: Option<CommandId>,
        refusal: Refusal,
        now: Now,
    ) {
        self.tell(now, |engine| {
            engine.handle_refused(connection, id, refusal, now);
        });
    }

    /// Calls the dialects of connections whose timeouts have expired: for heartbeats, and to close
    /// the connections of silent clients.
    pub(super) fn keep_dialects_time(self: &Rc<Self>, now: Now) {
        let due = self.state.borrow_mut().outboxes.take_due(now.instant);
        for connection in due {
            let mut intents = Vec::new();
            let mut state = self.state.borrow_mut();
            let outboxes = &mut state.outboxes;
            outboxes.time_has_come(connection, now.instant, &mut intents);
            drop(state);
            // Together: if the broker has no room for a message that is published again, it must not
            // accept the next one.
            self.gather(|| {
                for intent in intents {
                    self.carry_out_intent(connection, intent, now);
                }
            });
        }
    }

    /// Queues an event about the session of a connection for the backend, if such events are
    /// enabled.
    pub(super) fn tell_backend(&self, kind: &str, connection: ConnectionId) {
        let Some(backend) = &self.shared.backend else {
            return;
        };
        let engine = &self.state.borrow().engine;
        if let (Some(session), Some(identity)) =
            (engine.session(connection), engine.identity(connection))
        {
            backend.tell_session(kind, identity, session);
        }
    }

    /// Where a connection of this worker is.
    pub(super) fn place(&self, connection: ConnectionId) -> Place {
        Place {
            worker: self.number,
            connection,
        }
    }

    /// Waits until the large answers requested by a connection were put, or never will be.
    pub(super) async fn answered(&self, connection: ConnectionId) {
        loop {
            let awaited = self.state.borrow().outboxes.awaited(connection);
            let paused = || self.state.borrow().outboxes.paused(connection);
            let Some(wake) = awaited.or_else(paused) else {
                return;
            };
            wake.notified().await;
        }
    }

    /// Sets how long a session that its client named is kept after the connection has ended.
    fn keep_session(self: &Rc<Self>, connection: ConnectionId, expiry: Option<Duration>) {
        let expiry = self.longest(expiry);
        let mut state = self.state.borrow_mut();
        if let Some(bequest) = state.wills.get_mut(&connection) {
            bequest.expiry = expiry;
        }
        state.engine.set_durable(connection, expiry);
        self.carry_out(state);
    }

    fn end_connection(self: &Rc<Self>, connection: ConnectionId, left: bool) {
        let session = self.state.borrow().engine.session(connection);
        self.tell_backend("disconnected", connection);
        self.quit_queues(connection);
        let mut state = self.state.borrow_mut();
        self.keep_again(&state, connection);
        self.forget_end(&mut state, connection);
        {
            let State {
                engine,
                outboxes,
                recorder,
                ..
            } = &mut *state;
            if let Some(leaver) = leaver(engine, outboxes, connection) {
                recorder.ended(connection, left, leaver, now().unix_ms);
            }
        }
        state.outboxes.remove(connection);
        drop(state);
        self.turn(|engine, _| {
            if left {
                engine.handle_connection_closed(connection);
            } else {
                engine.handle_connection_lost(connection);
            }
        });
        // Only now: who resumes the session elsewhere must find what was just stored.
        if let Some(session) = session {
            self.shared.directory.left(session, self.place(connection));
        }
        self.execute_will(connection, left);
    }
}

fn has_large_answer(command: &Command) -> bool {
    matches!(
        command,
        Command::History { .. }
            | Command::HistoryBefore { .. }
            | Command::State { .. }
            | Command::Presence { .. }
            | Command::Receipts { .. }
    )
}
