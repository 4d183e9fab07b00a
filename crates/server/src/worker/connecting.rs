//! The beginning of a connection: its client says who it is, or which session it resumes.

use std::{cell::RefMut, rc::Rc, sync::Arc};

use offhook::protocol::CloseCode;
use offhook_dialects::{Connect, Incoming, Intent, Payload, Welcome};
use offhook_engine::{Arrival, CommandId, ConnectionId, ErrorCode, Identity, Refusal, SessionId};

use super::{
    Guest, State, Worker, connection::Connection, expiring::expires_in, now, outlet::Outlet,
    speaker::Speaker,
};
use crate::{
    directory::Place,
    tokens::{bad as bad_token, random_bytes},
};

/// Messages that are no `connect` before the connection is closed. 16: a program that is being written
/// gets its errors, a flood ends.
const ATTEMPTS: u32 = 16;

/// A connection whose client has not said yet who it is, over whatever transport.
#[derive(Debug)]
pub(super) struct Connecting {
    outlet: Outlet,
    /// Whom the token of the handshake says that it is.
    identity: Option<Arc<Identity>>,
    /// None once it has moved on into the connection.
    speaker: Option<Speaker>,
    attempts: u32,
}

/// Where a connection is after a message.
#[derive(Debug)]
pub(super) enum Connected {
    /// Its client has not said yet who it is.
    NotYet,
    /// The engine knows it. Intents that came in the same message, behind the `connect`, are yet to
    /// be carried out.
    Yes(Connection, Vec<Intent>),
}

/// Why a connection ends before it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client has gone.
    Lost,
    /// It is to be closed.
    Close(CloseCode, &'static str),
}

impl Connecting {
    pub(super) fn new(outlet: Outlet, guest: Guest) -> Self {
        Self {
            outlet,
            identity: guest.identity,
            speaker: Some(guest.speaker),
            attempts: 0,
        }
    }

    /// Takes what the transport has received.
    pub(super) fn receive(
        &mut self,
        worker: &Rc<Worker>,
        incoming: Incoming<'_>,
    ) -> Result<Connected, Ended> {
        let mut intents = Vec::new();
        if let Some(speaker) = &mut self.speaker {
            speaker.with(|dialect| dialect.receive(incoming, &mut intents));
        }
        let mut intents = intents.into_iter();
        while let Some(intent) = intents.next() {
            let (id, refusal) = match intent {
                Intent::Connect(connect) => match self.connect(worker, &connect) {
                    Ok(connection) => {
                        return Ok(Connected::Yes(connection, intents.collect()));
                    }
                    Err(refusal) => (Some(connect.id), refusal),
                },
                Intent::Command { id, .. }
                | Intent::Granted { id, .. }
                | Intent::Refresh { id, .. } => (Some(id), bad("connect comes first")),
                Intent::Refuse { id, refusal } => (id, refusal),
                Intent::Say(message) => {
                    self.outlet.put(message).map_err(|_| Ended::Lost)?;
                    continue;
                }
                Intent::Leave => return Err(Ended::Lost),
                Intent::Close { code, reason } => {
                    return Err(Ended::Close(CloseCode::new(code), reason));
                }
            };
            self.refuse(worker, id, &refusal)?;
        }
        Ok(Connected::NotYet)
    }

    fn refuse(
        &mut self,
        worker: &Worker,
        id: Option<CommandId>,
        refusal: &Refusal,
    ) -> Result<(), Ended> {
        worker.note_refused(refusal.code.name(), &refusal.detail);
        let mut out = Vec::new();
        if let Some(speaker) = &mut self.speaker {
            speaker.with(|dialect| dialect.refused(id, refusal, &mut out));
        }
        for message in out {
            self.outlet.put(message).map_err(|_| Ended::Lost)?;
        }
        self.attempts += 1;
        if self.attempts < ATTEMPTS {
            return Ok(());
        }
        let reason = "too many messages before a connect";
        Err(Ended::Close(CloseCode::POLICY_VIOLATION, reason))
    }

