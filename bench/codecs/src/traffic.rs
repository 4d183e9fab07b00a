//! The bytes that a peer would write: messages of one size.

use std::sync::Arc;

use bytes::Bytes;
use offhook_protocol::{FrameHeader, OpCode, mask};

/// The content of messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Ascii,
    /// Latin, Greek, Chinese and emoji between spaces.
    Mixed,
    Binary,
}

impl Content {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ascii => "text, ASCII",
            Self::Mixed => "text, mixed",
            Self::Binary => "binary",
        }
    }

    pub fn payload(self, size: usize) -> Bytes {
        let pattern: &[u8] = match self {
            Self::Ascii => b"The quick brown fox jumps over the lazy dog. ",
            Self::Mixed => "où μάλιστα 永和九年 and 🦀 plain words ".as_bytes(),
            Self::Binary => &[0x00, 0xff, 0x80, 0x7f, 0x13, 0xc0, 0x9d],
        };
        let mut payload: Vec<u8> = pattern.iter().copied().cycle().take(size).collect();
        if self != Self::Binary {
            let valid = match std::str::from_utf8(&payload) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            payload[valid..].fill(b'.');
        }
        payload.into()
    }

    const fn opcode(self) -> OpCode {
        match self {
            Self::Ascii | Self::Mixed => OpCode::Text,
            Self::Binary => OpCode::Binary,
        }
    }
}

/// Consecutive messages of one size as they are on the wire, each in a number of frames.
#[derive(Clone, Copy)]
pub struct Traffic {
    pub content: Content,
    pub size: usize,
    pub fragments: usize,
    pub masked: bool,
}

impl Traffic {
    /// About 256 KiB of messages: more than one read returns, and small enough for the cache.
    pub fn on_the_wire(self) -> Arc<[u8]> {
        let payload = self.content.payload(self.size);
        let mut wire = Vec::new();
        let mut key = 0x9e37_79b9_u32;
        loop {
            for (index, piece) in payload
                .chunks(self.size.div_ceil(self.fragments))
                .enumerate()
            {
                key = key.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                self.frame(&mut wire, piece, index, key.to_be_bytes());
            }
            if wire.len() >= 256 * 1024 {
                return wire.into();
            }
        }
    }

    fn frame(self, wire: &mut Vec<u8>, piece: &[u8], index: usize, key: [u8; 4]) {
        let header = FrameHeader {
            fin: index + 1 == self.fragments,
            rsv1: false,
            rsv23: false,
            opcode: if index == 0 {
                self.content.opcode()
            } else {
                OpCode::Continuation
            },
            mask: self.masked.then_some(key),
            payload_len: piece.len() as u64,
        };
        wire.extend_from_slice(header.encode().as_slice());
        let start = wire.len();
        wire.extend_from_slice(piece);
        if self.masked {
            mask(&mut wire[start..], key, 0);
        }
    }

    /// How many messages are sent between two flushes: as many as a read of 64 KiB contains.
    pub fn batch(self) -> u64 {
        (crate::memory::READ / (self.size + 6)).max(1) as u64
    }
}
