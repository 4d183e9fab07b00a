//! A few bytes, stored in place.

/// Up to [`MOST`] bytes, without an allocation.
///
/// Three whole words, assembled in registers: a message is moved several times between the read
/// buffer and the user, and a copy written in pieces cannot be read as a whole until the pieces
/// have left the processor's store buffer.
#[derive(Clone, Copy)]
#[repr(align(8))]
pub(super) struct Short([[u8; 8]; 3]);

/// The capacity: the last byte of the three words holds the length.
pub(super) const MOST: usize = 23;

impl Short {
    /// `None` if there are too many bytes.
    #[inline]
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let len = bytes.len();
        let words = match (bytes.first_chunk(), bytes.last_chunk()) {
            _ if len > MOST => return None,
            (Some(first), Some(last)) if len <= 16 => {
                [u64::from_le_bytes(*first), behind(last, 16 - len), 0]
            }
            (Some(first), Some(last)) => {
                let (_, after) = bytes.split_first_chunk::<8>()?;
                let second = after.first_chunk()?;
                let words = [first, second].map(|word| u64::from_le_bytes(*word));
                [words[0], words[1], behind(last, 24 - len)]
            }
            _ => [less_than_a_word(bytes), 0, 0],
        };
        let tagged = words[2] | (len as u64) << 56;
        Some(Self([words[0], words[1], tagged].map(u64::to_le_bytes)))
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        let len = usize::from(self.0[2][7]);
        self.0.as_flattened().get(..len).unwrap_or_default()
    }
}

/// A word whose first `known` bytes are already in the previous word, without those bytes.
#[inline]
fn behind(word: &[u8; 8], known: usize) -> u64 {
    u64::from_le_bytes(*word).unbounded_shr(8 * known as u32)
}

/// Fewer than eight bytes as a word, read as two overlapping halves.
#[inline]
fn less_than_a_word(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (len - 4));
    }
    let byte = |at: usize| u64::from(bytes[at]) << (8 * at);
    match len {
        0 => 0,
        len => byte(0) | byte(len / 2) | byte(len - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_that_fits_inline_is_kept_unchanged_and_longer_ones_are_not() {
        for len in 0..=MOST {
            let bytes: Vec<u8> = (1..=len as u8).map(|byte| byte.wrapping_mul(37)).collect();
            let short = Short::new(&bytes).expect("it fits");
            assert_eq!(short.as_slice(), bytes, "{len}");
        }
        assert!(Short::new(&[1; MOST + 1]).is_none());
    }
}
