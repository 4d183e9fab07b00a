//! Where in a channel's stream.

use std::{fmt, str::FromStr};

use crate::error::{ErrorCode, Refusal};

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

impl FromStr for Position {
    type Err = Refusal;

    /// Reads what [`Display`](fmt::Display) wrote: epoch, a dot, offset.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let numbers = text
            .split_once('.')
            .and_then(|(epoch, offset)| Some(Self::new(digits(epoch)?, digits(offset)?)));
        numbers.ok_or_else(|| {
            let detail = "a position is what the server gave, like \"1700000000000000.42\"";
            Refusal::new(ErrorCode::BadRequest, detail)
        })
    }
}

/// Only digits: `parse` alone would take a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}