    /// Begins a session, or resumes one.
    fn connect(&mut self, worker: &Rc<Worker>, connect: &Connect) -> Result<Connection, Refusal> {
        let Some(mut speaker) = self.speaker.take() else {
            return Err(bad("this connection is connected already"));
        };
        match self.begin(worker, connect, &mut speaker) {
            Ok((state, connection, older)) => {
                self.welcome(worker, state, connect, connection, speaker);
                if let Some(older) = older {
                    worker.close_replaced(older);
                }
                Ok(Connection::new(worker, connection))
            }
            Err(refusal) => {
                self.speaker = Some(speaker);
                Err(refusal)
            }
        }
    }

    /// Tells the engine and the directory. Returns the older connection of the session, too.
    fn begin<'a>(
        &self,
        worker: &'a Rc<Worker>,
        connect: &Connect,
        speaker: &mut Speaker,
    ) -> Result<(RefMut<'a, State>, ConnectionId, Option<Place>), Refusal> {
        let now = now();
        let directory = &worker.shared.directory;
        let by_token = worker.by_token(self.identity.as_ref(), connect, now)?;
        let next = |session, token| directory.next_generation(session, token).ok_or_else(older);
        let mut state = worker.state.borrow_mut();
        let encoding = speaker.with(|dialect| dialect.encoding(connect));
        let class = state.outboxes.class_of(encoding);
        let engine = &mut state.engine;
        let (session, generation, connection) = match &connect.resume {
            Some(token) => {
                let mut snapshot = worker.shared.sealer.open(token, now.unix_ms)?;
                snapshot.identity = worker.returner(by_token, &snapshot, now)?;
                let session = snapshot.session;
                let offered = u32::try_from(snapshot.generation).unwrap_or(u32::MAX);
                let generation = next(session, Some(offered))?;
                let arrival = Arrival::new(session, Arc::clone(&snapshot.identity))
                    .of(class)
                    .generation(generation.into());
                let positions = &connect.positions;
                let connection =
                    engine.handle_connection_resumed(arrival, snapshot, positions, now)?;
                (session, generation, connection)
            }
            None => {
                let session = SessionId::from_bytes(random_bytes().map_err(no_session)?);
                let generation = next(session, None)?;
                let arrival = Arrival::new(session, worker.newcomer(by_token, connect)?).of(class);
                let connection = engine.handle_connection_opened(arrival, now)?;
                (session, generation, connection)
            }
        };
        let place = worker.place(connection);
        if let Ok(older) = directory.enter(session, generation, place) {
            return Ok((state, connection, older));
        }
        engine.handle_connection_lost(connection);
        worker.carry_out(state);
        let detail = "the session comes back on another connection at this very moment";
        Err(Refusal::new(ErrorCode::Busy, detail))
    }

    /// Says who the connection is now, and hands it to the worker.
    fn welcome(
        &self,
        worker: &Rc<Worker>,
        mut state: RefMut<'_, State>,
        connect: &Connect,
        connection: ConnectionId,
        mut speaker: Speaker,
    ) {
        worker.watch_end(&mut state, connection);
        let now = now();
        if let Some(session) = state.engine.snapshot(connection, now) {
            let (name, user) = (session.session, Arc::clone(&session.identity.user));
            // Without a token the client comes back with its positions.
            let resume = worker.seal(&session).unwrap_or_default();
            let welcome = Welcome {
                id: connect.id,
                session: name,
                user: &user,
                resume: &resume,
                expires_in: expires_in(&session.identity, now.unix_ms),
            };
            let mut out: Vec<Payload> = Vec::new();
            speaker.with(|dialect| dialect.welcome(&welcome, &mut out));
            for message in out {
                // A connection that is closing gets nothing, and ends by itself.
                let _unsent = self.outlet.put(message);
            }
        }
        let outlet = self.outlet.clone();
        let now_s = worker.seconds();
        state.outboxes.add(connection, outlet, speaker, now_s);
        worker.carry_out(state);
    }
}

fn older() -> Refusal {
    bad_token("is older than the one that a newer connection of the session was given")
}

fn no_session(_no_randomness: std::io::Error) -> Refusal {
    let detail = "the system gives no random bytes to name the session with";
    Refusal::new(ErrorCode::Busy, detail)
}

pub(super) fn bad(detail: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, detail)
}
