//! The start of a connection: its client identifies itself, or resumes a session.

mod opening;
mod welcoming;

use std::{
    cell::RefMut,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use offhook::protocol::CloseCode;
use offhook_dialects::{Connect, Incoming, Intent, Named};
use offhook_engine::{
    Arrival, CallerReply, Class, CommandId, ConnectionId, ErrorCode, Refusal, SessionId,
    SessionSnapshot,
};
use tokio::sync::oneshot;

use super::{
    Approach, Guest, State, Verified, Worker,
    connection::Connection,
    expiring::expires_in,
    naming::Found,
    now,
    outlet::Outlet,
    replies::{Admitted, admitted, no_session, older, subscriptions},
    speaker::Speaker,
};
use crate::{
    directory::Place,
    door::Peer,
    refused::Client,
    tokens::{Opened, bad as bad_token, random_bytes},
};

/// How many messages other than `connect` are accepted before the connection is closed. 16: a
/// developer gets error messages, and a flood is stopped.
const ATTEMPTS: u32 = 16;

/// A connection whose client has not identified itself yet, over any transport.
#[derive(Debug)]
pub(super) struct Connecting {
    outlet: Outlet,
    /// The identity in the handshake's token.
    identity: Option<Verified>,
    approach: Option<Box<Approach>>,
    peer: Option<Peer>,
    /// None once it has moved into the connection.
    speaker: Option<Speaker>,
    attempts: u32,
    /// Its place in the order in which connections were opened.
    order: u32,
}

/// The connections opened so far, modulo 2^32.
static OPENED: AtomicU32 = AtomicU32::new(0);

/// The state of a connection after a message.
#[derive(Debug)]
pub(super) enum Connected {
    /// The client has not identified itself yet.
    NotYet,
    /// The engine knows the connection. Later intents of the same message are to be carried out.
    Yes(Connection, Vec<Intent>),
    /// An answer is awaited: pass it to [`Connecting::go_on`].
    Awaits(Box<Loading>),
}

/// The answer that a connection waits for.
#[derive(Debug)]
pub(super) struct Loading {
    connect: Connect,
    what: Sought,
    /// Intents after the `connect` in the same message.
    behind: Vec<Intent>,
}

#[derive(Debug)]
enum Sought {
    /// The stored subscriptions of a session that is resumed with a token.
    Subscriptions {
        /// The session in the token, without subscriptions.
        session: SessionSnapshot,
        reply: oneshot::Receiver<CallerReply>,
    },
    /// The backend's decision about a new client, which was asked for at this time, in milliseconds
    /// since 1970.
    Admission(oneshot::Receiver<CallerReply>, u64),
    /// The session that the client names, and the backend's decision, if it decides about clients.
    Named(Box<Named>, Option<oneshot::Receiver<CallerReply>>),
}

/// The session of a new connection.
enum Begins {
    New(Option<Admitted>),
    Resumed(SessionSnapshot),
    Named(Found),
}

/// A connection that is registered with the engine and its class, with the older connection of its
/// session, and the session that the client named.
type Begun<'a> = (
    RefMut<'a, State>,
    (ConnectionId, Class),
    Option<Place>,
    Option<Found>,
);

/// Why a connection ends before a successful connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client is gone.
    Lost,
    /// It must be closed.
    Close(CloseCode, &'static str),
}

impl Connecting {
    /// Its transport's connection in logs.
    pub(super) const fn peer(&self) -> Option<Peer> {
        self.peer
    }

