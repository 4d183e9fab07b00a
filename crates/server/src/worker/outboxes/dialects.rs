//! What is asked of a connection's dialect after each call: when it wants to be called next, what it
//! wants done, and whether it takes more.

use std::rc::Rc;

use offhook_dialects::{Intent, Readiness, Unfinished};
use offhook_engine::ConnectionId;
use tokio::sync::Notify;

use super::Outboxes;

impl Outboxes {
    /// The dialect of a connection was called.
    pub(super) fn attend(&mut self, connection: ConnectionId) {
        let Some(outbox) = self.get(connection) else {
            return;
        };
        let Some(at) = outbox.rare.speaker.timeout() else {
            return;
        };
        let mut wishes = std::mem::take(&mut self.wishes);
        let mut readiness = Readiness::Ready;
        let mut held = Unfinished::default();
        if let Some(outbox) = self.get(connection) {
            outbox.rare.speaker.with(|dialect| {
                while let Some(intent) = dialect.poll_intent() {
                    wishes.push((connection, intent));
                }
                readiness = dialect.readiness();
                held = dialect.unfinished();
            });
        }
        self.wishes = wishes;
        self.timers.set(connection, at);
        self.note_partial(connection, held);
        if readiness != Readiness::Waits
            && !self.pausing.is_empty()
            && let Some(pause) = self.pausing.remove(&connection)
        {
            pause.notify_one();
        }
    }

    /// Whether the client of a connection that ends its transport as that allows is leaving.
    pub(in crate::worker) fn leaves_with_its_transport(
        &mut self,
        connection: ConnectionId,
    ) -> bool {
        let leaves = |outbox: &mut super::Outbox| {
            outbox
                .rare
                .speaker
                .with(|dialect| dialect.leaves_with_its_transport())
        };
        self.get(connection).is_none_or(leaves)
    }

    /// What dialects asked for since the last call.
    pub(in crate::worker) fn take_wishes(&mut self) -> Vec<(ConnectionId, Intent)> {
        std::mem::take(&mut self.wishes)
    }

    /// Whether a connection's dialect takes more. If it waits, the connection is woken when it no longer
    /// does: see [`paused`](Self::paused).
    pub(in crate::worker) fn readiness(&mut self, connection: ConnectionId) -> Readiness {
        let Some(outbox) = self.get(connection) else {
            return Readiness::Ready;
        };
        if outbox.rare.speaker.timeout().is_none() {
            return Readiness::Ready;
        }
        let readiness = outbox.rare.speaker.with(|dialect| dialect.readiness());
        if readiness == Readiness::Waits {
            self.pausing.entry(connection).or_default();
        }
        readiness
    }

    /// Wakes when the dialect of a connection takes more; none if it does.
    pub(in crate::worker) fn paused(&self, connection: ConnectionId) -> Option<Rc<Notify>> {
        self.pausing.get(&connection).map(Rc::clone)
    }
}
