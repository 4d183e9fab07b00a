//! Errors in compressed messages.

use std::fmt;

/// Why a compressed message cannot be decompressed. The connection must be failed, because the
/// contexts of the two ends now differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InflateError {
    /// The bytes are not a DEFLATE stream, or the message ends inside a block.
    Corrupt,
    /// The peer referred back further than the agreed window.
    WindowExceeded,
    /// The decompressed message is larger than allowed.
    TooLarge {
        /// The maximum message size in bytes.
        limit: u64,
    },
    /// The message expands more than allowed.
    Ratio {
        /// The maximum expansion factor.
        limit: u32,
    },
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => f.write_str("the compressed message is corrupt"),
            Self::WindowExceeded => {
                f.write_str("the compressed message refers back further than the agreed window")
            }
            Self::TooLarge { limit } => {
                write!(
                    f,
                    "the message is larger than {limit} bytes when decompressed"
                )
            }
            Self::Ratio { limit } => {
                write!(f, "the message expands to more than {limit} times its size")
            }
        }
    }
}

impl std::error::Error for InflateError {}
