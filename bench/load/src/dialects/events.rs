//! Server-sent events (docs/transports.md).

use memchr::memmem;

use super::Word;

pub(super) fn request(channel: &str) -> Vec<u8> {
    format!("GET /sse?channel={channel} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

pub(super) fn hear(body: &[u8]) -> Word {
    let has = |text: &[u8]| memmem::find(body, text).is_some();
    if body.starts_with(b"HTTP/1.1 200") {
        return Word::Nothing;
    }
    if has(b"event: ") {
        return match has(b"event: subscribed") {
            true => Word::Ready,
            false => Word::Refused(String::from_utf8_lossy(body).into_owned()),
        };
    }
    if has(b"data: ") {
        return Word::Publication;
    }
    // A comment has no data.
    match memchr::memchr(b':', body) {
        Some(_) if !body.starts_with(b"HTTP/") => Word::Nothing,
        _ => Word::Refused(String::from_utf8_lossy(body).into_owned()),
    }
}
