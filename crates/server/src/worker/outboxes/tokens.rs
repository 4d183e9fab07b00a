//! Which connections need a new resume token, because their subscriptions changed or the last token
//! is old.

use std::mem;

use offhook_engine::{ConnectionId, SessionId};

use super::Outboxes;

/// How much the broker stores per second for one session: after storing it, the next time waits for
/// its size divided by this. 64 KiB: limits what is written for a client that subscribes to more
/// and more channels.
const KEPT_A_SECOND: usize = 64 * 1024;

/// How many tokens cost as much as a walk's messages for one connection. 2: such messages are put and
/// sent in 15 µs.
const BROADCAST: usize = 2;

/// A token, and what the broker stores for it.
#[derive(Debug)]
pub(in crate::worker) struct SealedToken {
    pub(in crate::worker) text: String,
    /// The session and its bytes at the broker; none if the token contains everything.
    pub(in crate::worker) kept: Option<(SessionId, usize)>,
}

/// What the broker stores of a connection's session.
#[derive(Debug)]
pub(super) struct Kept {
    session: SessionId,
    /// A subscription has ended since, so the broker's copy was deleted.
    forgotten: bool,
    /// It is listed in `Outboxes::unsaved`.
    unsaved: bool,
    /// When it may be stored again, in seconds since the server's start.
    again_s: u32,
}

impl Outboxes {
    /// The subscriptions of a connection have changed since its token was sealed.
    pub(super) fn token_is_stale(&mut self, connection: ConnectionId) {
        if let Some(outbox) = self.get(connection)
            && outbox.has_tokens
            && !mem::replace(&mut outbox.stale, true)
        {
            self.stale.push(connection);
        }
    }

    /// The connections whose tokens are outdated, for [`seal_stale`](Self::seal_stale).
    pub(in crate::worker) fn take_stale(&mut self) -> Vec<ConnectionId> {
        mem::take(&mut self.stale)
    }

    /// Sends new tokens to the first of these connections, unless they have received one since.
    /// Returns the others. The budget is a number of tokens; a connection to which broadcasts are on
    /// their way gets these first, and costs more.
    pub(in crate::worker) fn seal_stale<'a>(
        &mut self,
        stale: &'a [ConnectionId],
        mut budget: usize,
        now_s: u32,
        mut seal: impl FnMut(ConnectionId) -> Option<SealedToken>,
    ) -> &'a [ConnectionId] {
        let mut left = stale;
        while let [connection, others @ ..] = left
            && budget > 0
        {
            let connection = *connection;
            left = others;
            // Connections that received one since are not stale any more.
            if !self.get(connection).is_some_and(|outbox| outbox.stale) {
                continue;
            }
            let too_soon = |kept: &Kept| !kept.forgotten && now_s < kept.again_s;
            if self.kept.get(&connection).is_some_and(too_soon) {
                self.stale.push(connection);
                continue;
            }
            let cost = 1 + self.broadcasts.times_listed(connection) * BROADCAST;
            budget = budget.saturating_sub(cost);
            self.seal(connection, now_s, || seal(connection));
        }
        left
    }

    /// Sends a new token to a connection, after everything that the token counts as delivered: a
    /// client that resumes with the token does not receive that again.
    pub(in crate::worker) fn seal(
        &mut self,
        connection: ConnectionId,
        now_s: u32,
        seal: impl FnOnce() -> Option<SealedToken>,
    ) {
        let Some(outbox) = self.get(connection).filter(|outbox| outbox.has_tokens) else {
            return;
        };
        (outbox.sealed_s, outbox.stale) = (now_s, false);
        self.catch_up_walk(connection);
        if let Some(token) = seal() {
            self.note_kept(connection, token.kept, now_s);
            self.say(connection, |dialect, out| dialect.token(&token.text, out));
        }
    }

    /// Records whether the broker stores the session of a connection.
    pub(in crate::worker) fn note_kept(
        &mut self,
        connection: ConnectionId,
        kept: Option<(SessionId, usize)>,
        now_s: u32,
    ) {
        let Some((session, bytes)) = kept else {
            if !self.kept.is_empty() {
                self.kept.remove(&connection);
            }
            return;
        };
        let pause = u32::try_from(bytes / KEPT_A_SECOND).unwrap_or(u32::MAX);
        let kept = Kept {
            session,
            forgotten: false,
            unsaved: false,
            again_s: now_s.saturating_add(pause),
        };
        self.kept.insert(connection, kept);
    }

    /// The client of a connection has acknowledged something, which the broker has to store.
    pub(super) fn is_unsaved(&mut self, connection: ConnectionId) {
        if let Some(kept) = self.kept.get_mut(&connection)
            && !mem::replace(&mut kept.unsaved, true)
        {
            self.unsaved.push(connection);
        }
    }

    /// The connections whose sessions have to be stored in their present state.
    pub(in crate::worker) fn take_unsaved(&mut self) -> Vec<ConnectionId> {
        let unsaved = mem::take(&mut self.unsaved);
        for connection in &unsaved {
            if let Some(kept) = self.kept.get_mut(connection) {
                kept.unsaved = false;
            }
        }
        unsaved
    }

    /// Whether the broker stores the session of a connection.
    pub(in crate::worker) fn is_kept(&self, connection: ConnectionId) -> bool {
        !self.kept.is_empty() && self.kept.contains_key(&connection)
    }

    /// The broker's copy of a connection's session is outdated and must not be used. Returns the
    /// session if the broker still has it.
    pub(in crate::worker) fn forget_kept(&mut self, connection: ConnectionId) -> Option<SessionId> {
        let kept = self.kept.get_mut(&connection)?;
        let session = kept.session;
        let was_forgotten = mem::replace(&mut kept.forgotten, true);
        self.token_is_stale(connection);
        (!was_forgotten).then_some(session)
    }

    /// Makes tokens sealed before that moment outdated.
    pub(in crate::worker) fn age_tokens(&mut self, before_s: u32) {
        let all = self.connections.iter_mut().flatten();
        for outbox in all.filter(|o| o.has_tokens && o.sealed_s < before_s && !o.stale) {
            outbox.stale = true;
            self.stale.push(outbox.connection);
        }
    }
}
