//! The timeouts of connections' dialects: heartbeats, and silent clients.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use offhook_dialects::Intent;
use offhook_engine::ConnectionId;

use super::Outboxes;

/// The times at which dialects want to be called. The native dialect has none, so that an idle
/// connection costs nothing here.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, ConnectionId)>,
    of: HashMap<ConnectionId, Instant>,
}

impl Timers {
    /// Replaces the timeout of a connection's dialect.
    pub(super) fn set(&mut self, connection: ConnectionId, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.of.insert(connection, at),
            None if self.of.is_empty() => return,
            None => self.of.remove(&connection),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, connection));
        }
        if let Some(at) = at {
            self.due.insert((at, connection));
        }
    }

    fn take_due(&mut self, now: Instant) -> Vec<ConnectionId> {
        let mut due = Vec::new();
        while let Some((_, connection)) = self.due.first().filter(|(at, _)| *at <= now).copied() {
            self.set(connection, None);
            due.push(connection);
        }
        due
    }
}

impl Outboxes {
    /// Connections whose dialects' timeouts have expired.
    pub(in crate::worker) fn take_due(&mut self, now: Instant) -> Vec<ConnectionId> {
        self.timers.take_due(now)
    }

    /// Calls the dialect of a connection whose timeout has expired.
    pub(in crate::worker) fn time_has_come(
        &mut self,
        connection: ConnectionId,
        now: Instant,
        intents: &mut Vec<Intent>,
    ) {
        if let Some(outbox) = self.get(connection) {
            outbox
                .rare
                .speaker
                .with(|dialect| dialect.handle_timeout(now, intents));
        }
        self.attend(connection);
    }
}
