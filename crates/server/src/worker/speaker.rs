//! The dialect of one connection.

use std::time::Instant;

use offhook_dialects::{Dialect, native::Native};

/// The dialect of one connection. The native one has hardly any state, so that an idle connection
/// costs 16 bytes for it and no allocation.
#[derive(Debug)]
pub(crate) enum Speaker {
    /// The native dialect.
    Native(Native),
    /// Any other dialect, boxed twice so that a connection with the native one does not reserve
    /// room for it.
    Other(Box<Box<dyn Dialect>>),
}

impl Speaker {
    /// Calls `speak` with the dialect.
    pub(crate) fn with<R>(&mut self, speak: impl FnOnce(&mut dyn Dialect) -> R) -> R {
        match self {
            Self::Native(native) => speak(native),
            Self::Other(other) => speak(&mut ***other),
        }
    }

    /// When the dialect wants to be called next; none for a dialect without timeouts.
    pub(crate) fn timeout(&self) -> Option<Option<Instant>> {
        match self {
            Self::Native(_) => None,
            Self::Other(other) => Some(other.poll_timeout()),
        }
    }
}
