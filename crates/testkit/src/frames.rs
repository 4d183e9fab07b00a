//! Frames as sentences: `[text("Hel").more(), ping("?"), rest("lo")]`.
//!
//! Every frame that a peer could send can be written, including invalid ones: reserved bits, wrong
//! lengths, masks where none belong. Whether a frame is masked depends on its recipient.

use offhook_protocol::{FrameHeader, OpCode, mask};

/// A frame, valid or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    first: u8,
    payload: Vec<u8>,
    /// The length announced in the header, if it is not the real one.
    promised: Option<u64>,
    raw: Option<Vec<u8>>,
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame {
        first: 0x80 | opcode,
        payload: payload.as_ref().to_vec(),
        promised: None,
        raw: None,
    }
}

/// A text message, or its first fragment.
#[must_use]
pub fn text(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x1, payload)
}

/// A binary message, or its first fragment.
#[must_use]
pub fn binary(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x2, payload)
}

/// The last fragment of a message, or one in the middle: `rest("…").more()`.
#[must_use]
pub fn rest(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x0, payload)
}

/// A ping.
#[must_use]
pub fn ping(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x9, payload)
}

/// A pong.
#[must_use]
pub fn pong(payload: impl AsRef<[u8]>) -> Frame {
    frame(0xa, payload)
}

/// A Close with a code and a reason.
#[must_use]
pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    frame(0x8, [&code.to_be_bytes(), reason.as_ref()].concat())
}

/// A Close with any body.
#[must_use]
pub fn close_body(body: impl AsRef<[u8]>) -> Frame {
    frame(0x8, body)
}

/// A frame with any opcode.
#[must_use]
pub fn opcode(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    frame(opcode, payload)
}

/// Bytes that need not be a frame.
#[must_use]
pub fn raw(bytes: impl AsRef<[u8]>) -> Frame {
    Frame {
        raw: Some(bytes.as_ref().to_vec()),
        ..frame(0, [])
    }
}

impl Frame {
    /// Clears FIN: more fragments follow.
    #[must_use]
    pub const fn more(mut self) -> Self {
        self.first &= 0x7f;
        self
    }

    /// Sets the reserved bits, as three bits: `0b100` is RSV1.
    #[must_use]
    pub const fn rsv(mut self, bits: u8) -> Self {
        self.first |= (bits & 7) << 4;
        self
    }

    /// Announces a length other than that of the payload.
    #[must_use]
    pub const fn promising(mut self, len: u64) -> Self {
        self.promised = Some(len);
        self
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Whether it ends its message.
    #[must_use]
    pub const fn is_fin(&self) -> bool {
        self.first & 0x80 != 0
    }

    /// Whether RSV1 is set: compressed.
    #[must_use]
    pub const fn is_compressed(&self) -> bool {
        self.first & 0x40 != 0
    }

    /// The opcode.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// The frame's bytes on the wire.
    #[must_use]
    pub fn encode(&self, masked: bool) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let len = self.promised.unwrap_or(self.payload.len() as u64);
        let mask_bit = if masked { 0x80 } else { 0 };
        let mut wire = vec![self.first];
        match len {
            0..=125 => wire.push(mask_bit | len as u8),
            126..=0xffff => {
                wire.push(mask_bit | 126);
                wire.extend((len as u16).to_be_bytes());
            }
            _ => {
                wire.push(mask_bit | 127);
                wire.extend(len.to_be_bytes());
            }
        }
        let mut payload = self.payload.clone();
        if masked {
            wire.extend(KEY);
            mask(&mut payload, KEY, 0);
        }
        wire.extend(payload);
        wire
    }

    /// Parses the frames on a wire, and whether each was masked.
    ///
    /// # Panics
    /// If the bytes are not complete, well-formed frames.
    #[must_use]
    pub fn decode_all(mut wire: &[u8]) -> Vec<(Self, bool)> {
        let mut frames = Vec::new();
        while !wire.is_empty() {
            let (header, taken) = FrameHeader::parse(wire)
                .expect("well-formed")
                .expect("a whole header");
            let len = header.payload_len as usize;
            let mut payload = wire[taken..taken + len].to_vec();
            mask(&mut payload, header.mask.unwrap_or_default(), 0);
            frames.push((
                Self {
                    first: wire[0],
                    payload,
                    promised: None,
                    raw: None,
                },
                { header.mask.is_some() },
            ));
            wire = &wire[taken + len..];
        }
        frames
    }

    /// Whether it is a control frame.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        matches!(self.opcode(), 0x8..=0xa)
    }

    /// Whether it is of this kind.
    #[must_use]
    pub const fn is(&self, opcode: OpCode) -> bool {
        self.opcode() == opcode.bits()
    }
}
