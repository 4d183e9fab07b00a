//! The dialect of one connection.

use std::time::Instant;

use offhook_dialects::{Dialect, native::Native};

/// The dialect of one connection. The native one has no state, so that an idle connection costs 8
/// bytes for it and no allocation.
#[derive(Debug)]
pub(crate) enum Speaker {
    /// The native dialect.
    Native,
    /// Any other, boxed twice so that a connection that speaks native does not hold room for it.
    Other(Box<Box<dyn Dialect>>),
}

impl Speaker {
    /// Calls `speak` with the dialect.
    pub(crate) fn with<R>(&mut self, speak: impl FnOnce(&mut dyn Dialect) -> R) -> R {
        match self {
            Self::Native => speak(&mut Native),
            Self::Other(other) => speak(&mut ***other),
        }
    }

    /// When the dialect wants to be called because of the time; none for a dialect that never does.
    pub(crate) fn timeout(&self) -> Option<Option<Instant>> {
        match self {
            Self::Native => None,
            Self::Other(other) => Some(other.poll_timeout()),
        }
    }
}
