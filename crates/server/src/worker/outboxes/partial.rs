//! What dialects hold for their clients: its total size, and how long an incomplete message may take. Those
//! messages that WebSockets hold are counted in [`Unfinished`](crate::worker::unfinished::Unfinished).

use std::time::{Duration, Instant};

use offhook_dialects::Unfinished;
use offhook_engine::ConnectionId;

use super::Outboxes;

impl Outboxes {
    /// The dialect of a connection holds this.
    pub(super) fn note_partial(&mut self, connection: ConnectionId, held: Unfinished) {
        if held.bytes > 0 {
            self.partial.insert(connection, held);
        } else if !self.partial.is_empty() {
            self.partial.remove(&connection);
        }
    }

    /// The total in bytes, and the connections whose message takes longer than this.
    pub(in crate::worker) fn count_partial(
        &self,
        now: Instant,
        within: Duration,
    ) -> (usize, Vec<ConnectionId>) {
        let is_late = |held: &Unfinished| {
            let since = held.since;
            since.is_some_and(|since| now.saturating_duration_since(since) >= within)
        };
        let late = self.partial.iter().filter(|(_, held)| is_late(held));
        let late = late.map(|(connection, _)| *connection).collect();
        let bytes = self.partial.values().map(|held| held.bytes).sum();
        (bytes, late)
    }

    /// The connections with the largest incomplete messages, which have this many bytes together, and
    /// how many they have.
    pub(in crate::worker) fn largest_partial(&self, bytes: usize) -> (Vec<ConnectionId>, usize) {
        let mut all: Vec<_> = self.partial.iter().collect();
        all.sort_unstable_by_key(|(_, held)| std::cmp::Reverse(held.bytes));
        let (mut largest, mut total) = (Vec::new(), 0);
        for (connection, held) in all {
            if total >= bytes {
                break;
            }
            total += held.bytes;
            largest.push(*connection);
        }
        (largest, total)
    }
}
