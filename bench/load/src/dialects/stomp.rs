//! STOMP 1.2 over WebSocket: each message is one frame.

use super::{Part, Word, frame};

/// Without heart-beats; `login` is headers, each with its line end.
pub(super) fn connect(login: &str) -> Vec<u8> {
    let connect = format!("CONNECT\naccept-version:1.2\nhost:/\n{login}\n\0");
    frame(1, connect.as_bytes())
}

/// The payload must be text without NUL.
pub(super) fn publication(channel: &str, payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    let send = format!("SEND\ndestination:/topic/{channel}\n\n{text}\0");
    frame(1, send.as_bytes())
}

pub(super) fn hear(part: &Part, body: &[u8]) -> Word {
    let command = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match command {
        b"CONNECTED" if part.subscribes => {
            let channel = &part.channel;
            let subscribe =
                format!("SUBSCRIBE\nid:1\ndestination:/topic/{channel}\nreceipt:1\n\n\0");
            Word::Say(frame(1, subscribe.as_bytes()))
        }
        b"CONNECTED" | b"RECEIPT" => Word::Ready,
        b"MESSAGE" => Word::Publication,
        // A heart-beat.
        b"" => Word::Nothing,
        _ => Word::Refused(String::from_utf8_lossy(body).into_owned()),
    }
}
