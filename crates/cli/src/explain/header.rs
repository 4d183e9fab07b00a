//! A frame's header, which may violate the rules.

use offhook_protocol::{FrameHeader, MAX_HEADER_LEN, PeerError};

/// The fields of a header, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The bytes of the header, 2 to 14.
    pub(crate) bytes: Vec<u8>,
    pub(crate) fin: bool,
    /// Three bits: RSV1 is 4.
    pub(crate) rsv: u8,
    /// 0 to 15.
    pub(crate) opcode: u8,
    pub(crate) mask: Option<[u8; 4]>,
    /// The length of the payload.
    pub(crate) length: u64,
}

pub(crate) const RSV1: u8 = 4;

impl Header {
    /// Parses the header at the start of the bytes; `None` if it is incomplete.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = bytes else {
            return None;
        };
        let (length, rest) = match second & 0x7f {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            length => (u64::from(length), rest),
        };
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let (key, rest) = rest.split_first_chunk()?;
            (Some(*key), rest)
        };
        Some(Self {
            bytes: bytes[..bytes.len() - rest.len()].to_vec(),
            fin: first & 0x80 != 0,
            rsv: (first >> 4) & 7,
            opcode: first & 0x0f,
            mask,
            length,
        })
    }

    /// The rule that the header violates by itself, whatever was negotiated.
    pub(crate) fn broken(&self) -> Option<PeerError> {
        FrameHeader::parse(&self.bytes).err()
    }

    /// Whether the length is impossible, so that the next frame cannot be found.
    pub(super) fn is_the_end(&self) -> bool {
        self.length >> 63 != 0
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.rsv & RSV1 != 0
    }

    /// The name of the opcode.
    pub(crate) fn name(&self) -> &'static str {
        match self.opcode {
            0 => "continuation",
            1 => "text",
            2 => "binary",
            8 => "close",
            9 => "ping",
            10 => "pong",
            _ => "reserved",
        }
    }
}

/// The longest header; fewer bytes may be an incomplete one.
pub(super) const LONGEST: usize = MAX_HEADER_LEN;
