//! Bytes written as hexadecimal digits.

/// Pairs of digits, with the usual separators and prefixes: `0x81, 0x85`, `\x81\x85`, `81:85`.
///
/// The error is the word that is not a byte.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    let is_between = |c: char| c.is_whitespace() || ",:;|".contains(c);
    let mut bytes = Vec::new();
    for word in text.split(is_between).filter(|word| !word.is_empty()) {
        let plain = word.replace("0x", "").replace("\\x", "");
        let pairs = plain.as_bytes().chunks(2);
        for pair in pairs {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            let is_pair = pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
            let byte = u8::from_str_radix(pair, 16).ok().filter(|_| is_pair);
            bytes.push(byte.ok_or_else(|| word.to_owned())?);
        }
    }
    Ok(bytes)
}
