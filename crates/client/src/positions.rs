//! Stores for positions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use offhook_dialects::native::client::Position;

/// Keeps the position of the last handled event of each channel, and of each filter under a `*` and the
/// filter, so that a later client or another
/// process continues from there.
///
/// An event counts as handled when the next one is requested: a program that is killed in between
/// gets it again. Both functions are called within [`next`](crate::Subscription::next) and
/// [`subscribe`](crate::Client::subscribe), so a slow store should write in a task of its own.
///
/// ```
/// use std::fs;
/// use std::path::PathBuf;
/// use offhook_client::{Position, PositionStore};
///
/// #[derive(Debug)]
/// struct Files(PathBuf);
///
/// impl PositionStore for Files {
///     fn load(&self, channel: &str) -> Option<Position> {
///         fs::read_to_string(self.0.join(channel)).ok()?.parse().ok()
///     }
///     fn save(&self, channel: &str, position: Position) {
///         if let Err(error) = fs::write(self.0.join(channel), position.to_string()) {
///             eprintln!("{channel}: {error}");
///         }
///     }
/// }
/// ```
pub trait PositionStore: fmt::Debug + Send + Sync {
    /// The position saved last for a channel.
    fn load(&self, channel: &str) -> Option<Position>;
    /// Saves that everything up to this position was handled.
    fn save(&self, channel: &str, position: Position);
}

/// Positions in memory, shared by clones: for consecutive clients in one process.
#[derive(Clone, Debug, Default)]
pub struct MemoryPositions {
    positions: Arc<Mutex<HashMap<Box<str>, Position>>>,
}

impl PositionStore for MemoryPositions {
    fn load(&self, channel: &str) -> Option<Position> {
        let positions = self.positions.lock();
        let positions = positions.unwrap_or_else(PoisonError::into_inner);
        positions.get(channel).copied()
    }

    fn save(&self, channel: &str, position: Position) {
        let positions = self.positions.lock();
        let mut positions = positions.unwrap_or_else(PoisonError::into_inner);
        match positions.get_mut(channel) {
            Some(saved) => *saved = position,
            None => {
                positions.insert(channel.into(), position);
            }
        }
    }
}
