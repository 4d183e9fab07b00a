//! Integers of variable length (RFC 9000 §16).

/// The largest integer that can be written.
pub const MAX: u64 = (1 << 62) - 1;

/// Reads an integer from the beginning of `bytes`, and advances them; none if it is not complete.
pub fn read(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let (own, rest) = bytes.split_at_checked(length)?;
    let value = own.iter().enumerate().fold(0, |value: u64, (at, byte)| {
        let byte = if at == 0 { byte & 0x3f } else { *byte };
        (value << 8) | u64::from(byte)
    });
    *bytes = rest;
    Some(value)
}

/// Writes an integer with as few bytes as possible. One above [`MAX`] is written as `MAX`.
pub fn write(value: u64, out: &mut Vec<u8>) {
    let value = value.min(MAX);
    let all = value.to_be_bytes();
    let (length, mark) = match value {
        0..=0x3f => (1, 0x00),
        0x40..=0x3fff => (2, 0x40),
        0x4000..=0x3fff_ffff => (4, 0x80),
        _ => (8, 0xc0),
    };
    let own = all.iter().skip(all.len().saturating_sub(length));
    let marked = own
        .enumerate()
        .map(|(at, byte)| if at == 0 { byte | mark } else { *byte });
    out.extend(marked);
}

/// How many bytes an integer takes.
#[must_use]
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}
