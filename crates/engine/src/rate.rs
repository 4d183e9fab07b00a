//! Token buckets of eight bytes: each connection has two.

use std::time::Duration;

/// Thousandths of a token, and when they were last counted, in milliseconds since the engine's
/// start. The milliseconds wrap after 49 days, which makes one refill too small and has no other
/// effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    milli: u32,
    counted_ms: u32,
}

impl TokenBucket {
    pub(crate) fn full(burst: u32, now_ms: u32) -> Self {
        Self {
            milli: burst.saturating_mul(1000),
            counted_ms: now_ms,
        }
    }

    /// Takes one token, or returns how long until one is available.
    pub(crate) fn take(&mut self, rate: u32, burst: u32, now_ms: u32) -> Result<(), Duration> {
        let passed = now_ms.wrapping_sub(self.counted_ms);
        let earned = passed.saturating_mul(rate);
        self.milli = self
            .milli
            .saturating_add(earned)
            .min(burst.saturating_mul(1000));
        self.counted_ms = now_ms;
        match self.milli.checked_sub(1000) {
            Some(left) => {
                self.milli = left;
                Ok(())
            }
            None => Err(self.until_next(rate)),
        }
    }

    fn until_next(self, rate: u32) -> Duration {
        let missing = 1000_u32.saturating_sub(self.milli);
        Duration::from_millis(u64::from(missing.div_ceil(rate.max(1))))
    }
}
