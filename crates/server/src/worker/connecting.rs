//! The beginning of a connection: within some time its client says who it is, or what to go on with.

use std::{rc::Rc, sync::Arc};

use offhook::{Message, WebSocket, protocol::CloseCode};
use offhook_dialects::native::{self, Connect, Rejection, Request};
use offhook_engine::{
    Arrival, CommandId, ConnectionId, ErrorCode, Identity, Position, Refusal, SessionId,
    SubscriptionKey,
};
use tokio::time::sleep;

use super::{
    Worker,
    connection::{Connection, bad},
    now,
    stopping::Held,
};
use crate::tokens::random_bytes;

/// Messages that are no `connect` before the connection is closed. 16: a program that is being written
/// gets its errors, a stranger's flood ends.
const ATTEMPTS: u32 = 16;

/// Waits until the client has connected; closes the connection where it does not.
pub(super) async fn connect(held: &Held, socket: &mut WebSocket) -> Option<Connection> {
    let worker = held.worker();
    let within = worker.shared.config.connections.connect_timeout;
    let mut stopping = worker.stopping();
    let connected = tokio::select! {
        connected = introduction(worker, socket) => connected,
        () = sleep(within) => Err(No::Close(CloseCode::POLICY_VIOLATION, "no connect came in time")),
        () = stopping.begun() => Err(No::Close(CloseCode::SERVICE_RESTART, "the server goes away")),
    };
    match connected {
        Ok(connection) => Some(connection),
        Err(No::Gone) => None,
        Err(No::Close(code, reason)) => {
            worker.note_refused("connect", reason);
            // How it ended is of no more interest.
            let _closed = socket.close(code, reason).await;
            None
        }
    }
}

/// Why nobody has connected.
enum No {
    Gone,
    Close(CloseCode, &'static str),
}

async fn introduction(worker: &Rc<Worker>, socket: &mut WebSocket) -> Result<Connection, No> {
    for _ in 0..ATTEMPTS {
        let Ok(Some(message)) = socket.recv().await else {
            return Err(No::Gone);
        };
        match worker.take_first(&message, socket) {
            Ok(connection) => return Ok(connection),
            Err(rejection) => {
                let refusal = &rejection.refusal;
                worker.note_refused(refusal.code.name(), &refusal.detail);
                let error = native::encode_rejection(&rejection);
                socket.put(error).map_err(|_| No::Gone)?;
            }
        }
    }
    Err(No::Close(
        CloseCode::POLICY_VIOLATION,
        "too many messages before a connect",
    ))
}

impl Worker {
    fn take_first(
        self: &Rc<Self>,
        message: &Message,
        socket: &WebSocket,
    ) -> Result<Connection, Rejection> {
        let no = |id, refusal| Rejection { id, refusal };
        let Some(text) = message.as_text() else {
            return Err(no(
                None,
                bad("binary messages are not used here; send text"),
            ));
        };
        match native::decode(text)? {
            Request::Connect(connect) => {
                let id = connect.id;
                let connection = self.connect(&connect, socket);
                connection.map_err(|refusal| no(Some(id), refusal))
            }
            Request::Command { id, .. } => Err(no(Some(id), bad("connect comes first"))),
        }
    }

    /// Begins a session, or goes on with one.
    fn connect(
        self: &Rc<Self>,
        connect: &Connect,
        socket: &WebSocket,
    ) -> Result<Connection, Refusal> {
        let now = now();
        let mut state = self.state.borrow_mut();
        let engine = &mut state.engine;
        let connection = match &connect.resume {
            Some(token) => {
                let session = self.shared.sealer.open(token, now.unix_ms)?;
                let arrival = Arrival::new(session.session, Arc::clone(&session.identity));
                let positions = connect.positions.iter().cloned();
                let positions: Vec<(SubscriptionKey, Position)> = positions
                    .map(|(channel, position)| (channel.into(), position))
                    .collect();
                engine.handle_connection_resumed(arrival, session, &positions, now)?
            }
            None => {
                let session = SessionId::from_bytes(random_bytes().map_err(no_session)?);
                let arrival = Arrival::new(session, self.identity(connect));
                engine.handle_connection_opened(arrival, now)?
            }
        };
        let sender = socket.sender();
        if let Some(welcome) = self.welcome(&state.engine, connection, connect.id) {
            // A connection that is closing gets nothing, and ends by itself.
            let _unsent = sender.put(welcome);
        }
        state.outboxes.add(connection, sender, self.seconds());
        self.carry_out(state);
        Ok(Connection::new(self, connection))
    }

    /// Who a new session is. What it tells of itself is shown to members, and proves nothing.
    fn identity(&self, connect: &Connect) -> Arc<Identity> {
        if connect.info.is_empty() {
            return Arc::clone(&self.stranger);
        }
        Arc::new(Identity {
            info: connect.info.clone(),
            ..Identity::stranger()
        })
    }

    fn welcome(
        &self,
        engine: &offhook_engine::Engine,
        connection: ConnectionId,
        id: CommandId,
    ) -> Option<String> {
        let session = engine.snapshot(connection, now())?;
        // Without a token the client comes back with its positions.
        let token = self.shared.sealer.seal(&session).unwrap_or_default();
        let user = &session.identity.user;
        Some(native::encode_welcome(id, session.session, user, &token))
    }
}

fn no_session(_no_randomness: std::io::Error) -> Refusal {
    let detail = "the system gives no random bytes to name the session with";
    Refusal::new(ErrorCode::Busy, detail)
}
