//! Simulated time.

use std::time::{Duration, Instant};

/// A simulated clock. It stands still until it is advanced.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            now: Instant::now(),
        }
    }
}

impl Clock {
    /// The simulated time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Advances the clock by a duration.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    /// Advances the clock to a point in time; never back.
    pub fn advance_to(&mut self, moment: Instant) {
        self.now = self.now.max(moment);
    }
}
