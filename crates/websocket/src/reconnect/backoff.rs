//! The delay before the next attempt.

use std::time::Duration;

use crate::error::Error;
use crate::settings::fill;

/// How long a [`Reconnecting`](super::Reconnecting) waits between attempts: a random time between
/// zero and a bound that doubles with every attempt, up to a cap ("full jitter"). After a server
/// restarts, its clients therefore do not all reconnect at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The bound before the first attempt after a stable connection was lost. 1 s: the average wait
    /// is half a second, and of 10,000 clients about ten reconnect per millisecond.
    pub first: Duration,
    /// The maximum of the bound. 30 s: after an outage of an hour, all clients are back within that
    /// time.
    pub cap: Duration,
    /// After a connection was open this long, the bound starts again at `first`. 30 s: as long as
    /// the longest delay, so that a server that accepts and drops connections is not flooded.
    pub stable_after: Duration,
    /// Give up after this many consecutive attempts without a stable connection. No limit by
    /// default: users close the program themselves.
    pub attempts: Option<u32>,
}

/// The longest `Retry-After` that is honoured. An hour: a longer one is a mistake, or means never.
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
    /// The longest delay after this many consecutive attempts without a stable connection.
    #[must_use]
    pub fn bound(&self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts);
        self.first.saturating_mul(doubled).min(self.cap)
    }

    /// The delay after this many consecutive attempts without a stable connection, the last of
    /// which failed for this reason.
    pub(super) fn delay(&self, attempts: u32, cause: &Error) -> Duration {
        // RFC 9110 §10.2.3: not before the time the server asked for; and with jitter after it,
        // since the server may have given every client the same time.
        let asked = cause.retry_after().unwrap_or_default();
        asked.min(LONGEST_RETRY_AFTER) + random_up_to(self.bound(attempts))
    }
}

fn random_up_to(bound: Duration) -> Duration {
    let mut bytes = [0; 4];
    fill(&mut bytes);
    bound.mul_f64(f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX))
}
