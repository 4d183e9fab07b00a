//! Reproducible random numbers.

use std::time::Duration;

/// xorshift64*, from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // A seed of 0 would stay 0; with this, small seeds also differ in more than their last
        // bits.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// A number below this, which must not be 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// `true` with this probability in percent.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A duration between these.
    pub(crate) fn time(&mut self, least: Duration, most: Duration) -> Duration {
        let part = self.next() as f64 / f64::from(u32::MAX);
        least + (most - least).mul_f64(part.min(1.0))
    }
}

/// A seed from the operating system.
#[must_use]
pub fn fresh_seed() -> u64 {
    let mut bytes = [0; 4];
    // Without randomness, any fixed seed is as good as another.
    let _fixed = getrandom::fill(&mut bytes);
    u32::from_ne_bytes(bytes).into()
}
