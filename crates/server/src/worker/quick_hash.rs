//! A hasher for tables that clients cannot slow down with colliding keys: either the server chooses
//! the keys, or the table is so small that comparing all entries is cheap.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds [`QuickHasher`]s.
pub(super) type QuickHash = BuildHasherDefault<QuickHasher>;

/// Multiplies and rotates: a few instructions for every eight bytes. The standard library's hasher
/// needs ten times as many, because it resists keys that were chosen to collide.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QuickHasher(u64);

/// An odd number without a pattern in its bits: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl QuickHasher {
    const fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    }
}

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(byte.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.add(number.into());
    }

    fn finish(&self) -> u64 {
        // The upper bits are mixed best, while tables use the lowest and the uppermost bits.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher as _};

    use super::QuickHash;

    #[test]
    fn numbers_and_names_that_differ_little_have_different_hashes() {
        let hash = QuickHash::default();
        let numbers = (0..10_000_u32).map(|index| hash.hash_one((index, 7_u32)));
        assert_eq!(numbers.collect::<HashSet<_>>().len(), 10_000);
        // The bits that select an entry in a table of 1,024.
        let places = (0..1_024_u32).map(|index| hash.hash_one((index, 0_u32)) & 1_023);
        assert!(places.collect::<HashSet<_>>().len() > 512);
        let names = (0..10_000).map(|n| hash.hash_one(format!("chat/room {n}")));
        assert_eq!(names.collect::<HashSet<_>>().len(), 10_000);
    }
}
