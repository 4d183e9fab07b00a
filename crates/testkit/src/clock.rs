//! Time that moves when it is told to.

use std::time::{Duration, Instant};

/// A simulated clock. It begins at some moment and stands still until it is advanced.
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

    /// Moves on by a time.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    /// Moves on to a moment; never back.
    pub fn advance_to(&mut self, moment: Instant) {
        self.now = self.now.max(moment);
    }
}
