//! The dialect of one connection.

use offhook_dialects::{Dialect, native::Native};

/// The dialect of one connection. The native one is stored in place, so that a quiet connection
/// costs no allocation for it.
#[derive(Debug)]
pub(crate) enum Speaker {
    /// The native dialect.
    Native(Native),
    /// Any other.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "native is the only dialect so far")
    )]
    Other(Box<dyn Dialect>),
}

impl Speaker {
    /// The native dialect, before anything was said.
    pub(crate) fn native() -> Self {
        Self::Native(Native::default())
    }

    pub(crate) fn dialect(&self) -> &dyn Dialect {
        match self {
            Self::Native(native) => native,
            Self::Other(other) => &**other,
        }
    }

    pub(crate) fn dialect_mut(&mut self) -> &mut dyn Dialect {
        match self {
            Self::Native(native) => native,
            Self::Other(other) => &mut **other,
        }
    }
}
