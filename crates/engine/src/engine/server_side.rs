//! Actions of the server's side on sessions: subscribe them, send them data, close them.
//!
//! Each function acts on the sessions on this worker and returns how many there were, so that a
//! caller who asks every worker knows whether there was any.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    ask::{Whom, Wish},
    channel_name::ChannelName,
    command::Now,
    delivery::{CloseReason, ConnectionId, Notice},
    error::{ErrorCode, Refusal},
    limits::Limits,
    publication::Format,
    session::{Identity, SessionId},
    slab::Slot,
    subscription::{Class, Subscribe, SubscriptionKey, Target},
};

use super::{
    Engine,
    asks::too_many_questions,
    state::{Asked, State},
    subscriptions::Wished,
};

impl Engine {
    /// The open connections of these sessions.
    #[must_use]
    pub fn connections_of(&self, whom: &Whom) -> Vec<ConnectionId> {
        let found: Vec<ConnectionId> = match whom {
            Whom::Session(session) => self.sessions.get(session).copied().into_iter().collect(),
            Whom::User(user) => self.users.of(user),
        };
        let is_open = |c: &ConnectionId| {
            self.connections
                .get((*c).into())
                .is_some_and(|c| !c.closing)
        };
        found.into_iter().filter(is_open).collect()
    }

    /// The connections that subscribe to a channel and are not behind, of the classes that `wanted`
    /// names. A connection with several such subscriptions is listed several times.
    pub fn live_on(
        &self,
        channel: &ChannelName,
        wanted: impl Fn(Class) -> bool,
    ) -> Vec<ConnectionId> {
        let feed = self.names.get(channel);
        let feed = feed.and_then(|feed| self.feeds.get(*feed));
        let audiences = feed.into_iter().flat_map(|feed| feed.live.iter());
        let audiences = audiences.filter(|audience| wanted(audience.kind.class));
        let connections = audiences.flat_map(|audience| audience.connections());
        connections.copied().collect()
    }

    /// The sessions that are on a connection here.
    #[must_use]
    pub fn sessions_of(&self, whom: &Whom) -> Vec<SessionId> {
        let connections = self.connections_of(whom).into_iter();
        connections.filter_map(|c| self.session(c)).collect()
    }

    /// Subscribes sessions, regardless of their own permissions. A session that already has such a
    /// subscription keeps it; a session that cannot have it is told why.
    pub fn subscribe_for(&mut self, whom: &Whom, wish: &Subscribe, now: Now) -> usize {
        self.set_now(now);
        let connections = self.connections_of(whom);
        for connection in &connections {
            let done = self.subscribe(*connection, wish.clone(), Wished::Server);
            let Err(refusal) = done else { continue };
            if refusal.code != ErrorCode::AlreadySubscribed {
                let subscription = wish.name();
                self.notice(
                    *connection,
                    Notice::Unsubscribed {
                        subscription,
                        refusal,
                    },
                );
            }
        }
        connections.len()
    }

    /// Ends a subscription of sessions, which are told the reason. Returns how many had it.
    pub fn unsubscribe_for(
        &mut self,
        whom: &Whom,
        subscription: &SubscriptionKey,
        why: &Refusal,
        now: Now,
    ) -> usize {
        self.set_now(now);
        let mut ended = 0;
        for connection in self.connections_of(whom) {
            if let Ok(slot) = self.subscription_of(connection, subscription) {
                self.end_unasked(slot, why.clone());
                self.session_changed(connection);
                ended += 1;
            }
        }
        ended
    }

    /// Sends data to sessions. It is not a publication and is not kept.
    pub fn tell(&mut self, whom: &Whom, data: &Bytes, format: Format, now: Now) -> usize {
        self.set_now(now);
        let connections = self.connections_of(whom);
        for connection in &connections {
            let data = data.clone();
            self.notice(*connection, Notice::Told { data, format });
        }
        connections.len()
    }

