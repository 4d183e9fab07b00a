//! JSON-RPC 2.0, with the requests and events of rpc-websockets.

use super::{Word, frame};

pub(super) fn subscribe(channel: &str) -> Vec<u8> {
    let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"rpc.on","params":["{channel}"]}}"#);
    frame(1, request.as_bytes())
}

/// The payload must be text that JSON does not escape.
pub(super) fn publication(channel: &str, payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    let request =
        format!(r#"{{"jsonrpc":"2.0","method":"publish","params":["{channel}","{text}"]}}"#);
    frame(1, request.as_bytes())
}

pub(super) fn hear(body: &[u8]) -> Word {
    let has = |text: &[u8]| memchr::memmem::find(body, text).is_some();
    if has(br#""notification""#) {
        return Word::Publication;
    }
    if has(br#""result""#) && has(br#""ok""#) {
        return Word::Ready;
    }
    if has(br#""method":"live""#) {
        return Word::Live;
    }
    Word::Refused(String::from_utf8_lossy(body).into_owned())
}
