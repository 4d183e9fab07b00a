//! The beginning of a connection: its client says who it is, or which session it resumes.

use std::{rc::Rc, sync::Arc};

use offhook::protocol::CloseCode;
use offhook_dialects::{Connect, Incoming, Intent, Payload, Welcome};
use offhook_engine::{CommandId, ErrorCode, Identity, Refusal, SessionId};

use super::{Worker, connection::Connection, now, outlet::Outlet, speaker::Speaker};
use crate::tokens::{bad as bad_token, random_bytes};

/// Messages that are no `connect` before the connection is closed. 16: a program that is being written
/// gets its errors, a flood ends.
const ATTEMPTS: u32 = 16;

/// A connection whose client has not said yet who it is, over whatever transport.
#[derive(Debug)]
pub(super) struct Connecting {
    outlet: Outlet,
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
    pub(super) const fn new(outlet: Outlet, speaker: Speaker) -> Self {
        Self {
            outlet,
            speaker: Some(speaker),
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
                Intent::Command { id, .. } => (Some(id), bad("connect comes first")),
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
        let now = now();
        let directory = &worker.shared.directory;
        let mut state = worker.state.borrow_mut();
        let engine = &mut state.engine;
        let (session, generation, connection) = match &connect.resume {
            Some(token) => {
                let sealed = worker.shared.sealer.open(token, now.unix_ms)?;
                let session = sealed.session.session;
                let generation = directory
                    .next_generation(session, Some(sealed.generation))
                    .ok_or_else(older)?;
                let positions = &connect.positions;
                let connection =
                    engine.handle_connection_resumed(sealed.session, positions, now)?;
                (session, generation, connection)
            }
            None => {
                let session = SessionId::from_bytes(random_bytes().map_err(no_session)?);
                let generation = directory.next_generation(session, None).ok_or_else(older)?;
                let identity = worker.identity(connect);
                let connection = engine.handle_connection_opened(session, identity, now)?;
                (session, generation, connection)
            }
        };
        let place = worker.place(connection);
        let Ok(older) = directory.enter(session, generation, place) else {
            engine.handle_connection_lost(connection);
            worker.carry_out(state);
            let detail = "the session comes back on another connection at this very moment";
            return Err(Refusal::new(ErrorCode::Busy, detail));
        };
        let Some(mut speaker) = self.speaker.take() else {
            return Err(bad("this connection is connected already"));
        };
        if let Some(session) = state.engine.snapshot(connection, now) {
            // Without a token the client comes back with its positions.
            let resume = worker.seal(session.clone(), generation).unwrap_or_default();
            let welcome = Welcome {
                id: connect.id,
                session: session.session,
                user: &session.identity.user,
                resume: &resume,
            };
            let mut out: Vec<Payload> = Vec::new();
            speaker.with(|dialect| dialect.welcome(&welcome, &mut out));
            for message in out {
                // A connection that is closing gets nothing, and ends by itself.
                let _unsent = self.outlet.put(message);
            }
        }
        let outlet = self.outlet.clone();
        let encoding = speaker.with(|dialect| dialect.encoding(connect));
        state.outboxes.add(
            connection,
            outlet,
            speaker,
            encoding,
            generation,
            worker.seconds(),
        );
        worker.carry_out(state);
        if let Some(older) = older {
            worker.close_replaced(older);
        }
        Ok(Connection::new(worker, connection))
    }
}

impl Worker {
    /// Who a new session is. What it tells of itself is shown to members, and proves nothing.
    fn identity(&self, connect: &Connect) -> Arc<Identity> {
        if connect.info.is_empty() {
            return Arc::clone(&self.anonymous);
        }
        Arc::new(Identity {
            info: connect.info.clone(),
            ..Identity::stranger()
        })
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
