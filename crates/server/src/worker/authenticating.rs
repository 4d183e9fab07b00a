//! The identity of a connection, from its client's tokens: when it connects, and later.

use std::{rc::Rc, sync::Arc};

use offhook_dialects::Connect;
use offhook_engine::{
    Command, CommandId, ConnectionId, ErrorCode, Grant, Identity, Notice, Now, Refusal, Reply,
    SessionSnapshot,
};

use super::{
    State, Verified, Worker,
    expiring::{expires_in, without_ended},
};
use crate::tokens::bad as bad_token;

impl Worker {
    /// The identity in the tokens of a client's handshake and `connect`; none without a token.
    pub(super) fn by_token(
        &self,
        handshake: Option<&Verified>,
        connect: &Connect,
        now: Now,
    ) -> Result<Option<Arc<Identity>>, Refusal> {
        let auth = &self.shared.auth;
        let given = connect.token.as_deref();
        let given = given.filter(|_| !self.shared.passes_tokens_on());
        let given = given.map(|token| auth.identity(token, now.unix_ms));
        let given = given.transpose()?.map(Arc::new);
        let Some(Verified {
            identity: handshake,
            at_ms,
        }) = handshake
        else {
            return Ok(given);
        };
        // Revoking could not close the connection, because it was still in its handshake.
        if auth.is_revoked(&handshake.user, Some(*at_ms)) {
            let detail = "token: the handshake's token has been revoked; open a new connection";
            return Err(unauthenticated(detail));
        }
        if handshake.ends_ms.is_some_and(|ends| ends <= now.unix_ms) {
            let detail = "token: the handshake's token has expired; open a new connection";
            return Err(unauthenticated(detail));
        }
        match given {
            None => Ok(Some(Arc::clone(handshake))),
            Some(given) if given.user == handshake.user => Ok(Some(given)),
            Some(_) => {
                let detail = "token: it belongs to another user than the one in the handshake";
                Err(unauthenticated(detail))
            }
        }
    }

    /// The identity of a new session.
    pub(super) fn newcomer(
        &self,
        by_token: Option<Arc<Identity>>,
        connect: &Connect,
    ) -> Result<Arc<Identity>, Refusal> {
        let known = match by_token {
            Some(known) => known,
            None if self.shared.auth.allows_anonymous() => Arc::clone(&self.anonymous),
            None => return Err(token_is_missing()),
        };
        if connect.info.is_empty() || known.info_is_fixed {
            return Ok(known);
        }
        Ok(Arc::new(Identity {
            info: connect.info.clone(),
            ..Identity::clone(&known)
        }))
    }

    /// The identity of a resumed session: that of the token, if there is one, otherwise the
    /// session's.
    pub(super) fn returner(
        &self,
        by_token: Option<Arc<Identity>>,
        snapshot: &SessionSnapshot,
        now: Now,
    ) -> Result<Arc<Identity>, Refusal> {
        let before = &snapshot.identity;
        let auth = &self.shared.auth;
        if !before.user.is_empty() && auth.is_revoked(&before.user, Some(snapshot.time_ms)) {
            return Err(bad_token("was revoked"));
        }
        let Some(newer) = by_token else {
            if before.user.is_empty() && !auth.allows_anonymous() {
                return Err(token_is_missing());
            }
            // The rule or the authority of its certificate may have been removed meanwhile.
            if before.by_certificate {
                return Err(bad_token(
                    "is of a session that began with a client certificate, which is missing now",
                ));
            }
            return Ok(Arc::new(without_ended(before, now.unix_ms)));
        };
        if newer.user != before.user {
            return Err(bad_token("belongs to another user than the token"));
        }
        Ok(Arc::new(succeeding(&newer, before, now.unix_ms)))
    }
}

/// The identity that a newer token gives a session: that of the token, with the session's info as
/// visible to others, and its grants by subscription tokens.
fn succeeding(newer: &Identity, before: &Identity, now_ms: u64) -> Identity {
    let mut identity = newer.clone();
    if !before.info.is_empty() {
        identity.info = before.info.clone();
        identity.info_is_fixed = before.info_is_fixed;
    }
    let ends_later = |grant: &&Grant| grant.ends_ms.is_some_and(|ends| ends > now_ms);
    for kept in before.grants.iter().filter(ends_later) {
        identity.add(kept.clone());
    }
    identity
}

impl Worker {
    /// Handles a newer token of a connection's user.
    pub(super) fn refresh(
        self: &Rc<Self>,
        connection: ConnectionId,
        id: CommandId,
        token: &str,
        now: Now,
    ) {
        if let Err(refusal) = self.try_refresh(connection, id, token, now) {
            self.refuse_now(connection, id, refusal);
        }
    }

