//! Positions in a channel's stream.

use std::{fmt, str::FromStr};

use crate::error::{ErrorCode, Refusal};

/// Identifies one run of a broker. Each start begins a new epoch, and a channel's offsets continue
/// where the previous epoch ended, unless its publications did not survive. Brokers never use an
/// epoch twice, and keep it below 2^53 so that JavaScript reads it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// A position in a channel's stream: right after the publication with this offset. The first
/// publication of a stream has offset 1, so offset 0 precedes everything.
///
/// The epoch is the one in which that publication was made. It distinguishes two streams that share
/// their beginning, such as a log and the log restored from an older copy of it: a position is
/// valid up to where its epoch ended; beyond that the streams diverged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The epoch of the publication at this offset.
    pub epoch: Epoch,
    /// The number of publications in the stream up to here.
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

    /// Parses the output of [`Display`](fmt::Display): epoch, a dot, offset.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let numbers = text
            .split_once('.')
            .and_then(|(epoch, offset)| Some(Self::new(digits(epoch)?, digits(offset)?)));
        numbers.ok_or_else(|| {
            let detail = "expected a position given by the server, like \"1700000000000000.42\"";
            Refusal::new(ErrorCode::BadRequest, detail)
        })
    }
}

/// The largest number that JavaScript reads exactly; no server assigns a larger one.
const MAX: u64 = (1 << 53) - 1;

/// Only digits: `parse` alone would accept a sign.
fn digits(text: &str) -> Option<u64> {
    let number: Option<u64> = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?;
    number.filter(|number| *number <= MAX)
}
