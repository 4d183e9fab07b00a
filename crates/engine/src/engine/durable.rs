//! Durable sessions: the broker keeps them while they are away.

use std::time::Duration;

use crate::{
    ask::CallerId, broker::BrokerRequest, command::Now, delivery::ConnectionId, session::SessionId,
};

use super::{
    Engine,
    state::{Pending, durable::Durable},
};

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
                let stale = false;
                c.extra().durable = Some(Durable { expiry, stale });
                self.session_changed(connection);
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

    /// Stores the durable sessions that have changed at the broker.
    pub(super) fn save_sessions(&mut self) {
        self.save_at = None;
        for connection in std::mem::take(&mut self.stale_sessions) {
            self.save_session(connection);
        }
    }

    pub(super) fn save_session(&mut self, connection: ConnectionId) {
        let extra = self
            .connections
            .get_mut(connection.into())
            .and_then(|c| c.extra.as_mut());
        let Some(durable) = extra.and_then(|extra| extra.durable.as_mut()) else {
            return;
        };
        durable.stale = false;
        let expiry = durable.expiry;
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
                session,
                bytes,
                expiry,
            });
        }
    }
}
