//! Token buckets of eight bytes: each connection has two.

use std::time::Duration;

/// Thousandths of a token, and when they were last counted, in milliseconds since the engine's
/// start. The milliseconds wrap after 49 days. After more than half of that without a token taken,
/// one refill is left out, which has no other effect.
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
        // More than half of the range is a time before the last one: nothing was earned since.
        let passed = if passed > u32::MAX / 2 { 0 } else { passed };
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

#[cfg(test)]
mod tests {
    use super::TokenBucket;

    #[test]
    fn a_clock_that_goes_back_by_a_millisecond_does_not_refill_the_bucket() {
        let mut bucket = TokenBucket::full(2, 1000);
        assert!(bucket.take(1, 2, 1000).is_ok());
        assert!(bucket.take(1, 2, 1000).is_ok());
        assert!(bucket.take(1, 2, 999).is_err());
        assert!(bucket.take(1, 2, 1000).is_err());
        assert!(
            bucket.take(1, 2, 2000).is_ok(),
            "a second later there is one"
        );
    }
}
