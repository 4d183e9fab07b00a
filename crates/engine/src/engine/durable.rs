//! Durable sessions: the broker keeps them while they are away.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    ask::CallerId,
    broker::{BrokerRequest, RequestId},
    command::{CommandId, Now},
    delivery::{ConnectionId, Reply},
    error::Refusal,
    session::SessionId,
};

use super::{
    Engine,
    commands::gone,
    state::{Asker, Pending, durable::Durable},
};

/// How much longer than its expiry the broker keeps a session whose connection is open. The expiry
/// starts when the connection ends, which is not recorded in a crash. 10 minutes: within half of
/// this, the session is saved again, which costs little even for many sessions.
const WHILE_CONNECTED: Duration = Duration::from_secs(600);

impl Engine {
    /// Keeps a session for this long after its connection has ended, as the broker stores it;
    /// `None` to stop.
    pub fn set_durable(&mut self, connection: ConnectionId, expiry: Option<Duration>) {
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let was = c.extra.as_ref().and_then(|extra| extra.durable);
        let session = c.session;
        match expiry {
            Some(expiry) => {
                let (stale, saved) = (false, None);
                c.extra().durable = Some(Durable {
                    expiry,
                    stale,
                    saved,
                });
                self.session_changed(connection);
                let later = self.now + WHILE_CONNECTED / 2;
                self.refresh_at.get_or_insert(later);
            }
            None if was.is_some() => {
                c.extra().durable = None;
                c.settle();
                self.broker_requests
                    .push_back(BrokerRequest::DropSession { session });
            }
            None => {}
        }
    }

    /// Looks for a durable session before its connection is opened with
    /// [`handle_connection_resumed`](Self::handle_connection_resumed). The caller gets
    /// [`CallerReply::Session`](crate::CallerReply), or a refusal.
    pub fn handle_load_session(&mut self, caller: CallerId, session: SessionId, now: Now) {
        self.set_now(now);
        let id = self.request(Pending::Session { caller });
        self.broker_requests
            .push_back(BrokerRequest::LoadSession { id, session });
    }

    /// The state of a session has changed: if it is durable, the broker is told soon.
    pub(super) fn session_changed(&mut self, connection: ConnectionId) {
        let extra = self
            .connections
            .get_mut(connection.into())
            .and_then(|c| c.extra.as_mut());
        let Some(durable) = extra.and_then(|extra| extra.durable.as_mut()) else {
            return;
        };
        if !std::mem::replace(&mut durable.stale, true) {
            self.stale_sessions.push(connection);
            let soon = self.now + self.limits.save_after;
            self.save_at.get_or_insert(soon);
        }
    }

    /// Stores durable sessions at the broker: those that have changed, and those whose copies get old.
    pub(super) fn save_due_sessions(&mut self) {
        let now = self.now;
        let is_due = |at: &mut Instant| *at <= now;
        if self.save_at.take_if(is_due).is_some() {
            self.save_changed_sessions();
        }
        if self.refresh_at.take_if(is_due).is_some() {
            self.refresh_sessions();
        }
    }

    fn save_changed_sessions(&mut self) {
        for connection in std::mem::take(&mut self.stale_sessions) {
            // One with a new note was saved with it.
            if self.is_stale(connection) {
                self.save_session_as(connection, None, WHILE_CONNECTED);
            }
        }
    }

    fn is_stale(&self, connection: ConnectionId) -> bool {
        let c = self.connections.get(connection.into());
        let extra = c.and_then(|c| c.extra.as_ref());
        extra.is_some_and(|extra| extra.durable.is_some_and(|durable| durable.stale))
    }

    /// Saves the durable sessions of open connections before the broker's copies expire.
    fn refresh_sessions(&mut self) {
        let until = self.now.checked_sub(WHILE_CONNECTED / 2);
        let mut any = false;
        let mut old = Vec::new();
        for (slot, c) in self.connections.iter() {
            let Some(durable) = c.extra.as_ref().and_then(|extra| extra.durable) else {
                continue;
            };
            any = true;
            if durable.saved.is_none_or(|saved| Some(saved) <= until) {
                old.push(slot.into());
            }
        }
        for connection in old {
            self.save_session_as(connection, None, WHILE_CONNECTED);
        }
        if any {
            // This includes sessions that were saved since: by then, they are at most half as old.
            self.refresh_at = Some(self.now + WHILE_CONNECTED / 4);
        }
    }

    /// Saves a durable session whose connection ends.
    pub(super) fn save_session(&mut self, connection: ConnectionId) {
        self.save_session_as(connection, None, Duration::ZERO);
    }

    fn save_session_as(
        &mut self,
        connection: ConnectionId,
        id: Option<RequestId>,
        longer: Duration,
    ) {
        let extra = self
            .connections
            .get_mut(connection.into())
            .and_then(|c| c.extra.as_mut());
        let Some(durable) = extra.and_then(|extra| extra.durable.as_mut()) else {
            return;
        };
        (durable.stale, durable.saved) = (false, Some(self.now));
        let expiry = durable.expiry.saturating_add(longer);
        let now = Now {
            instant: self.now,
            unix_ms: self.now_unix_ms,
        };
        let Some(snapshot) = self.snapshot(connection, now) else {
            return;
        };
        if let Some(bytes) = snapshot.to_bytes() {
            let session = snapshot.session;
            let bytes = bytes.into();
            self.broker_requests.push_back(BrokerRequest::SaveSession {
                id,
                session,
                bytes,
                expiry,
            });
        }
    }

    /// Keeps a note with a connection's session: see [`Command::Remember`](crate::Command).
    pub(super) fn remember(
        &mut self,
        connection: ConnectionId,
        command: CommandId,
        note: Bytes,
        at_once: bool,
    ) -> Result<(), Refusal> {
        let c = self.connections.get_mut(connection.into());
        let extra = c.ok_or_else(gone)?.extra();
        extra.note = note;
        if extra.durable.is_none() || !at_once {
            self.session_changed(connection);
            self.reply(connection, Some(command), Reply::Remembered);
            return Ok(());
        }
        let asker = Asker::Connection(connection, command);
        self.write_in_flight(asker)?;
        let id = self.request(Pending::Remember { asker });
        self.save_session_as(connection, Some(id), WHILE_CONNECTED);
        Ok(())
    }

    pub(super) fn remembered(&mut self, id: RequestId) {
        match self.requests.take(id) {
            Some(Pending::Remember { asker }) => self.answer(asker, Reply::Remembered),
            other => debug_assert!(other.is_none(), "a session was saved for its dialect"),
        }
    }
}
