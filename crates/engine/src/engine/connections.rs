//! Connections come, fill up, drain and go; sessions move from one to the next.

use std::{sync::Arc, time::Duration};

use crate::{
    channel_name::ChannelName,
    command::{Now, Since},
    delivery::{CloseReason, ConnectionId, Notice},
    error::{ErrorCode, Refusal},
    position::Position,
    rate::TokenBucket,
    rules::SlowPolicy,
    session::{Identity, SessionId, SessionSnapshot, SubscriptionSnapshot},
};

use super::{Connection, Engine, Item, Stage, state::Behind};

impl Engine {
    /// A connection came, and the caller knows who it is. `session` is a fresh random name; when it is
    /// that of a session on another connection here, the other connection is closed.
    ///
    /// # Errors
    /// [`ErrorCode::Draining`] and [`ErrorCode::TooManyConnections`].
    pub fn handle_connection_opened(
        &mut self,
        session: SessionId,
        identity: Arc<Identity>,
        now: Now,
    ) -> Result<ConnectionId, Refusal> {
        self.now = now.instant;
        if self.draining {
            return Err(Refusal::new(
                ErrorCode::Draining,
                "this server is going away",
            ));
        }
        if self.connections.len() >= self.limits.connections {
            let detail = format!(
                "this worker has its {} connections",
                self.limits.connections
            );
            return Err(Refusal::new(ErrorCode::TooManyConnections, detail));
        }
        let older = self.sessions.get(&session).copied();
        let claim = older
            .and_then(|old| self.connections.get(old.into()))
            .map(|old| old.since_ms + 1);
        let now_ms = self.now_ms();
        let connection = Connection {
            session,
            identity,
            since_ms: now.unix_ms.max(claim.unwrap_or(0)),
            subscriptions: Vec::new(),
            credit: self.limits.outbox_bytes,
            commands: TokenBucket::full(self.limits.command_burst, now_ms),
            publishes: TokenBucket::full(self.limits.publish_burst, now_ms),
            refused: 0,
            mark: 0,
            awaits_receipt: false,
            in_flight: 0,
            full: false,
            closing: false,
        };
        if let Some(old) = older {
            self.close(old, CloseReason::Replaced);
        }
        let id = ConnectionId::from(self.connections.insert(connection));
        self.sessions.insert(session, id);
        Ok(id)
    }

    /// A connection came with an unsealed token. Its subscriptions are restored, from the snapshot's
    /// positions or from the client's own where it gave some: those are newer. Each is answered
    /// like a `Subscribe` without id.
    ///
    /// # Errors
    /// As [`handle_connection_opened`](Self::handle_connection_opened).
    pub fn handle_connection_resumed(
        &mut self,
        snapshot: SessionSnapshot,
        positions: &[(ChannelName, Position)],
        now: Now,
    ) -> Result<ConnectionId, Refusal> {
        let connection = self.handle_connection_opened(snapshot.session, snapshot.identity, now)?;
        for old in snapshot
            .subscriptions
            .into_iter()
            .take(self.limits.subscriptions)
        {
            let given = positions
                .iter()
                .find(|(channel, _)| *channel == old.channel);
            let since = Since::Position(given.map_or(old.position, |(_, position)| *position));
            let channel = old.channel.clone();
            if let Err(refusal) = self.subscribe(connection, None, old.channel, since, old.presence)
            {
                self.notice(connection, Notice::Unsubscribed { channel, refusal });
            }
        }
        Ok(connection)
    }

    /// A connection was lost: its session may come back within the presence grace without anyone
    /// noticing. Unknown connections are ignored, here and in every other `handle_*`.
    pub fn handle_connection_lost(&mut self, connection: ConnectionId) {
        self.remove(connection, self.limits.presence_grace);
    }

    /// A connection was closed by the client's own wish: its session leaves at once.
    pub fn handle_connection_closed(&mut self, connection: ConnectionId) {
        self.remove(connection, Duration::ZERO);
    }

