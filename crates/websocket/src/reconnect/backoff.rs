//! How long to wait before the next attempt.

use std::time::Duration;

use crate::error::Error;
use crate::random::fill;

/// How long a [`Reconnecting`](super::Reconnecting) waits between attempts: a random time
/// between nothing and a bound that doubles with every attempt, up to a cap ("full jitter").
/// When a server comes back, those that it lost do not come all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The bound before the first attempt after the loss of a stable connection. 1 s: half a second is waited on average,
    /// and of 10,000 clients no more than ten come in a millisecond.
    pub first: Duration,
    /// The bound never gets larger. 30 s: a server that was gone for an hour has everybody back
    /// within that.
    pub cap: Duration,
    /// A connection that was open for this long makes the bound start anew. 30 s: as long as
    /// attempts may be apart, so that a server that accepts and drops is not hammered.
    pub stable_after: Duration,
    /// Give up after this many attempts in a row that led to no stable connection. None by
    /// default: the user closes the program when they have had enough.
    pub attempts: Option<u32>,
}

/// The longest `Retry-After` that is honoured. An hour: what is longer is a mistake, or never.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(30),
            stable_after: Duration::from_secs(30),
            attempts: None,
        }
    }
}

impl Backoff {
    /// The most that is waited after this many attempts in a row that led to nothing stable.
    #[must_use]
    pub fn bound(&self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts);
        self.first.saturating_mul(doubled).min(self.cap)
    }

    /// The wait after this many attempts in a row that led to nothing stable, the last for this
    /// reason.
    pub(super) fn delay(&self, attempts: u32, cause: &Error) -> Duration {
        // RFC 9110 §10.2.3: not before the time the server asked for; and since it may have
        // asked everybody for the same, not just then either.
        let asked = cause.retry_after().unwrap_or_default();
        asked.min(LONGEST_RETRY_AFTER) + random_up_to(self.bound(attempts))
    }
}

fn random_up_to(bound: Duration) -> Duration {
    let mut bytes = [0; 4];
    fill(&mut bytes);
    bound.mul_f64(f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX))
}