    pub(super) fn new(outlet: Outlet, guest: Guest) -> Self {
        Self {
            outlet,
            identity: guest.identity,
            approach: guest.approach,
            peer: guest.peer,
            speaker: Some(guest.speaker),
            attempts: 0,
            order: OPENED.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Handles data received by the transport.
    pub(super) fn receive(
        &mut self,
        worker: &Rc<Worker>,
        incoming: Incoming<'_>,
    ) -> Result<Connected, Ended> {
        let mut intents = Vec::new();
        if let Some(speaker) = &mut self.speaker {
            speaker.with(|dialect| dialect.receive(incoming, now().instant, &mut intents));
        }
        self.take(worker, intents)
    }

    /// Continues once the broker has answered.
    pub(super) async fn go_on(
        &mut self,
        worker: &Rc<Worker>,
        loading: Box<Loading>,
    ) -> Result<Connected, Ended> {
        let Loading {
            connect,
            what,
            behind,
        } = *loading;
        let begins = match what {
            Sought::Subscriptions { session, reply } => {
                let subscriptions = subscriptions(session.session, reply.await);
                Ok(Begins::Resumed(SessionSnapshot {
                    subscriptions,
                    ..session
                }))
            }
            Sought::Admission(reply, asked_ms) => admitted(reply.await)
                .map(|identity| Begins::New(Some(Admitted { identity, asked_ms }))),
            Sought::Named(named, reply) => self.named(worker, &connect, &named, reply).await,
        };
        let connected = begins.and_then(|begins| self.connect(worker, &connect, begins));
        match connected {
            Ok(connection) => Ok(Connected::Yes(connection, behind)),
            Err(refusal) => {
                self.refuse(worker, Some(connect.id), &refusal)?;
                self.take(worker, behind)
            }
        }
    }

    /// Finds the session that a client names, after the backend's decision about the client, if it
    /// decides about clients.
    async fn named(
        &self,
        worker: &Rc<Worker>,
        connect: &Connect,
        named: &Named,
        reply: Option<oneshot::Receiver<CallerReply>>,
    ) -> Result<Begins, Refusal> {
        let now = now();
        let identity = match reply {
            Some(reply) => admitted(reply.await)?,
            None => {
                let by_token = worker.by_token(self.identity.as_ref(), connect, now)?;
                worker.newcomer(by_token, connect)?
            }
        };
        let found = worker.find_named(identity, now.unix_ms, named).await;
        found.map(Begins::Named)
    }

    fn take(&mut self, worker: &Rc<Worker>, intents: Vec<Intent>) -> Result<Connected, Ended> {
        let mut intents = intents.into_iter();
        while let Some(intent) = intents.next() {
            let (id, refusal) = match intent {
                Intent::Connect(mut connect) => {
                    if let Some(named) = connect.named.take() {
                        match self.ask_backend(worker, &connect) {
                            Ok(reply) => {
                                return Ok(Connected::Awaits(Box::new(Loading {
                                    connect,
                                    what: Sought::Named(named, reply),
                                    behind: intents.collect(),
                                })));
                            }
                            Err(refusal) => {
                                self.refuse(worker, Some(connect.id), &refusal)?;
                                continue;
                            }
                        }
                    }
                    let begins = match worker.opened(&connect) {
                        Ok(Some(Opened::Reference(session))) => {
                            let reply = worker.load(&session);
                            return Ok(Connected::Awaits(Box::new(Loading {
                                connect,
                                what: Sought::Subscriptions { session, reply },
                                behind: intents.collect(),
                            })));
                        }
                        Ok(Some(Opened::Whole(session))) => Ok(Begins::Resumed(session)),
                        Ok(None) => match self.ask_backend(worker, &connect) {
                            Ok(Some(reply)) => {
                                return Ok(Connected::Awaits(Box::new(Loading {
                                    connect,
                                    what: Sought::Admission(reply, now().unix_ms),
                                    behind: intents.collect(),
                                })));
                            }
                            Ok(None) => Ok(Begins::New(None)),
                            Err(refusal) => Err(refusal),
                        },
                        Err(refusal) => Err(refusal),
                    };
                    let connected =
                        begins.and_then(|begins| self.connect(worker, &connect, begins));
                    match connected {
                        Ok(connection) => {
                            return Ok(Connected::Yes(connection, intents.collect()));
                        }
                        Err(refusal) => (Some(connect.id), refusal),
                    }
                }
                Intent::Command { id, .. }
                | Intent::Permitted { id, .. }
                | Intent::Identify { id, .. }
                | Intent::Granted { id, .. }
                | Intent::Channels { id, .. }
                | Intent::Refresh { id, .. } => (Some(id), bad("send connect first")),
                Intent::Refuse { id, refusal } => (id, refusal),
                Intent::Say(message) => {
                    self.outlet.put(message).map_err(|_| Ended::Lost)?;
                    continue;
                }
                Intent::Consume { id, .. } => (Some(id), bad("send connect first")),
                Intent::Leave
                | Intent::Keep(_)
                | Intent::Report(_)
                | Intent::Settle { .. }
                | Intent::Quit { .. } => {
                    return Err(Ended::Lost);
                }
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
        let (identity, approach) = (self.identity.as_ref(), self.approach.as_deref());
        let client = Client::newcomer(self.peer, identity, approach);
        worker.note_refusal(refusal.code.name(), &refusal.detail, client);
        let mut out = Vec::new();
        if let Some(speaker) = &mut self.speaker {
            speaker.with(|dialect| dialect.refused(id, refusal, &mut out));
        }
        for message in out {
            self.outlet.put(message).map_err(|_| Ended::Lost)?;
        }
        if let Some(speaker) = &mut self.speaker
            && let Some(Intent::Close { code, reason }) =
                speaker.with(|dialect| dialect.poll_intent())
        {
            return Err(Ended::Close(CloseCode::new(code), reason));
        }
        self.attempts += 1;
        if self.attempts < ATTEMPTS {
            return Ok(());
        }
        let reason = "too many messages before a connect";
        Err(Ended::Close(CloseCode::POLICY_VIOLATION, reason))
    }

    /// Asks the backend about a new client; none if it does not decide about clients. It is not
    /// asked about a resumed session: it was asked when that session started.
    fn ask_backend(
        &self,
        worker: &Rc<Worker>,
        connect: &Connect,
    ) -> Result<Option<oneshot::Receiver<CallerReply>>, Refusal> {
        let Some(approach) = &self.approach else {
            return Ok(None);
        };
        let by_token = worker.by_token(self.identity.as_ref(), connect, now())?;
        let known = worker.newcomer(by_token, connect)?;
        let token = connect.token.as_ref().or(approach.token.as_ref());
        let token = token.filter(|_| worker.shared.passes_tokens_on());
        let mut facts = serde_json::Map::new();
        let address = approach.address.map(|address| address.to_string());
        for (name, fact) in [
            ("token", token),
            ("origin", approach.origin.as_ref()),
            ("address", address.as_ref()),
        ] {
            if let Some(fact) = fact {
                facts.insert(name.to_owned(), fact.as_str().into());
            }
        }
        let facts = serde_json::Value::from(facts).to_string();
        let rule = worker.shared.config.backend.ask_rule();
        Ok(Some(worker.call(|engine, caller, now| {
            engine.handle_connect(caller, known, facts.into(), rule, now);
        })))
    }

    /// Starts a session, or resumes this one.
    fn connect(
        &mut self,
        worker: &Rc<Worker>,
        connect: &Connect,
        begins: Begins,
    ) -> Result<Connection, Refusal> {
        let Some(mut speaker) = self.speaker.take() else {
            return Err(bad("this connection is connected already"));
        };
        let resumed = match &begins {
            Begins::New(_) => false,
            Begins::Resumed(_) => true,
            Begins::Named(found) => found.snapshot.is_some(),
        };
        match self.begin(worker, connect, begins, &mut speaker) {
            Ok((state, (connection, class), older, named)) => {
                self.welcome(
                    worker,
                    state,
                    connect,
                    (connection, named.as_ref()),
                    speaker,
                );
                if resumed {
                    worker.tell_backend("resumed", connection);
                }
                if let Some(older) = older {
                    worker.close_replaced(older);
                }
                Ok(Connection::new(
                    worker,
                    connection,
                    class,
                    self.outlet.medium(),
                ))
            }
            Err(refusal) => {
                self.speaker = Some(speaker);
                Err(refusal)
            }
        }
    }

    /// Registers the connection. Also returns the older connection of the session.
    fn begin<'a>(
        &self,
        worker: &'a Rc<Worker>,
        connect: &Connect,
        begins: Begins,
        speaker: &mut Speaker,
    ) -> Result<Begun<'a>, Refusal> {
        let now = now();
        let directory = &worker.shared.directory;
        let handshake = self.identity.as_ref();
        let by_token = || worker.by_token(handshake, connect, now);
        let mut named = None;
        let order = self.order;
        let next = |session, token| {
            let next = directory.next_generation(session, token, order);
            next.ok_or_else(older)
        };
        let mut state = worker.state.borrow_mut();
        let encoding = speaker.with(|dialect| dialect.encoding(connect));
        let class = state.outboxes.class_of(encoding);
        let engine = &mut state.engine;
        let (session, generation, connection) = match begins {
            Begins::Named(mut found) => {
                // While it was being found, revoking could not close it yet.
                if worker
                    .shared
                    .auth
                    .is_revoked(&found.identity.user, Some(found.at_ms))
                {
                    return Err(bad_token("was revoked"));
                }
                let session = found.session;
                let generation = directory.newest_generation(session).saturating_add(1);
                let arrival = Arrival {
                    durable: found.expiry,
                    ..Arrival::new(session, Arc::clone(&found.identity))
                        .of(class)
                        .generation(generation.into())
                };
                let connection = match found.snapshot.take() {
                    Some(mut kept) => {
                        let subscriptions = &mut kept.subscriptions;
                        speaker.with(|dialect| dialect.select_restored(&kept.note, subscriptions));
                        engine.handle_connection_resumed(arrival, kept, &[], now)?
                    }
                    None => engine.handle_connection_opened(arrival, now)?,
                };
                named = Some(found);
                (session, generation, connection)
            }
            Begins::Resumed(snapshot) => {
                let identity = worker.returner(by_token()?, &snapshot, now)?;
                let session = snapshot.session;
                let offered = u32::try_from(snapshot.generation).unwrap_or(u32::MAX);
                let generation = next(session, Some(offered))?;
                let arrival = Arrival::new(session, identity)
                    .of(class)
                    .generation(generation.into());
                let positions = &connect.positions;
                let connection =
                    engine.handle_connection_resumed(arrival, snapshot, positions, now)?;
                (session, generation, connection)
            }
            Begins::New(admitted) => {
                let session = SessionId::from_bytes(random_bytes().map_err(no_session)?);
                let identity = match admitted {
                    Some(admitted) => admitted.unless_revoked(&worker.shared.auth)?,
                    None => worker.newcomer(by_token()?, connect)?,
                };
                let generation = next(session, None)?;
                let arrival = Arrival::new(session, identity).of(class);
                let connection = engine.handle_connection_opened(arrival, now)?;
                (session, generation, connection)
            }
        };
        let place = worker.place(connection);
        if let Ok(older) = directory.enter(session, generation, place, order) {
            return Ok((state, (connection, class), older, named));
        }
        engine.handle_connection_lost(connection);
        worker.carry_out(state);
        let detail = "the session is being resumed on another connection at the same time";
        Err(Refusal::new(ErrorCode::Busy, detail))
    }
}

impl Worker {
    /// The session in the token; none for a new session.
    fn opened(&self, connect: &Connect) -> Result<Option<Opened>, Refusal> {
        let open = |token: &String| self.shared.sealer.open(token, now().unix_ms);
        connect.resume.as_ref().map(open).transpose()
    }

    /// Asks the broker for the stored part of a session.
    fn load(self: &Rc<Self>, session: &SessionSnapshot) -> oneshot::Receiver<CallerReply> {
        let session = session.session;
        self.call(|engine, caller, now| engine.handle_load_session(caller, session, now))
    }
}

pub(super) fn bad(detail: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, detail)
}