    /// A broadcast put a connection's outbox above its bound: its live subscriptions begin to read history instead,
    /// once [`handle_writable`](Self::handle_writable) says that there is room.
    pub fn handle_full(&mut self, connection: ConnectionId) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        l.full = true;
        l.credit = 0;
        let channels: Vec<_> = l.subscriptions.iter().map(|s| s.channel).collect();
        for channel in channels {
            let Some(c) = self.channels.get(channel) else {
                continue;
            };
            let Some(tail) = c.tail else { continue };
            let impatient = c.rules.slow == SlowPolicy::Disconnect && !c.rules.history.is_kept();
            if self.leave_live(connection, channel) {
                if impatient {
                    self.close(connection, CloseReason::TooSlow);
                    return;
                }
                self.fall_behind(connection, channel, Behind::slow(tail));
            }
            self.stop_watching(connection, channel);
        }
    }

    /// A connection may be handed out so many bytes one by one. Ask
    /// [`wants_writable`](Self::wants_writable) after every write that leaves the outbox below its
    /// low-water mark, also one that went through at once; if it says yes, call this, and grant
    /// less than the outbox holds: about half leaves room for what is live meanwhile. The last
    /// publication handed out may go over the grant.
    pub fn handle_writable(&mut self, connection: ConnectionId, bytes_free: usize) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let was_full = std::mem::replace(&mut l.full, bytes_free == 0);
        l.credit = bytes_free;
        let channels: Vec<_> = l.subscriptions.iter().map(|s| s.channel).collect();
        for channel in channels {
            self.queue_advance(connection, channel);
            if was_full && bytes_free > 0 {
                self.watch_again(connection, channel);
            }
        }
    }

    /// Whether this connection waits for [`handle_writable`](Self::handle_writable).
    #[must_use]
    pub fn wants_writable(&self, connection: ConnectionId) -> bool {
        self.connections
            .get(connection.into())
            .is_some_and(|l| l.full || l.credit == 0)
    }

    /// How many requests of this connection the broker has not answered yet. An answer may be large:
    /// take no more commands for now from a connection that waits for some.
    #[must_use]
    pub fn unanswered(&self, connection: ConnectionId) -> usize {
        self.connections
            .get(connection.into())
            .map_or(0, |l| l.in_flight.into())
    }

    /// The session on a connection as of now, to be sealed into its resume token.
    #[must_use]
    pub fn snapshot(&self, connection: ConnectionId, now: Now) -> Option<SessionSnapshot> {
        let l = self.connections.get(connection.into())?;
        let subscriptions = l.subscriptions.iter().filter_map(|s| {
            let c = self.channels.get(s.channel)?;
            let position = match &s.stage {
                Stage::Live { .. } => c.tail?,
                Stage::Behind(behind) => behind.cursor,
                Stage::Opening(opening) => match opening.since {
                    Since::Position(position) => position,
                    Since::Now | Since::Start | Since::Last(_) => return None,
                },
            };
            let channel = c.name.clone();
            Some(SubscriptionSnapshot {
                channel,
                position,
                presence: s.presence,
            })
        });
        let subscriptions = subscriptions.collect();
        let identity = Arc::clone(&l.identity);
        Some(SessionSnapshot {
            session: l.session,
            identity,
            subscriptions,
            time_ms: now.unix_ms,
        })
    }

    /// The server is going away: no new connections, and each connection is told a pause of its own before it
    /// comes back elsewhere, spread evenly. `random` gives 32 random bits a call.
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

    /// Says goodbye to a connection: it gets nothing more but the close itself.
    pub(super) fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        if std::mem::replace(&mut l.closing, true) {
            return;
        }
        self.unsubscribe_all(connection, self.limits.presence_grace);
        self.notice(connection, Notice::Close { reason });
    }

    fn remove(&mut self, connection: ConnectionId, grace: Duration) {
        self.unsubscribe_all(connection, grace);
        let Some(l) = self.connections.remove(connection.into()) else {
            return;
        };
        if self.sessions.get(&l.session) == Some(&connection) {
            self.sessions.remove(&l.session);
        }
    }
}
