//! Socket.IO: its packets are carried in Engine.IO packets, which are WebSocket text messages, or parts of the
//! bodies of requests and their answers.

use memchr::memmem;

use super::{Part, Word};

/// The request that opens the Engine.IO connection.
pub(super) fn target(transport: &str, subscribes: bool) -> String {
    let part = if subscribes {
        "subscriber"
    } else {
        "publisher"
    };
    format!("{PATH}&transport={transport}&part={part}")
}

const PATH: &str = "/socket.io/?EIO=4";

pub(super) fn publication(payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    format!(r#"42["publish","{text}"]"#).into_bytes()
}

pub(super) fn hear(body: &[u8]) -> Word {
    match body {
        // Engine.IO is open: request the default namespace.
        [b'0', ..] => Word::Say(b"40".to_vec()),
        [b'2'] => Word::Say(b"3".to_vec()),
        [b'4', b'0', ..] => Word::Ready,
        [b'4', b'2', ..] => Word::Publication,
        _ => Word::Refused(String::from_utf8_lossy(body).into_owned()),
    }
}

/// The payload must be text that JSON does not escape.
pub(super) fn channel_publication(channel: &str, payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    format!(r#"42["publish",{{"channel":"{channel}","data":"{text}"}}]"#).into_bytes()
}

/// Subscribes to the channel where the other server puts every client into its room.
pub(super) fn hear_channels(part: &Part, body: &[u8]) -> Word {
    match body {
        [b'4', b'0', ..] if part.subscribes => {
            let channel = &part.channel;
            Word::Say(format!(r#"421["subscribe",{{"channel":"{channel}"}}]"#).into_bytes())
        }
        [b'4', b'3', b'1', b'[', ..] if !body.starts_with(br#"431[{"error""#) => Word::Ready,
        [b'4', b'2', ..] if body.starts_with(br#"42["live""#) => Word::Live,
        [b'4', b'2', ..] if !body.starts_with(br#"42["publication""#) => {
            Word::Refused(String::from_utf8_lossy(body).into_owned())
        }
        body => hear(body),
    }
}

/// An Engine.IO connection without WebSocket: there is always one request under way, which is a poll whenever
/// there is nothing to send. Clients that poll and post at once do the same work for the server.
#[derive(Debug, Default)]
pub(crate) struct Polling {
    session: String,
    unsent: Vec<u8>,
}

/// Separates the packets in a body.
const BETWEEN: u8 = 0x1E;

impl Polling {
    /// The first request.
    pub(super) fn open(part: &Part) -> Vec<u8> {
        get(&target("polling", part.subscribes))
    }

    /// The packets of an answer.
    pub(crate) fn packets<'a>(
        &mut self,
        body: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        const SESSION: &[u8] = br#"0{"sid":""#;
        if let Some(rest) = body.strip_prefix(SESSION) {
            let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
            self.session = String::from_utf8_lossy(&rest[..end]).into_owned();
        }
        body.split(|byte| *byte == BETWEEN)
    }

    /// A packet for the next request.
    pub(crate) fn queue(&mut self, packet: &[u8]) {
        if !self.unsent.is_empty() {
            self.unsent.push(BETWEEN);
        }
        self.unsent.extend_from_slice(packet);
    }

    /// The request that follows an answer.
    pub(crate) fn request(&mut self) -> Vec<u8> {
        let target = format!("{PATH}&transport=polling&sid={}", self.session);
        if self.unsent.is_empty() {
            return get(&target);
        }
        let length = self.unsent.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain;charset=UTF-8\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        let mut request = head.into_bytes();
        request.append(&mut self.unsent);
        request
    }
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A packet of an answer, or the whole answer to a post.
pub(super) fn hear_answer(head: &[u8], body: &[u8], hear: impl FnOnce(&[u8]) -> Word) -> Word {
    if memmem::find(head, b" 200 ").is_none() {
        let answer = [head, b": ", body].concat();
        return Word::Refused(String::from_utf8_lossy(&answer).into_owned());
    }
    match body {
        b"ok" => Word::Nothing,
        packet => hear(packet),
    }
}
