//! Identities and grants of subscription tokens that expire.

use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use offhook_engine::{CloseReason, ConnectionId, Identity, Whom};
use tokio::task::yield_now;

use super::{State, Worker, now};

/// The number of steps carried out before other tasks run. 64: the tokens of thousands of clients may
/// expire at the same moment, and ending a connection with many subscriptions takes a tenth of a
/// millisecond.
const STEPS: usize = 64;

/// Future steps for connections, ordered by their time in milliseconds since 1970. The end of an identity is
/// added after its notice, so that most connections of users have one step here.
#[derive(Debug, Default)]
pub(super) struct Expiries(BTreeSet<Due>);

type Due = (u64, ConnectionId, Step);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The client is told that its identity expires soon.
    Notice,
    /// A grant expires.
    Grant,
    /// The identity expires.
    End,
}

/// The notice before an identity expires.
fn notice(connection: ConnectionId, identity: &Identity, notice_ms: u64) -> Option<Due> {
    let ends = identity.ends_ms?;
    Some((ends.saturating_sub(notice_ms), connection, Step::Notice))
}

/// The end of an identity.
fn end(connection: ConnectionId, identity: &Identity) -> Option<Due> {
    Some((identity.ends_ms?, connection, Step::End))
}

/// The ends of grants.
fn ends_of_grants(connection: ConnectionId, identity: &Identity) -> impl Iterator<Item = Due> {
    let ends = identity.grants.iter().filter_map(|grant| grant.ends_ms);
    ends.map(move |ends| (ends, connection, Step::Grant))
}

impl Expiries {
    fn watch(&mut self, connection: ConnectionId, identity: &Identity, notice_ms: u64) {
        self.0.extend(notice(connection, identity, notice_ms));
        self.0.extend(ends_of_grants(connection, identity));
    }

    /// Adds the step after the notice.
    fn noticed(&mut self, connection: ConnectionId, identity: &Identity) {
        self.0.extend(end(connection, identity));
    }

    fn forget(&mut self, connection: ConnectionId, identity: &Identity, notice_ms: u64) {
        let notice = notice(connection, identity, notice_ms);
        // Only one of both is there.
        for step in notice.into_iter().chain(end(connection, identity)) {
            self.0.remove(&step);
        }
        for step in ends_of_grants(connection, identity) {
            self.0.remove(&step);
        }
    }

    fn due(&mut self, now_ms: u64) -> Option<(ConnectionId, Step)> {
        if !self.is_due(now_ms) {
            return None;
        }
        let (_, connection, step) = self.0.pop_first()?;
        Some((connection, step))
    }

    fn is_due(&self, now_ms: u64) -> bool {
        self.0.first().is_some_and(|(at, ..)| *at <= now_ms)
    }
}

impl Worker {
    fn notice_ms(&self) -> u64 {
        let notice = self.shared.config.auth.notice;
        u64::try_from(notice.as_millis()).unwrap_or(u64::MAX)
    }

    /// Schedules the expiry of a connection's identity and grants.
    pub(super) fn watch_end(&self, state: &mut State, connection: ConnectionId) {
        let State {
            engine, expiries, ..
        } = state;
        if let Some(identity) = engine.identity(connection) {
            expiries.watch(connection, identity, self.notice_ms());
        }
    }

    /// Cancels these steps, because the connection is about to end, or to get another identity.
    /// Must be called while the engine still has the old identity.
    pub(super) fn forget_end(&self, state: &mut State, connection: ConnectionId) {
        let State {
            engine, expiries, ..
        } = state;
        if let Some(identity) = engine.identity(connection) {
            expiries.forget(connection, identity, self.notice_ms());
        }
    }

    /// Replaces the identity of a connection. Subscriptions that it does not allow end, and the
    /// client is told why.
    pub(super) fn exchange_identity(
        self: &Rc<Self>,
        connection: ConnectionId,
        identity: Identity,
        why: &'static str,
    ) {
        let mut state = self.state.borrow_mut();
        self.forget_end(&mut state, connection);
        if let Some(session) = state.engine.session(connection) {
            let whom = Whom::Session(session);
            let identity = Arc::new(identity);
            state.engine.replace_identity(&whom, &identity, why, now());
        }
        self.watch_end(&mut state, connection);
        self.carry_out(state);
        // A client that resumed with the old token would have the old identity.
        let now_s = self.seconds();
        let State {
            engine, outboxes, ..
        } = &mut *self.state.borrow_mut();
        outboxes.seal(connection, now_s, || {
            self.seal(&engine.snapshot(connection, now())?)
        });
    }

    /// Carries out the steps that are due, with other work in between if there are many.
    pub(super) async fn end_expired(self: &Rc<Self>) {
        while self.end_some_expired(now().unix_ms) {
            yield_now().await;
        }
    }

    /// Carries out some of the steps that are due. Returns whether there are more.
    pub(super) fn end_some_expired(self: &Rc<Self>, now_ms: u64) -> bool {
        for _ in 0..STEPS {
            let due = self.state.borrow_mut().expiries.due(now_ms);
            let Some((connection, step)) = due else {
                return false;
            };
            match step {
                Step::Notice => self.tell_expiring(connection, now_ms),
                Step::Grant => self.end_grants(connection, now_ms),
                Step::End => self.close_connection(connection, CloseReason::Expired),
            }
        }
        self.state.borrow().expiries.is_due(now_ms)
    }

    fn tell_expiring(&self, connection: ConnectionId, now_ms: u64) {
        let State {
            engine,
            outboxes,
            expiries,
            ..
        } = &mut *self.state.borrow_mut();
        let Some(identity) = engine.identity(connection) else {
            return;
        };
        expiries.noticed(connection, identity);
        if let Some(ends) = identity.ends_ms {
            let left = Duration::from_millis(ends.saturating_sub(now_ms));
            outboxes.say(connection, |dialect, out| dialect.expiring(left, out));
        }
    }

    fn end_grants(self: &Rc<Self>, connection: ConnectionId, now_ms: u64) {
        let identity = self.state.borrow().engine.identity(connection).cloned();
        let Some(identity) = identity else {
            return;
        };
        let left = without_ended(&identity, now_ms);
        if left.grants.len() < identity.grants.len() {
            let why = "the subscription token has expired; subscribe with a new one";
            self.exchange_identity(connection, left, why);
        }
    }
}

/// The identity without expired grants.
pub(super) fn without_ended(identity: &Identity, now_ms: u64) -> Identity {
    let mut left = identity.clone();
    left.retain(|grant| grant.ends_ms.is_none_or(|ends| ends > now_ms));
    left
}

/// How long an identity remains valid.
pub(super) fn expires_in(identity: &Identity, now_ms: u64) -> Option<Duration> {
    let ends = identity.ends_ms?;
    Some(Duration::from_millis(ends.saturating_sub(now_ms)))
}
