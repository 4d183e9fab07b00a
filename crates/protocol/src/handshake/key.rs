//! `Sec-WebSocket-Key` and `Sec-WebSocket-Accept` (RFC 6455 §4.1, §4.2.2).

use data_encoding::BASE64;
use sha1_smol::Sha1;

/// RFC 6455 §1.3: the server appends this to the key before hashing.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The length of a key in base64: 16 bytes.
const KEY_LENGTH: usize = 24;
/// The length of an accept value in base64: the 20 bytes of a SHA-1.
pub(crate) const ACCEPT_LENGTH: usize = 28;

/// The header's value for 16 random bytes.
pub(crate) fn encode_key(random: [u8; 16]) -> [u8; KEY_LENGTH] {
    let mut key = [0; KEY_LENGTH];
    BASE64.encode_mut(&random, &mut key);
    key
}

/// Whether this is the base64 of 16 bytes, padded and without leftover bits.
///
/// RFC 6455 §4.2.1 point 5.
pub(crate) fn is_key(value: &[u8]) -> bool {
    let mut decoded = [0; 18];
    value.len() == KEY_LENGTH && BASE64.decode_mut(value, &mut decoded) == Ok(16)
}

/// The accept value for a key as received: base64(SHA-1(key + GUID)).
///
/// RFC 6455 §4.2.2 point 5.4. The key is treated as text; it need not be valid.
///
/// ```
/// use offhook_protocol::handshake::accept_for_key;
///
/// // The example of RFC 6455 §1.3.
/// assert_eq!(&accept_for_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[must_use]
pub fn accept_for_key(key: &[u8]) -> [u8; ACCEPT_LENGTH] {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    let mut accept = [0; ACCEPT_LENGTH];
    BASE64.encode_mut(&hash.digest().bytes(), &mut accept);
    accept
}
