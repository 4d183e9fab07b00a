//! Messages that a connection receives from queues.

use std::sync::Arc;

use offhook_engine::{ConnectionId, Position, Publication, SubscriptionId};

use super::Outboxes;
use crate::worker::outlet::Outlet;

impl Outboxes {
    /// Puts a message of a queue into the outbox of a consumer's connection.
    pub(in crate::worker) fn put_queued(
        &mut self,
        connection: ConnectionId,
        consumer: SubscriptionId,
        publication: &Arc<Publication>,
        (place, earlier): (Position, u16),
    ) {
        self.catch_up_walk(connection);
        let Some(outbox) = self.get(connection) else {
            return;
        };
        let message = outbox
            .rare
            .speaker
            .with(|dialect| dialect.queued(consumer, publication, place, earlier));
        if let Some(message) = message {
            let bytes = message.as_bytes().len();
            // A closing connection gets nothing more.
            let unsent = outbox.outlet.put(message).unwrap_or(0);
            self.metrics.deliveries.add(1);
            self.metrics.delivered_bytes.add(bytes as u64);
            self.note_unsent(connection, unsent);
        }
        self.attend(connection);
    }

    /// Whether a consumer's connection has room for a message of a queue: half of the outbox is for
    /// everything else.
    pub(in crate::worker) fn has_room_for_queued(&mut self, connection: ConnectionId) -> bool {
        self.unsent_of(connection) <= self.bound() / 2
    }

    /// The outlet of a connection.
    pub(in crate::worker) fn outlet(&mut self, connection: ConnectionId) -> Option<Outlet> {
        Some(self.get(connection)?.outlet.clone())
    }
}
