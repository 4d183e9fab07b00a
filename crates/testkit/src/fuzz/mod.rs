//! The bodies of the fuzz targets: functions that panic when a guarantee is violated.
//!
//! They are here and not in `fuzz/`, so that the ordinary tests replay the committed corpora
//! without a fuzzer. The first bytes of an input choose the configuration; the rest is hostile
//! input.

mod handshake;
mod inflate;
mod peer_bytes;
mod round_trip;

pub use handshake::{handshake_client, handshake_server};
pub use inflate::inflate;
pub use peer_bytes::{client_bytes, server_bytes};
pub use round_trip::round_trip;

/// A target by its name, which is also the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets whose bodies are in this crate.
pub const TARGETS: [Target; 6] = [
    ("client_bytes", client_bytes),
    ("handshake_client", handshake_client),
    ("handshake_server", handshake_server),
    ("inflate", inflate),
    ("round_trip", round_trip),
    ("server_bytes", server_bytes),
];

/// Bytes that make choices: taken from the front, zero when there are no more.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// The ways of splitting bytes that are compared with a single segment.
const CUTS: [&[usize]; 3] = [&[1], &[2, 1, 5], &[3, 14, 1, 130, 64]];

/// Splits bytes into segments of these sizes, repeated.
fn cut<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().copied().cycle();
    std::iter::from_fn(move || {
        let size = sizes.next()?.min(rest.len());
        let (segment, after) = rest.split_at(size);
        rest = after;
        (!segment.is_empty()).then_some(segment)
    })
}
