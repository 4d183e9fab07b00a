//! The total of unsent bytes over all outboxes: counted where it matters, and limited.

use offhook_engine::{ChannelName, ConnectionId};

use super::{super::memory::Pressure, Outboxes};

/// The unsent bytes from which a connection is counted. 16 KiB: a connection that reads is below,
/// and a quarter of a million connections below it are not much more than the budget.
pub(super) const HEAVY: usize = 16 * 1024;

/// The limit of an outbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    configured: usize,
    /// Less than configured while memory is short.
    pub(super) now: usize,
}

impl Bound {
    pub(super) const fn new(configured: usize) -> Self {
        Self {
            configured,
            now: configured,
        }
    }
}

impl Outboxes {
    /// The current limit of an outbox.
    pub(in crate::worker) const fn bound(&self) -> usize {
        self.bound.now
    }

    /// Reduces or restores the limit under this pressure.
    pub(in crate::worker) const fn set_pressure(&mut self, pressure: Pressure) {
        self.bound.now = pressure.bound(self.bound.configured);
    }

    /// Records a connection's unsent bytes.
    pub(super) fn note_unsent(&mut self, connection: ConnectionId, unsent: usize) {
        if unsent > HEAVY
            && let Some(outbox) = self.get(connection)
            && !outbox.heavy
        {
            outbox.heavy = true;
            self.heavy.push(connection);
        }
    }

    /// The total of unsent bytes of the counted connections.
    pub(in crate::worker) fn count_unsent(&mut self) -> usize {
        let mut sum = 0;
        let mut heavy = std::mem::take(&mut self.heavy);
        heavy.retain(|connection| {
            let Some(outbox) = self.get(*connection) else {
                return false;
            };
            let unsent = outbox.outlet.unsent();
            outbox.heavy = unsent > HEAVY;
            sum += unsent;
            outbox.heavy
        });
        self.heavy = heavy;
        sum
    }

    /// The unsent bytes of a connection.
    pub(in crate::worker) fn unsent_of(&mut self, connection: ConnectionId) -> usize {
        let outbox = self.get(connection);
        outbox.map_or(0, |outbox| outbox.outlet.unsent())
    }

    /// Tells a subscriber how many its channel has, unless much is unsent: a later count follows.
    pub(in crate::worker) fn count(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
        members: u64,
    ) {
        if self.unsent_of(connection) <= HEAVY {
            self.say(connection, |dialect, out| {
                dialect.counted(channel, members, out);
            });
        }
    }

    /// The connections with the most unsent bytes, at most this many, with these bytes.
    pub(in crate::worker) fn heaviest(&mut self, limit: usize) -> Vec<(usize, ConnectionId)> {
        let heavy = self.heavy.clone().into_iter();
        let mut heavy: Vec<_> = heavy
            .map(|connection| (self.unsent_of(connection), connection))
            .filter(|(unsent, _)| *unsent > 0)
            .collect();
        heavy.sort_unstable_by(|a, b| b.cmp(a));
        heavy.truncate(limit);
        heavy
    }

    /// Whether a connection is here.
    pub(in crate::worker) fn has(&mut self, connection: ConnectionId) -> bool {
        self.get(connection).is_some()
    }

    /// The connections with this number in the log. They are searched: nobody but a person asks.
    pub(in crate::worker) fn numbered(&self, number: u32) -> Vec<ConnectionId> {
        let all = self.connections.iter().flatten();
        let fits = all.filter(|outbox| outbox.rare.peer.is_some_and(|peer| peer.number == number));
        fits.map(|outbox| outbox.connection).collect()
    }

    /// The connections with the most unsent bytes: as many as hold this number of bytes together.
    pub(in crate::worker) fn slowest(&mut self, bytes: usize) -> Vec<ConnectionId> {
        if bytes == 0 {
            return Vec::new();
        }
        let heavy = self.heavy.clone().into_iter();
        let mut heavy: Vec<_> = heavy
            .filter_map(|connection| Some((self.get(connection)?.outlet.unsent(), connection)))
            .collect();
        heavy.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = bytes;
        let slowest = heavy.into_iter().take_while(|(unsent, _)| {
            let wanted = left > 0;
            left = left.saturating_sub(*unsent);
            wanted
        });
        slowest.map(|(_, connection)| connection).collect()
    }
}
