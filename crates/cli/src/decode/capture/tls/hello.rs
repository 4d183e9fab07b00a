//! The first messages of a TLS handshake: the client's random, and what was negotiated.

use super::super::bytes::Reader;

/// A `ServerHello`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) random: [u8; 32],
    pub(super) suite: u16,
    pub(super) is_1_3: bool,
    /// A `HelloRetryRequest`: the client must start again.
    pub(super) is_retry: bool,
}

/// RFC 8446 §4.1.3: the random of a `HelloRetryRequest`.
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// The random of a `ClientHello`, which identifies connections in key logs.
pub(super) fn client(body: &[u8]) -> Option<[u8; 32]> {
    let mut reader = Reader::network(body);
    reader.take(2)?;
    reader.array()
}

/// RFC 8446 §4.1.3, RFC 5246 §7.4.1.3.
pub(super) fn server(body: &[u8]) -> Option<Hello> {
    const SUPPORTED_VERSIONS: u16 = 43;
    let mut reader = Reader::network(body);
    reader.take(2)?;
    let random = reader.array()?;
    let session = usize::from(reader.u8()?);
    reader.take(session)?;
    let suite = reader.u16()?;
    reader.take(1)?;
    let mut is_1_3 = false;
    // Extensions are optional before TLS 1.3.
    if reader.u16().is_some() {
        while let (Some(kind), Some(length)) = (reader.u16(), reader.u16()) {
            let Some(value) = reader.take(usize::from(length)) else {
                break;
            };
            is_1_3 |= kind == SUPPORTED_VERSIONS && value == [3, 4];
        }
    }
    Some(Hello {
        random,
        suite,
        is_1_3,
        is_retry: random == RETRY,
    })
}
