//! Fuzzing an open connection with a peer's bytes.

use offhook_protocol::deflate::{DeflateConfig, DeflateMemory, DeflatePool, parse_extensions};
use offhook_protocol::{Config, Deflate, Limits, OpCode};

use super::{CUTS, Choices, cut};
use crate::{Frame, Heard, Talk};

/// The maximum message size in these tests: small, so that it is often exceeded.
const MESSAGE_SIZE: u64 = 4096;

/// More output than answers to hostile bytes may ever need: sixteen pongs, one pong that waits
/// behind them, and a Close.
const MOST_OUTPUT: usize = 18 * (125 + 8);

/// Bytes for a server.
///
/// # Panics
/// If what is reported or answered depends on how the bytes are split, continues after the end, or
/// exceeds a limit.
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

/// What was reported and answered, as far as it must not depend on how bytes are split.
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
    // The Close reveals which error was found.
    let said = said.filter(|frame| !(deflates && failed && frame.is(OpCode::Close)));
    (without_cuts(heard, deflates), said.collect())
}

/// The driver writes after every read: the same guarantees hold.
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

/// At most one error, nothing after the end, no message longer than allowed.
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

/// Joins chunks, whose sizes depend on the splits. Whether the part of a message that had arrived
/// when the connection failed was handed out also depends on them. So does which of two errors in a
/// compressed message is found first: a message that arrived whole is inflated at once.
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
