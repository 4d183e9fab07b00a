//! Connections open, fill up, drain and end; sessions move from one to the next.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    command::{Now, Since},
    delivery::{CloseReason, ConnectionId, Notice},
    error::{ErrorCode, Refusal},
    position::Position,
    rate::TokenBucket,
    rules::SlowPolicy,
    session::{Arrival, Identity, SessionId, SessionSnapshot, SubscriptionSnapshot},
    slab::Slot,
    subscription::{Flow, Subscribe, SubscriptionKey},
};

use super::{
    Connection, Engine, Item,
    shrinking::shrink,
    state::{Behind, Extra, State, Subscriptions, Waits},
    subscriptions::Wished,
};

impl Engine {
    /// A connection was opened and authenticated. If its session is on another connection of this
    /// worker, that connection is closed.
    ///
    /// # Errors
    /// [`ErrorCode::Draining`] and [`ErrorCode::TooManyConnections`].
    pub fn handle_connection_opened(
        &mut self,
        arrival: Arrival,
        now: Now,
    ) -> Result<ConnectionId, Refusal> {
        self.set_now(now);
        if self.draining {
            let detail = "this server is going away";
            return Err(Refusal::new(ErrorCode::Draining, detail));
        }
        let limit = self.limits.connections;
        if self.connections.len() >= limit {
            let detail = format!("this worker has {limit} connections, which is the limit");
            return Err(Refusal::new(ErrorCode::TooManyConnections, detail));
        }
        let Arrival {
            session,
            identity,
            class,
            generation,
            durable,
        } = arrival;
        if self.is_leaving() {
            self.finish_leaving(session);
        }
        let identity = self.sharing(identity);
        let older = self.sessions.get(&session).copied();
        let before = older.and_then(|old| self.connections.get(old.into()));
        let later = before.map_or(0, |old| old.generation + 1);
        let now_ms = self.now_ms();
        let limits = self.limits.of_client(identity.class.as_ref());
        let connection = Connection {
            session,
            identity: Arc::clone(&identity),
            generation: generation.max(later),
            subscriptions: Subscriptions::None,
            credit: self.limits.outbox_bytes,
            commands: TokenBucket::full(limits.command_burst, now_ms),
            publishes: TokenBucket::full(limits.publish_burst, now_ms),
            refusals: TokenBucket::full(self.limits.flood, now_ms),
            mark: 0,
            in_flight: 0,
            class,
            awaits_receipt: false,
            full: false,
            closing: false,
            gone: false,
            extra: None,
        };
        if let Some(old) = older {
            self.close(old, CloseReason::Replaced);
        }
        let id = ConnectionId::from(self.connections.insert(Box::new(connection)));
        self.sessions.insert(session, id);
        self.users.add(&identity.user, id);
        self.set_durable(id, durable);
        Ok(id)
    }

    /// A connection was opened with an unsealed token, or for a durable session. The session is the
    /// snapshot's, and its permissions are the arrival's: a subscription to a filter that may read more
    /// than before begins with a gap. The subscriptions are restored, from the snapshot's
    /// positions or from the client's own if given, which are newer. Each is answered like a
    /// `Subscribe` without an id, and [`Notice::Restored`] follows the last.
    ///
    /// The caller chooses the class, how long the session is kept, and the generation, which must
    /// be at least one more than the snapshot's.
    ///
    /// # Errors
    /// As [`handle_connection_opened`](Self::handle_connection_opened).
    pub fn handle_connection_resumed(
        &mut self,
        arrival: Arrival,
        snapshot: SessionSnapshot,
        positions: &[(SubscriptionKey, Position)],
        now: Now,
    ) -> Result<ConnectionId, Refusal> {
        let arrival = Arrival {
            session: snapshot.session,
            generation: arrival
                .generation
                .max(snapshot.generation.saturating_add(1)),
            ..arrival
        };
        let identity = Arc::clone(&arrival.identity);
        let connection = self.handle_connection_opened(arrival, now)?;
        let before = (&*snapshot.identity, snapshot.time_ms);
        if !snapshot.note.is_empty()
            && let Some(c) = self.connections.get_mut(connection.into())
        {
            c.extra().note = snapshot.note;
        }
        let given: HashMap<_, _> = positions.iter().map(|(key, at)| (key, *at)).collect();
        for old in snapshot.subscriptions {
            let name = old.name();
            let newer = given.get(&name.key()).copied();
            let regained = self.has_regained(&identity, before, &old);
            let (wish, by) = restored(old, newer, regained);
            if let Err(refusal) = self.subscribe(connection, wish, by) {
                let subscription = name;
                self.notice(
                    connection,
                    Notice::Unsubscribed {
                        subscription,
                        refusal,
                    },
                );
            }
        }
        self.restoring(connection);
        Ok(connection)
    }

