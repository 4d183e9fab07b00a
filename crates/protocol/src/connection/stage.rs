//! Where in a frame the bytes that came so far end.

use crate::frame::{MAX_HEADER_LEN, OpCode};

/// Where in a frame the bytes that came so far end.
///
/// ```text
///        header whole                 payload whole
/// Header ────────────▶ Payload ─────────────────────▶ Header
///   ▲ │ bytes            ▲  │ bytes
///   └─┘                  └──┘
/// ```
#[derive(Debug)]
pub(crate) enum Stage {
    /// `bytes[..len]` of a header have come.
    Header {
        bytes: [u8; MAX_HEADER_LEN],
        len: u8,
    },
    /// The header has come, and the payload not in full: a [`Payload`], whose fields lie here for
    /// eight bytes less.
    Payload {
        opcode: OpCode,
        fin: bool,
        key: [u8; 4],
        remaining: u64,
    },
}

/// What is still to come of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Payload {
    pub(crate) opcode: OpCode,
    pub(crate) fin: bool,
    /// The masking key as it applies to the next byte; zero where there is no mask.
    pub(crate) key: [u8; 4],
    /// How many bytes have not come.
    pub(crate) remaining: u64,
}

impl From<Payload> for Stage {
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

impl Default for Stage {
    fn default() -> Self {
        Self::Header {
            bytes: [0; MAX_HEADER_LEN],
            len: 0,
        }
    }
}

impl Stage {
    /// What is still to come of a frame whose header has come.
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
