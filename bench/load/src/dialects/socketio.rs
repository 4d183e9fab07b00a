//! Socket.IO: its packets are carried in Engine.IO packets, which are WebSocket text messages.

use super::{Part, Word, frame};

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

/// The payload must be text that JSON does not escape.
pub(super) fn channel_publication(channel: &str, payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    let event = format!(r#"42["publish",{{"channel":"{channel}","data":"{text}"}}]"#);
    frame(1, event.as_bytes())
}

/// Subscribes to the channel where the other server puts every client into its room.
pub(super) fn hear_channels(part: &Part, body: &[u8]) -> Word {
    match body {
        [b'4', b'0', ..] if part.subscribes => {
            let channel = &part.channel;
            let event = format!(r#"421["subscribe",{{"channel":"{channel}"}}]"#);
            Word::Say(frame(1, event.as_bytes()))
        }
        [b'4', b'3', b'1', b'[', ..] if !body.starts_with(br#"431[{"error""#) => Word::Ready,
        [b'4', b'2', ..] if body.starts_with(br#"42["live""#) => Word::Live,
        [b'4', b'2', ..] if !body.starts_with(br#"42["publication""#) => {
            Word::Refused(String::from_utf8_lossy(body).into_owned())
        }
        body => hear(body),
    }
}
