//! Random numbers from the operating system.

/// The seed for a client's random pauses.
pub(crate) fn seed() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// A unique idempotency key: 128 random bits in hexadecimal.
pub(crate) fn key() -> String {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

#[expect(
    clippy::expect_used,
    reason = "without randomness keys would not be unique"
)]
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
