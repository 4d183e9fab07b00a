//! Randomness of the browser, for jitter. Masking keys are the browser's own business.

/// Fills with random bytes.
pub(crate) fn fill(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = (js_sys::Math::random() * 256.0) as u8;
    }
}
