//! Whatever a peer sends on an open connection.

use offhook_protocol::deflate::{DeflateConfig, DeflateMemory, DeflatePool, parse_extensions};
use offhook_protocol::{Config, Deflate, Limits, OpCode};

use super::{CUTS, Choices, cut};
use crate::{Frame, Heard, Talk};

/// The most one message may have in these circumstances: little, so that it is passed often.
const MESSAGE_SIZE: u64 = 4096;

/// More output than answers to hostile bytes may ever take: sixteen pongs, one that waits behind
/// them, and a Close.
const MOST_OUTPUT: usize = 18 * (125 + 8);

/// Bytes for a server.
///
/// # Panics
/// If what is told or answered depends on how the bytes are cut, goes on after the end, or passes
/// a limit.
pub fn server_bytes(data: &[u8]) {
    peer_bytes(data, true);
}

/// Bytes for a client.
///
/// # Panics
/// As [`server_bytes`].
pub fn client_bytes(data: &[u8]) {
    peer_bytes(data, false);
}

#[derive(Clone, Copy)]
struct Circumstances {
    server: bool,
    chunked: bool,
    deflate: Option<DeflateMemory>,
    window_bits: u8,
}

impl Circumstances {
    fn talk(self) -> Talk {
        let config = Config {
            limits: Limits {
                message_size: MESSAGE_SIZE,
                fragments: 64,
            },
            ..Config::default()
        };
        let mut talk = if self.server {
            Talk::with_server_of(config)
        } else {
            Talk::with_client_of(config)
        };
        if let Some(memory) = self.deflate {
            talk = talk.deflating(self.codecs(memory));
        }
        if self.chunked { talk.chunked() } else { talk }
    }

    fn codecs(self, memory: DeflateMemory) -> Deflate {
        let config = DeflateConfig::default()
            .memory(memory)
            .server_max_window_bits(self.window_bits)
            .client_max_window_bits(self.window_bits);
        let offer = config.offer();
        let offers = parse_extensions([offer.as_bytes()]).expect("our own offer");
        let params = config.accept(&offers).expect("our own offer");
        let pool = DeflatePool::default();
        if self.server {
            Deflate::server(&params, &config, &pool)
        } else {
            Deflate::client(&params, &config, &pool)
        }
    }
}

fn peer_bytes(data: &[u8], server: bool) {
    let mut choices = Choices(data);
    let circumstances = Circumstances {
        server,
        chunked: choices.flag(),
        deflate: match choices.byte() % 4 {
            1 => Some(DeflateMemory::Dedicated),
            2 => Some(DeflateMemory::Pooled { window_bits: 10 }),
            3 => Some(DeflateMemory::Shared),
            _ => None,
        },
        window_bits: 9 + choices.byte() % 7,
    };
    let bytes = choices.rest();
    let at_once = tell(circumstances, &[bytes]);
    for sizes in CUTS {
        let segments: Vec<&[u8]> = cut(bytes, sizes).collect();
        let cut = tell(circumstances, &segments);
        assert_eq!(at_once, cut, "the same in segments of {sizes:?}");
    }
    answer_between(circumstances, bytes);
}

/// What was told and what was answered, as far as it must not depend on how bytes are cut.
fn tell(circumstances: Circumstances, segments: &[&[u8]]) -> (Vec<Heard>, Vec<Frame>) {
    let mut talk = circumstances.talk();
    let mut heard = Vec::new();
    for segment in segments {
        heard.extend(talk.hears_bytes(segment));
        assert!(talk.connection.buffered_amount() <= MOST_OUTPUT);
    }
    check_heard(&heard);
    let said = talk.says();
    check_said(&said);
    let deflates = circumstances.deflate.is_some();
    let failed = heard.iter().any(|what| matches!(what, Heard::Error(_)));
    let said = said.into_iter();
    // Which fault was found is in the Close.
    let said = said.filter(|frame| !(deflates && failed && frame.is(OpCode::Close)));
    (without_cuts(heard, deflates), said.collect())
}

/// The driver writes after every read: the same promises hold.
fn answer_between(circumstances: Circumstances, bytes: &[u8]) {
    let mut talk = circumstances.talk();
    let mut written = Vec::new();
    for segment in cut(bytes, &[64, 1, 200]) {
        talk.hears_bytes(segment);
        let some = talk.written();
        assert!(some.len() <= MOST_OUTPUT);
        written.extend(some);
    }
    let frames = Frame::decode_all(&written);
    check_said(
        &frames
            .into_iter()
            .map(|(frame, _)| frame)
            .collect::<Vec<_>>(),
    );
}

/// Errors once, nothing after an end, no message longer than allowed.
fn check_heard(heard: &[Heard]) {
    for (index, what) in heard.iter().enumerate() {
        let is_last = index + 1 == heard.len();
        match what {
            Heard::Error(_) | Heard::Close(_) => assert!(is_last, "nothing comes after {what:?}"),
            Heard::Text(text) => assert!(text.len() as u64 <= MESSAGE_SIZE),
            Heard::Binary(bytes) => assert!(bytes.len() as u64 <= MESSAGE_SIZE),
            Heard::Ping(payload) | Heard::Pong(payload, _) => assert!(payload.len() <= 125),
            Heard::Chunk(..) => {}
        }
    }
}

/// Only pongs and at most one Close, which is last.
fn check_said(said: &[Frame]) {
    for (index, frame) in said.iter().enumerate() {
        let is_last = index + 1 == said.len();
        assert!(
            frame.is(OpCode::Pong) || frame.is(OpCode::Close) && is_last,
            "{said:?}"
        );
    }
}

/// Chunks are as the bytes came: put together. What had come of a message when the connection
/// failed may have been given out or not. Which of two faults of a compressed message is found
/// first may differ, too: it inflates whole where it came whole.
fn without_cuts(heard: Vec<Heard>, deflates: bool) -> Vec<Heard> {
    let mut told = Vec::new();
    let mut message = Vec::new();
    for what in heard {
        match what {
            Heard::Chunk(bytes, _, last) => {
                message.extend(bytes);
                if last {
                    told.push(Heard::Chunk(std::mem::take(&mut message), true, true));
                }
            }
            Heard::Error(_) if deflates => told.push(Heard::text("failed")),
            Heard::Text(_)
            | Heard::Binary(_)
            | Heard::Ping(_)
            | Heard::Pong(..)
            | Heard::Close(_)
            | Heard::Error(_) => told.push(what),
        }
    }
    told
}
