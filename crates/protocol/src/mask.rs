//! Masking (RFC 6455 §5.3): XOR with a four-byte key, in place, at memory speed.

/// Masks or unmasks `payload`, whose first byte is at `offset` within the frame's payload.
///
/// The operation is its own inverse.
///
/// ```
/// use offhook_protocol::mask;
///
/// let key = [0x37, 0xfa, 0x21, 0x3d];
/// let mut payload = *b"Hello";
/// mask(&mut payload, key, 0);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]); // RFC 6455 §5.7
/// ```
#[inline]
pub fn mask(payload: &mut [u8], key: [u8; 4], offset: u64) {
    mask_rotated(payload, rotate(key, offset));
}

/// Rotates the key for a piece that starts `offset` bytes into the payload.
#[inline]
pub(crate) const fn rotate(key: [u8; 4], offset: u64) -> [u8; 4] {
    let bits = ((offset & 3) as u32).wrapping_mul(8);
    u32::from_le_bytes(key).rotate_right(bits).to_le_bytes()
}

#[inline]
pub(crate) fn mask_rotated(payload: &mut [u8], key: [u8; 4]) {
    let word = u32::from_le_bytes(key);
    let wide = (u64::from(word) << 32) | u64::from(word);
    // The compiler turns 32 bytes per iteration into vector instructions; steps of 8 and 4 handle
    // the rest.
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    for block in blocks {
        xor_words(block, wide);
    }
    let (words, tail) = rest.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_le_bytes(*bytes) ^ wide).to_le_bytes();
    }
    let (words, tail) = tail.as_chunks_mut::<4>();
    for bytes in words {
        *bytes = (u32::from_le_bytes(*bytes) ^ word).to_le_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

#[inline]
fn xor_words(block: &mut [u8; 32], wide: u64) {
    let (words, _) = block.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_le_bytes(*bytes) ^ wide).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(payload: &[u8], key: [u8; 4], offset: usize) -> Vec<u8> {
        payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key[(i + offset) % 4])
            .collect()
    }

    #[test]
    fn every_length_and_offset_agrees_with_the_rfc_formula() {
        let key = [0x12, 0x34, 0x56, 0x78];
        let payload: Vec<u8> = (0..200u8).collect();
        for len in 0..payload.len() {
            for offset in 0..5 {
                let mut masked = payload[..len].to_vec();
                mask(&mut masked, key, offset as u64);
                assert_eq!(
                    masked,
                    reference(&payload[..len], key, offset),
                    "{len} at {offset}"
                );
            }
        }
    }

    #[test]
    fn masking_twice_restores_the_payload() {
        let mut payload = b"once there and once back".to_vec();
        mask(&mut payload, [1, 2, 3, 4], 3);
        mask(&mut payload, [1, 2, 3, 4], 3);
        assert_eq!(payload, b"once there and once back");
    }
}
