//! Saving sessions' states, in memory and by the writer of a durable broker.

use offhook_engine::{BrokerRequest, Now, SessionId};

use super::{Change, Hub, Saved};

/// The sessions that the writer takes under one lock.
const SESSIONS_AT_ONCE: usize = 1024;

/// Sessions whose states are being written.
#[derive(Debug, Default)]
pub(crate) struct WrittenSessions {
    all: Vec<SessionId>,
    /// Those whose state is deleted.
    deleted: Vec<SessionId>,
}

impl Hub {
    /// Stores a session's state, or deletes it.
    pub(crate) fn session(&self, request: BrokerRequest) {
        let stamp_ms = self.stamp_ms();
        let sessions = &mut self.registry().sessions;
        match request {
            BrokerRequest::SaveSession {
                id: _,
                session,
                bytes,
                expiry,
            } => sessions.save(session, bytes, expiry, stamp_ms),
            BrokerRequest::DropSession { session } => sessions.drop(session),
            BrokerRequest::Publish { .. }
            | BrokerRequest::Follow { .. }
            | BrokerRequest::Unfollow { .. }
            | BrokerRequest::FollowFilter { .. }
            | BrokerRequest::UnfollowFilter { .. }
            | BrokerRequest::FilterHistory { .. }
            | BrokerRequest::LoadSession { .. }
            | BrokerRequest::History { .. }
            | BrokerRequest::State { .. }
            | BrokerRequest::Values { .. }
            | BrokerRequest::Join { .. }
            | BrokerRequest::Leave { .. }
            | BrokerRequest::Members { .. }
            | BrokerRequest::Ack { .. }
            | BrokerRequest::Receipts { .. }
            | BrokerRequest::Found { .. }
            | BrokerRequest::Share { .. }
            | BrokerRequest::Renew { .. } => {}
        }
    }

    /// Restores saved sessions.
    pub(crate) fn restore_sessions(&self, all: impl IntoIterator<Item = (SessionId, Saved)>) {
        self.registry().sessions.restore(all);
    }

    /// Removes expired sessions.
    pub(crate) fn end_sessions(&self, now: Now) {
        self.registry().sessions.tick(now.unix_ms);
    }

    /// Takes the sessions that are to be written, and passes the present state of each on, a slice at a
    /// time, so that others get the lock in between. The result says later what has become of them.
    pub(crate) fn write_sessions(&self, mut write: impl FnMut(Change)) -> WrittenSessions {
        let all = self.registry().sessions.take_changed();
        let mut deleted = Vec::new();
        for slice in all.chunks(SESSIONS_AT_ONCE) {
            let states: Vec<_> = {
                let mut registry = self.registry();
                let write = |session: &SessionId| registry.sessions.next_write(*session);
                slice.iter().map(write).collect()
            };
            for change in states {
                if change.1.is_none() {
                    deleted.push(change.0);
                }
                write(change);
            }
        }
        WrittenSessions { all, deleted }
    }

    /// Whether the sessions that were taken are on disk now.
    pub(crate) fn sessions_written(&self, sessions: &WrittenSessions, written: bool) {
        if sessions.all.is_empty() {
            return;
        }
        let WrittenSessions { all, deleted } = sessions;
        let sessions = &mut self.registry().sessions;
        match written {
            true => sessions.deleted(deleted),
            false => sessions.not_written(all),
        }
    }
}
