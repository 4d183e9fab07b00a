//! The last step of a connection's start: its client receives the welcome.

use std::{cell::RefMut, rc::Rc, sync::Arc};

use offhook_dialects::{Connect, Payload, Welcome};
use offhook_engine::ConnectionId;

use super::{Connecting, Found, expires_in};
use crate::worker::{State, Worker, now, speaker::Speaker};

impl Connecting {
    /// Tells the client its identity, and passes the connection to the worker.
    pub(super) fn welcome(
        &self,
        worker: &Rc<Worker>,
        mut state: RefMut<'_, State>,
        connect: &Connect,
        (connection, named): (ConnectionId, Option<&Found>),
        mut speaker: Speaker,
    ) {
        worker.watch_end(&mut state, connection);
        if let Some(bequest) = named.and_then(|found| worker.bequest_of(found)) {
            state.wills.insert(connection, Box::new(bequest));
        }
        let now = now();
        let mut kept = None;
        if let Some(session) = state.engine.snapshot(connection, now) {
            let (name, user) = (session.session, Arc::clone(&session.identity.user));
            let has_tokens = speaker.with(|dialect| dialect.has_tokens());
            let token = has_tokens.then(|| worker.seal(&session)).flatten();
            kept = token.as_ref().and_then(|token| token.kept);
            let welcome = Welcome {
                id: connect.id,
                session: name,
                user: &user,
                // Without a token, the client reconnects with its positions.
                resume: token.as_ref().map_or("", |token| &token.text),
                unix_ms: now.unix_ms,
                named: named.map(Found::known),
                expires_in: expires_in(&session.identity, now.unix_ms),
            };
            let mut out: Vec<Payload> = Vec::new();
            speaker.with(|dialect| dialect.welcome(&welcome, &mut out));
            for message in out {
                // A closing connection gets nothing, and ends without this.
                let _unsent = self.outlet.put(message);
            }
        }
        let outlet = self.outlet.clone();
        let now_s = worker.seconds();
        let outboxes = &mut state.outboxes;
        outboxes.add(connection, outlet, speaker, self.peer, now_s);
        state.outboxes.note_kept(connection, kept, now_s);
        worker.carry_out(state);
    }
}
