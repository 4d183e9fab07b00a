//! Consumers' positions in a channel: the rules common to all brokers.

use offhook_engine::{BrokerFailure, Position};

/// The maximum number of consumers of one user in one channel: one for each program that reads it,
/// with room for misspelled names.
pub(crate) const MAX_CONSUMERS: usize = 64;

/// A consumer that acknowledged nothing for this long makes room for a new one: 30 days.
const ABANDONED_AFTER_MS: u64 = 30 * 24 * 3600 * 1000;

/// Consumers of a session without a user name end with it: 7 days after it acknowledged something last,
/// which is longer than a resume token is good by default.
const OF_SESSION_MS: u64 = 7 * 24 * 3600 * 1000;

/// Whether a scope is that of a session without a user name.
pub(crate) fn is_of_session(scope: &[u8]) -> bool {
    scope.first() == Some(&0)
}

/// A consumer's position, and when it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) position: Position,
    pub(crate) time_ms: u64,
}

impl Cursor {
    /// Whether it has ended with the session that it is of.
    pub(crate) fn has_ended(self, now_ms: u64) -> bool {
        self.time_ms.saturating_add(OF_SESSION_MS) < now_ms
    }

    /// The position of a consumer after it acknowledged `position`. Acknowledgements may arrive
    /// late or twice, so within an epoch the position never decreases.
    pub(crate) fn advanced(before: Option<Self>, position: Position, time_ms: u64) -> Self {
        let late = before.filter(|before| {
            before.position.epoch == position.epoch && before.position.offset > position.offset
        });
        let position = late.map_or(position, |before| before.position);
        Self { position, time_ms }
    }
}

/// The consumer of a user that makes room for a new one.
pub(crate) fn abandoned<Name>(
    all: impl Iterator<Item = (Name, Cursor)>,
    now_ms: u64,
) -> Result<Name, BrokerFailure> {
    let (name, oldest) = all
        .min_by_key(|(_, cursor)| cursor.time_ms)
        .ok_or(BrokerFailure::TooManyConsumers)?;
    if oldest.time_ms.saturating_add(ABANDONED_AFTER_MS) < now_ms {
        Ok(name)
    } else {
        Err(BrokerFailure::TooManyConsumers)
    }
}

#[cfg(test)]
mod tests;