    fn try_refresh(
        self: &Rc<Self>,
        connection: ConnectionId,
        id: CommandId,
        token: &str,
        now: Now,
    ) -> Result<(), Refusal> {
        let before = self.admit(connection, now)?;
        let newer = self.shared.auth.identity(token, now.unix_ms)?;
        if newer.user != before.user {
            let detail =
                "token: it belongs to another user than the session; open a new connection with it";
            return Err(unauthenticated(detail));
        }
        let identity = succeeding(&newer, &before, now.unix_ms);
        let expires_in = expires_in(&identity, now.unix_ms);
        {
            let mut state = self.state.borrow_mut();
            state.outboxes.say(connection, |dialect, out| {
                dialect.refreshed(id, expires_in, out);
            });
        }
        let why = "the session's new token does not allow it";
        self.exchange_identity(connection, identity, why);
        Ok(())
    }

    /// Assigns a connection to the user that its dialect has authenticated.
    pub(super) fn identify(
        self: &Rc<Self>,
        connection: ConnectionId,
        id: CommandId,
        (user, since_ms): (&str, u64),
        now: Now,
    ) {
        let before = match self.admit(connection, now) {
            Ok(before) => before,
            Err(refusal) => return self.refuse_now(connection, id, refusal),
        };
        if !before.user.is_empty() && *before.user != *user {
            let detail = "the connection's token belongs to another user";
            return self.refuse_now(connection, id, unauthenticated(detail));
        }
        if self.shared.auth.is_revoked(user, Some(since_ms)) {
            let detail = "the user was revoked since the connection was opened; open a new one";
            return self.refuse_now(connection, id, unauthenticated(detail));
        }
        let known = self.shared.auth.known_of(user);
        let identity = match before.user.is_empty() {
            true => succeeding(&known, &before, now.unix_ms),
            false => Identity::clone(&before),
        };
        {
            let mut state = self.state.borrow_mut();
            state.outboxes.say(connection, |dialect, out| {
                dialect.refreshed(id, None, out);
            });
        }
        let why = "the user who signed in may not use it";
        self.exchange_identity(connection, identity, why);
    }

    /// Carries out a command that has a token.
    pub(super) fn with_token(
        self: &Rc<Self>,
        connection: ConnectionId,
        id: CommandId,
        token: &str,
        command: Command,
        now: Now,
    ) {
        match self.try_grant(connection, token, &command, now) {
            Ok(()) => self.tell(now, |engine| {
                engine.handle_command(connection, id, command, now)
            }),
            Err(refusal) => self.refuse_now(connection, id, refusal),
        }
    }

    fn try_grant(
        self: &Rc<Self>,
        connection: ConnectionId,
        token: &str,
        command: &Command,
        now: Now,
    ) -> Result<(), Refusal> {
        let before = self.admit(connection, now)?;
        let Command::Subscribe(wish) = command else {
            let detail = "token: only a subscribe may have one";
            return Err(Refusal::new(ErrorCode::BadRequest, detail));
        };
        let mut identity = without_ended(&before, now.unix_ms);
        let auth = &self.shared.auth;
        let pattern = wish.target.as_str();
        // A newer token replaces the previous one.
        let of_token = |grant: &Grant| grant.ends_ms.is_some() && grant.pattern.as_str() == pattern;
        identity.retain(|grant| !of_token(grant));
        let grant = auth.subscription_grant(token, &wish.target, &identity, now.unix_ms)?;
        identity.add(grant);
        let why = "its subscription token has expired";
        self.exchange_identity(connection, identity, why);
        Ok(())
    }

    /// Counts a token as a command, since verifying it costs more than a command. Returns the
    /// identity.
    fn admit(
        self: &Rc<Self>,
        connection: ConnectionId,
        now: Now,
    ) -> Result<Arc<Identity>, Refusal> {
        let admitted: Result<_, Refusal> = self.tell(now, |engine| {
            engine.admit_command(connection, now)?;
            Ok(engine.identity(connection).cloned())
        });
        admitted?.ok_or_else(|| unauthenticated("the connection is gone"))
    }

    fn refuse_now(&self, connection: ConnectionId, id: CommandId, refusal: Refusal) {
        let notice = Notice::Reply {
            id: Some(id),
            reply: Reply::Refused(refusal),
        };
        let State {
            engine, outboxes, ..
        } = &mut *self.state.borrow_mut();
        self.note_notice(engine, outboxes, connection, &notice);
        outboxes.say(connection, |dialect, out| dialect.notice(&notice, out));
    }
}

fn unauthenticated(detail: &'static str) -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, detail)
}

fn token_is_missing() -> Refusal {
    let detail = "token: is missing; this server requires one";
    Refusal::new(ErrorCode::Unauthenticated, detail)
}
