//! The position in the current frame at which the received bytes end.

use crate::frame::{MAX_HEADER_LEN, OpCode};

/// The position in the current frame at which the received bytes end.
///
/// ```text
///        header whole                 payload whole
/// Header ────────────▶ Payload ─────────────────────▶ Header
///   ▲ │ bytes            ▲  │ bytes
///   └─┘                  └──┘
/// ```
#[derive(Debug)]
pub(crate) enum FramePosition {
    /// `bytes[..len]` of a header were received.
    Header {
        bytes: [u8; MAX_HEADER_LEN],
        len: u8,
    },
    /// The header was received, the payload not completely. These are the fields of a [`Payload`],
    /// stored here to save eight bytes.
    Payload {
        opcode: OpCode,
        fin: bool,
        key: [u8; 4],
        remaining: u64,
    },
}

/// The outstanding part of a frame's payload.
#[derive(Clone, Copy)]
pub(crate) struct Payload {
    pub(crate) opcode: OpCode,
    pub(crate) fin: bool,
    /// The masking key, rotated for the next byte; zero if the frame is not masked.
    pub(crate) key: [u8; 4],
    /// The number of bytes that have not arrived.
    pub(crate) remaining: u64,
}

impl From<Payload> for FramePosition {
    fn from(payload: Payload) -> Self {
        let Payload {
            opcode,
            fin,
            key,
            remaining,
        } = payload;
        Self::Payload {
            opcode,
            fin,
            key,
            remaining,
        }
    }
}

impl Default for FramePosition {
    fn default() -> Self {
        Self::Header {
            bytes: [0; MAX_HEADER_LEN],
            len: 0,
        }
    }
}

impl FramePosition {
    /// The outstanding payload of a frame whose header was received.
    #[inline]
    pub(crate) const fn payload(&self) -> Option<Payload> {
        match *self {
            Self::Header { .. } => None,
            Self::Payload {
                opcode,
                fin,
                key,
                remaining,
            } => Some(Payload {
                opcode,
                fin,
                key,
                remaining,
            }),
        }
    }
}
