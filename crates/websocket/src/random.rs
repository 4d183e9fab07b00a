//! Randomness of the operating system.

/// Fills the buffer with unpredictable bytes.
#[expect(
    clippy::expect_used,
    reason = "without randomness no connection is safe"
)]
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
