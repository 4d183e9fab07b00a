//! Connections that have gone: their subscriptions end, many of them a part at a time.

use std::time::Duration;

use crate::{delivery::ConnectionId, session::SessionId, slab::Slot};

use super::{Engine, state::State};

/// A connection with subscriptions that are still to end.
#[derive(Debug)]
pub(super) struct Leaving {
    connection: ConnectionId,
    /// How long its session may be away before it has left.
    grace: Duration,
}

impl Engine {
    /// Ends the subscriptions of a connection. Nothing is delivered to any of them from now on. If
    /// there are many, feeds and broker are updated in parts by [`leave_on`](Self::leave_on).
    pub(super) fn unsubscribe_all(&mut self, connection: ConnectionId, grace: Duration) {
        self.keep_groups(connection);
        let slots = self.subscriptions_of(connection);
        if slots.len() <= self.limits.leave_at_once {
            for slot in slots {
                self.end(slot, grace);
            }
            return;
        }
        if self.leaving.iter().any(|l| l.connection == connection) {
            return;
        }
        for slot in slots {
            self.take_out(slot);
        }
        self.leaving.push_back(Leaving { connection, grace });
    }

    /// Takes a subscription out of everything that is delivered.
    fn take_out(&mut self, slot: Slot) {
        self.leave_group(slot);
        self.stop_watching(slot);
        self.leave_live(slot);
        let Some(s) = self.subscriptions.get_mut(slot) else {
            return;
        };
        let was_behind = matches!(s.state, State::Behind(_));
        if let State::Opening(opening) = &s.state
            && let Some(ask) = opening.asked
        {
            self.asks.forget(ask);
        }
        s.state = State::Ended;
        if let Some(f) = self.feeds.known_mut(s.feed) {
            if was_behind {
                f.not_behind(slot);
            }
            f.settle();
        }
    }

    /// Whether a connection has so many subscriptions that they would end in parts if it went now.
    /// Even reporting that it went takes a while then: if many such connections end at the same
    /// time, report them one by one, and do other work in between.
    #[must_use]
    pub fn ends_in_parts(&self, connection: ConnectionId) -> bool {
        let c = self.connections.get(connection.into());
        c.is_some_and(|c| c.subscriptions.len() > self.limits.leave_at_once)
    }

    /// Whether subscriptions of connections that have gone are still to end:
    /// [`leave_on`](Self::leave_on) has something to do.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Ends the next part of the subscriptions of connections that have gone, as
    /// [`Limits::leave_at_once`](crate::Limits) says. Returns whether there are more: do other work
    /// first, then call it again. [`handle_timeout`](Self::handle_timeout) does the same.
    pub fn leave_on(&mut self) -> bool {
        let Some(Leaving { connection, grace }) = self.leaving.pop_front() else {
            return false;
        };
        let part = self.limits.leave_at_once.max(1);
        let slots = self.subscriptions_of(connection);
        // From the end, where nothing has to move for it.
        for slot in slots.iter().rev().take(part) {
            self.end(*slot, grace);
        }
        if slots.len() > part {
            self.leaving.push_front(Leaving { connection, grace });
        } else {
            self.forget_gone(connection);
        }
        self.is_leaving()
    }

    /// A session reconnects: the remaining subscriptions of its earlier connections to this worker
    /// are ended first, because the broker is told in order.
    pub(super) fn finish_leaving(&mut self, session: SessionId) {
        let mine = |engine: &Self, leaving: &Leaving| {
            let c = engine.connections.get(leaving.connection.into());
            c.is_some_and(|c| c.session == session)
        };
        while let Some(at) = self.leaving.iter().position(|l| mine(self, l)) {
            let Some(Leaving { connection, grace }) = self.leaving.remove(at) else {
                return;
            };
            for slot in self.subscriptions_of(connection) {
                self.end(slot, grace);
            }
            self.forget_gone(connection);
        }
    }

    /// Everything of a connection has ended: if it has gone, nothing is remembered of it any more.
    fn forget_gone(&mut self, connection: ConnectionId) {
        let gone = self.connections.get(connection.into());
        if gone.is_some_and(|c| c.gone) {
            self.connections.remove(connection.into());
        }
    }
}