    /// Closes the connections of sessions.
    pub fn disconnect(&mut self, whom: &Whom, reason: CloseReason, now: Now) -> usize {
        self.set_now(now);
        let connections = self.connections_of(whom);
        for connection in &connections {
            self.close(*connection, reason);
        }
        connections.len()
    }

    /// Replaces the identity of sessions: a grant was revoked, or a token renewed. Subscriptions
    /// that it does not allow end, and the client is told `why`.
    pub fn replace_identity(
        &mut self,
        whom: &Whom,
        identity: &Arc<Identity>,
        why: &str,
        now: Now,
    ) -> usize {
        self.set_now(now);
        let connections = self.connections_of(whom);
        for &connection in &connections {
            let identity = self.sharing(Arc::clone(identity));
            let Some(c) = self.connections.get_mut(connection.into()) else {
                continue;
            };
            let old = std::mem::replace(&mut c.identity, Arc::clone(&identity));
            if old.user != identity.user {
                self.users.remove(Arc::clone(&old.user), connection);
                self.users.add(&identity.user, connection);
            }
            for slot in self.subscriptions_of(connection) {
                self.end_if_forbidden(slot, why);
            }
            self.identity_changed(connection, &old);
            self.session_changed(connection);
        }
        connections.len()
    }

    pub(super) fn end_if_forbidden(&mut self, slot: Slot, why: &str) {
        let Some(s) = self.subscriptions.get(slot) else {
            return;
        };
        let (connection, vouched, shared) = (s.connection, s.is_vouched(), s.shared.is_some());
        let Some(target) = self.feeds.known(s.feed).map(|f| f.target.clone()) else {
            return;
        };
        let mut allowed = match vouched {
            true => Ok(()),
            false => self.still_allowed(connection, &target),
        };
        if shared {
            allowed = allowed.and_then(|()| self.may_share(connection, &target, vouched));
        }
        if let Err(refusal) = allowed {
            let detail = format!("{}: {why}", refusal.detail);
            self.end_unasked(slot, Refusal::new(refusal.code, detail));
        }
    }

    fn still_allowed(&self, connection: ConnectionId, target: &Target) -> Result<(), Refusal> {
        // A subscription for which an answer is pending is decided by that answer.
        self.may_subscribe(connection, target)
            .map(|_rules_and_asked| ())
    }

    /// Asks outside whether an existing subscription is allowed, because the rules now require it.
    /// The subscription continues until the answer arrives; without an answer, the rule for that
    /// case applies.
    pub(super) fn ask_if_required(&mut self, slot: Slot) {
        let Some(s) = self.subscriptions.get(slot).filter(|s| !s.is_vouched()) else {
            return;
        };
        let connection = s.connection;
        let is_pending = match &s.state {
            State::Opening(opening) => opening.asked.is_some(),
            State::Ended => true,
            State::Live { .. } | State::Behind(_) => false,
        };
        let target = self.feeds.known(s.feed).map(|f| f.target.clone());
        let Some(target) = target.filter(|_| !is_pending) else {
            return;
        };
        let Ok((rules, true)) = self.may_subscribe(connection, &target) else {
            return;
        };
        if self.asks.len() >= self.limits.requests {
            return self.end_unasked(slot, too_many_questions());
        }
        let asked = Asked::Subscribe { subscription: slot };
        let wish = Wish::Subscribe { target };
        let ask = self.ask(asked, rules.ask, Some(connection), wish);
        let s = self.subscriptions.get_mut(slot);
        if let Some(State::Opening(opening)) = s.map(|s| &mut s.state) {
            opening.asked = Some(ask);
        }
    }

    /// Whether members take as much memory as they may. While they do, subscriptions of clients that
    /// would make their session a member are refused; those of sessions that resume are not.
    pub fn set_members_full(&mut self, full: bool) {
        self.members_full = full;
    }

    /// Replaces the limits. What exceeds a new limit stays until it ends.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }
}
