//! What a compressed message can be at fault for.

use std::fmt;

/// Why a compressed message can't be read. The connection has to be failed:
/// after this the contexts of both ends differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InflateError {
    /// The bytes are no DEFLATE stream, or the message ends inside a block.
    Corrupt,
    /// The peer referred further back than the window agreed upon.
    WindowExceeded,
    /// The message is larger than allowed.
    TooLarge {
        /// The most bytes a message may have.
        limit: u64,
    },
    /// The message expands more than allowed.
    Ratio {
        /// The most it may expand.
        limit: u32,
    },
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => f.write_str("the compressed message is corrupt"),
            Self::WindowExceeded => {
                f.write_str("the compressed message refers further back than the agreed window")
            }
            Self::TooLarge { limit } => {
                write!(
                    f,
                    "the message has more than {limit} bytes when decompressed"
                )
            }
            Self::Ratio { limit } => write!(f, "the message expands more than {limit} times"),
        }
    }
}

impl std::error::Error for InflateError {}
