//! Randomness of the operating system.

/// Fills with bytes that nobody can foresee.
#[expect(
    clippy::expect_used,
    reason = "without randomness no connection is safe"
)]
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
