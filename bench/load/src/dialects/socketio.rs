//! Socket.IO: its packets are carried in Engine.IO packets, which are WebSocket text messages.

use super::{Word, frame};

pub(super) fn path(subscribes: bool) -> String {
    let part = if subscribes {
        "subscriber"
    } else {
        "publisher"
    };
    format!("/socket.io/?EIO=4&transport=websocket&part={part}")
}

pub(super) fn publication(payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    frame(1, format!(r#"42["publish","{text}"]"#).as_bytes())
}

pub(super) fn hear(body: &[u8]) -> Word {
    match body {
        // Engine.IO is open: request the default namespace.
        [b'0', ..] => Word::Say(frame(1, b"40")),
        [b'2'] => Word::Say(frame(1, b"3")),
        [b'4', b'0', ..] => Word::Ready,
        [b'4', b'2', ..] => Word::Publication,
        _ => Word::Refused(String::from_utf8_lossy(body).into_owned()),
    }
}
