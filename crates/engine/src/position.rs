//! Where in a channel's stream.

use std::fmt;

/// Names one life of a channel's stream. Offsets only grow within it; two epochs can't be
/// compared. Brokers choose them so that none is used twice for one channel, below 2^53 so that
/// JavaScript reads them exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// A place in a channel's stream: just after the publication with this offset. The first
/// publication of an epoch has offset 1, so offset 0 is before everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which life of the stream.
    pub epoch: Epoch,
    /// How many publications of that life were made up to here.
    pub offset: u64,
}

impl Position {
    /// A position from its two numbers.
    #[must_use]
    pub fn new(epoch: u64, offset: u64) -> Self {
        Self {
            epoch: Epoch(epoch),
            offset,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.offset)
    }
}