    /// Tells a connection that all its subscriptions are restored, once they are.
    pub(super) fn restoring(&mut self, connection: ConnectionId) {
        let opening = self
            .subscriptions_of(connection)
            .into_iter()
            .filter(|slot| {
                let s = self.subscriptions.get(*slot);
                s.is_some_and(|s| matches!(s.state, State::Opening(_)))
            });
        let waits_for = opening.count();
        if waits_for == 0 {
            self.notice(connection, Notice::Restored);
        } else if let Some(c) = self.connections.get_mut(connection.into()) {
            c.extra().restoring = u32::try_from(waits_for).unwrap_or(u32::MAX);
        }
    }

    /// Counts a restored subscription that has started or ended.
    pub(super) fn restored_one(&mut self, connection: ConnectionId) {
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let restoring = |extra: &&mut Box<Extra>| extra.restoring > 0;
        let Some(extra) = c.extra.as_mut().filter(restoring) else {
            return;
        };
        extra.restoring -= 1;
        if extra.restoring == 0 && !c.closing {
            c.settle();
            self.notice(connection, Notice::Restored);
        }
    }

    /// A connection was lost: its session may return within the presence grace period without other
    /// members noticing. Unknown connections are ignored, here and in every other `handle_*`.
    pub fn handle_connection_lost(&mut self, connection: ConnectionId) {
        self.remove(connection, self.limits.presence_grace);
    }

    /// A connection was closed by the client: its session leaves at once.
    pub fn handle_connection_closed(&mut self, connection: ConnectionId) {
        self.remove(connection, Duration::ZERO);
    }

    /// A broadcast put a connection's outbox above its limit: its live subscriptions read from
    /// history instead, once [`handle_writable`](Self::handle_writable) reports room.
    pub fn handle_full(&mut self, connection: ConnectionId) {
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        c.full = true;
        c.credit = 0;
        self.used_up.push(connection);
        for slot in self.subscriptions_of(connection) {
            let Some(s) = self.subscriptions.get(slot) else {
                continue;
            };
            let Some(f) = self.feeds.known(s.feed) else {
                continue;
            };
            let impatient = f.rules.slow == SlowPolicy::Disconnect && !f.rules.history.is_kept();
            if let Some(handed_out) = self.leave_live(slot) {
                self.fall_behind(slot, Behind::slow(handed_out));
                self.park(slot);
                if impatient {
                    self.close(connection, CloseReason::TooSlow);
                    return;
                }
            }
            self.watch_later(slot);
        }
    }

    /// Grants a connection this many bytes of individual deliveries. Call
    /// [`wants_writable`](Self::wants_writable) after every write that leaves the outbox below its
    /// low-water mark, even one that completed at once. If it returns `true`, call this and grant
    /// less than the outbox holds: about half leaves room for live publications. The last
    /// publication may exceed the grant.
    pub fn handle_writable(&mut self, connection: ConnectionId, bytes_free: usize) {
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        c.full = bytes_free == 0;
        c.credit = bytes_free;
        if bytes_free > 0 {
            self.groups_go_on(connection);
        }
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let Some(extra) = c.extra.as_mut().filter(|_| bytes_free > 0) else {
            return;
        };
        let parked = std::mem::take(&mut extra.parked);
        let unwatched = std::mem::take(&mut extra.unwatched);
        c.settle();
        for slot in parked {
            let behind = self.subscriptions.get_mut(slot).and_then(|s| s.behind());
            if behind.is_some_and(|behind| behind.waits == Waits::Room) {
                self.queue_advance(slot);
            }
        }
        for slot in unwatched {
            self.watch_again(slot);
        }
        self.ask_owed(connection);
    }

    /// Takes a connection that waits for [`handle_writable`](Self::handle_writable) since its grant is
    /// used up or its outbox was full. Call until `None` after each `handle_*`, once the deliveries are
    /// taken: nothing else says so again.
    pub fn poll_wants_writable(&mut self) -> Option<ConnectionId> {
        loop {
            let connection = self.used_up.pop()?;
            if self.wants_writable(connection) {
                return Some(connection);
            }
        }
    }

    /// Uses some of a connection's grant.
    pub(super) fn spend(&mut self, connection: ConnectionId, bytes: usize) {
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let had_some = c.credit > 0;
        c.credit = c.credit.saturating_sub(bytes);
        if had_some && c.credit == 0 {
            self.used_up.push(connection);
        }
    }

    /// Whether this connection waits for [`handle_writable`](Self::handle_writable).
    #[must_use]
    pub fn wants_writable(&self, connection: ConnectionId) -> bool {
        let connection = self.connections.get(connection.into());
        connection.is_some_and(|c| c.full || c.credit == 0)
    }

    /// How many requests of this connection the broker has not answered. An answer may be large:
    /// accept no further commands from a connection that waits for several.
    #[must_use]
    pub fn unanswered(&self, connection: ConnectionId) -> usize {
        let connection = self.connections.get(connection.into());
        connection.map_or(0, |c| c.in_flight.into())
    }

    /// The session on a connection.
    #[must_use]
    pub fn session(&self, connection: ConnectionId) -> Option<SessionId> {
        Some(self.connections.get(connection.into())?.session)
    }

    /// Who is on a connection.
    #[must_use]
    pub fn identity(&self, connection: ConnectionId) -> Option<&Arc<Identity>> {
        Some(&self.connections.get(connection.into())?.identity)
    }

    /// The session on a connection as of now, to be sealed into its resume token; none once the
    /// connection is being closed, since its subscriptions have ended then.
    #[must_use]
    pub fn snapshot(&self, connection: ConnectionId, now: Now) -> Option<SessionSnapshot> {
        let c = self.connections.get(connection.into());
        let c = c.filter(|c| !c.closing)?;
        let all = c.subscriptions.as_slice().iter();
        let subscriptions = all.filter_map(|slot| self.subscription_snapshot(*slot));
        Some(SessionSnapshot {
            session: c.session,
            generation: c.generation,
            identity: Arc::clone(&c.identity),
            subscriptions: subscriptions.collect(),
            note: c
                .extra
                .as_ref()
                .map(|extra| extra.note.clone())
                .unwrap_or_default(),
            time_ms: now.unix_ms,
        })
    }

    fn subscription_snapshot(&self, slot: Slot) -> Option<SubscriptionSnapshot> {
        let s = self.subscriptions.get(slot)?;
        let (position, mut unacknowledged) = match &s.state {
            State::Live { .. } => (self.handed_out(slot)?, None),
            // A state that was not delivered completely is requested again by the client.
            State::Behind(behind) if behind.is_given_state() => return None,
            // A gap that was not announced yet is announced later.
            State::Behind(behind) => (behind.gap.map_or(behind.cursor, |gap| gap.from), None),
            State::Ended => return None,
            State::Opening(opening) => match opening.since {
                Since::Position(position) => (position, opening.earlier.clone()),
                Since::Now | Since::Start | Since::State | Since::Last(_) => return None,
            },
        };
        let (mut low, mut flow) = (position, Flow::Pushed);
        if let Some(shared) = &s.shared {
            flow = Flow::Acknowledged {
                window: shared.size,
            };
            low = self.place_of_group(shared).unwrap_or(position);
        } else if let Some(window) = &s.window {
            flow = Flow::Acknowledged {
                window: window.size(),
            };
            if !matches!(s.state, State::Opening(_)) {
                low = window.low();
                unacknowledged = Some(window.unacknowledged(position));
            }
        }
        let name = self.name_of(slot)?;
        Some(SubscriptionSnapshot {
            target: name.target,
            id: name.id,
            position: low,
            presence: s.presence,
            echo: s.echo,
            vouched: s.is_vouched(),
            flow,
            unacknowledged,
            share: s.shared.as_ref().map(|shared| shared.share.clone()),
        })
    }

    /// The server is going away: it accepts no new connections, and tells each connection a delay
    /// before it reconnects elsewhere, spread evenly. `random` returns 32 random bits per call.
    pub fn handle_drain(&mut self, spread: Duration, mut random: impl FnMut() -> u32) {
        self.draining = true;
        for (slot, _) in self.connections.iter() {
            let after = spread.mul_f64(f64::from(random()) / f64::from(u32::MAX));
            let notice = Box::new(Notice::Reconnect { after });
            self.items.push_back(Item::Notice {
                connection: slot.into(),
                notice,
            });
        }
    }

    /// Ends a connection: it gets nothing more but the close itself.
    pub(super) fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        if c.closing {
            return;
        }
        self.save_session(connection);
        self.remember_progress(connection);
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.closing = true;
        }
        self.unsubscribe_all(connection, self.limits.presence_grace);
        self.notice(connection, Notice::Close { reason });
    }

    fn remove(&mut self, connection: ConnectionId, grace: Duration) {
        let here = self.connections.get(connection.into());
        let Some(closing) = here.filter(|c| !c.gone).map(|c| c.closing) else {
            return;
        };
        if !closing {
            self.save_session(connection);
        }
        self.unsubscribe_all(connection, grace);
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        (c.gone, c.closing) = (true, true);
        let (session, user) = (c.session, Arc::clone(&c.identity.user));
        let is_empty = c.subscriptions.len() == 0;
        let under_way = c.in_flight > 0;
        if let Some(extra) = c.extra.take() {
            for ask in extra.ordered.asked_for() {
                self.asks.forget(ask);
            }
        }
        if under_way {
            self.asks.forget_calls(connection);
        }
        if self.sessions.get(&session) == Some(&connection) {
            self.sessions.remove(&session);
        }
        self.users.remove(user, connection);
        if is_empty {
            self.connections.remove(connection.into());
        }
        shrink(&mut self.sessions);
    }
}

/// The request that restores a subscription.
fn restored(
    old: SubscriptionSnapshot,
    newer: Option<Position>,
    regained: bool,
) -> (Subscribe, Wished) {
    let pushed = old.flow == Flow::Pushed;
    // The progress of an acknowledged subscription is determined by its acknowledgements.
    let position = newer.filter(|_| pushed).unwrap_or(old.position);
    let wish = Subscribe {
        target: old.target,
        id: old.id,
        since: Since::Position(position),
        presence: old.presence,
        members: true,
        echo: old.echo,
        flow: old.flow,
        share: old.share,
        face: None,
    };
    let by = Wished::Restored {
        vouched: old.vouched,
        regained,
        earlier: old.unacknowledged,
    };
    (wish, by)
}
