//! Frame headers (RFC 6455 §5.2): the two to fourteen bytes before a payload.

use crate::error::PeerError;

/// The type of a frame (RFC 6455 §5.2, §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpCode {
    /// The next fragment of the incomplete message.
    Continuation,
    /// A text message, or its first fragment.
    Text,
    /// A binary message, or its first fragment.
    Binary,
    /// Starts or answers the closing handshake.
    Close,
    /// Asks whether the peer is alive.
    Ping,
    /// Answers a ping.
    Pong,
}

impl OpCode {
    const fn parse(bits: u8) -> Result<Self, PeerError> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            // RFC 6455 §5.2: an unknown opcode fails the connection.
            reserved => return Err(PeerError::ReservedOpcode(reserved)),
        })
    }

    /// The four bits of the opcode on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Whether it is a control frame: never fragmented, at most 125 bytes, allowed between
    /// fragments.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of one frame.
///
/// ```
/// use offhook_protocol::{FrameHeader, OpCode};
///
/// // RFC 6455 §5.7: a single-frame masked text message, "Hello".
/// let wire = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
/// let (header, len) = FrameHeader::parse(&wire)?.expect("the header is whole");
/// assert_eq!((header.opcode, header.payload_len, len), (OpCode::Text, 5, 6));
/// assert_eq!(header.encode().as_slice(), &wire[..6]);
/// # Ok::<(), offhook_protocol::PeerError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether this frame ends its message.
    pub fin: bool,
    /// Whether the message is compressed (RFC 7692 §6); the only reserved bit in use.
    pub rsv1: bool,
    /// Whether a reserved bit is set that no supported extension uses.
    pub rsv23: bool,
    /// What the frame is.
    pub opcode: OpCode,
    /// The masking key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// The payload's length; the top bit is never set.
    pub payload_len: u64,
}

/// The longest a header can be: 2 bytes, 8 of length, 4 of mask.
pub const MAX_HEADER_LEN: usize = 14;

/// The largest payload of a control frame (RFC 6455 §5.5).
pub const MAX_CONTROL_LEN: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV23: u8 = 0x30;
const MASKED: u8 = 0x80;

impl FrameHeader {
    /// Parses the header at the start of `bytes` and returns it with its length; `None` if it is
    /// not complete.
    ///
    /// # Errors
    /// The header violates RFC 6455 §5.2 or §5.5 whatever was negotiated: a reserved opcode, a
    /// length that is not minimal or has its top bit set, a control frame that is fragmented or too
    /// long.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, PeerError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = OpCode::parse(first & 0x0f)?;
        let fin = first & FIN != 0;
        let short_len = second & 0x7f;
        if opcode.is_control() {
            // RFC 6455 §5.5: at most 125 bytes, never fragmented.
            if !fin {
                return Err(PeerError::FragmentedControl);
            }
            if short_len > 125 {
                return Err(PeerError::ControlTooLong);
            }
        }
        let Some(Length {
            payload_len,
            len_bytes,
            rest,
        }) = parse_length(short_len, rest)?
        else {
            return Ok(None);
        };
        let (mask, mask_bytes) = if second & MASKED == 0 {
            (None, 0)
        } else {
            let Some((key, _)) = rest.split_first_chunk::<4>() else {
                return Ok(None);
            };
            (Some(*key), 4)
        };
        let header = Self {
            fin,
            rsv1: first & RSV1 != 0,
            rsv23: first & RSV23 != 0,
            opcode,
            mask,
            payload_len,
        };
        Ok(Some((
            header,
            2_usize.saturating_add(len_bytes).saturating_add(mask_bytes),
        )))
    }

    /// Encodes the header for the wire, with the length in its shortest form.
    #[must_use]
    #[inline]
    pub fn encode(&self) -> EncodedHeader {
        let fin = if self.fin { FIN } else { 0 };
        let rsv1 = if self.rsv1 { RSV1 } else { 0 };
        let rsv23 = if self.rsv23 { RSV23 } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        let first = fin | rsv1 | rsv23 | self.opcode.bits();
        // RFC 6455 §5.2: the length must be encoded in the minimal number of bytes.
        let (short, extended, extended_len) = match (
            u8::try_from(self.payload_len),
            u16::try_from(self.payload_len),
        ) {
            (Ok(len @ ..=125), _) => (len, 0, 0),
            (_, Ok(len)) => (126, u64::from(u16::from_le_bytes(len.to_be_bytes())), 2_u8),
            _ => (127, u64::from_le_bytes(self.payload_len.to_be_bytes()), 8),
        };
        // Assembled in a register: storing single bytes and copying them right after is slow.
        let mut bits =
            u128::from(first) | u128::from(masked | short) << 8 | u128::from(extended) << 16;
        let mut len = extended_len.saturating_add(2);
        if let Some(key) = self.mask {
            let at = u32::from(len).saturating_mul(8);
            bits |= u128::from(u32::from_le_bytes(key)).wrapping_shl(at);
            len = len.saturating_add(4);
        }
        EncodedHeader {
            bytes: bits.to_le_bytes(),
            len,
        }
    }
}

struct Length<'a> {
    payload_len: u64,
    /// How many bytes the extended length took: 0, 2 or 8.
    len_bytes: usize,
    rest: &'a [u8],
}

/// Parses the extended length, if there is one; `None` if it is not complete.
#[inline]
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<Length<'_>>, PeerError> {
    match short {
        126 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<2>() else {
                return Ok(None);
            };
            let len = u16::from_be_bytes(*bytes);
            if len < 126 {
                return Err(PeerError::LengthNotMinimal);
            }
            Ok(Some(Length {
                payload_len: u64::from(len),
                len_bytes: 2,
                rest,
            }))
        }
        127 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<8>() else {
                return Ok(None);
            };
            let payload_len = u64::from_be_bytes(*bytes);
            if payload_len >> 63 != 0 {
                return Err(PeerError::LengthTopBit);
            }
            if payload_len <= u64::from(u16::MAX) {
                return Err(PeerError::LengthNotMinimal);
            }
            Ok(Some(Length {
                payload_len,
                len_bytes: 8,
                rest,
            }))
        }
        len => Ok(Some(Length {
            payload_len: u64::from(len),
            len_bytes: 0,
            rest,
        })),
    }
}

/// A header as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedHeader {
    /// Zero from `len` on.
    bytes: [u8; 16],
    /// At most [`MAX_HEADER_LEN`].
    len: u8,
}

impl EncodedHeader {
    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Appends the bytes. A copy of fixed size followed by a truncation is faster than a copy of
    /// variable size.
    #[inline]
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let end = out.len().saturating_add(usize::from(self.len));
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(opcode: OpCode, payload_len: u64, mask: Option<[u8; 4]>) -> FrameHeader {
        FrameHeader {
            fin: true,
            rsv1: false,
            rsv23: false,
            opcode,
            mask,
            payload_len,
        }
    }

    #[test]
    fn every_form_of_header_round_trips_and_every_prefix_is_incomplete() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 40, u64::MAX >> 1];
        for payload_len in lengths {
            for mask in [None, Some([1, 2, 3, 4])] {
                let header = header(OpCode::Binary, payload_len, mask);
                let encoded = header.encode();
                let wire = encoded.as_slice();
                assert_eq!(FrameHeader::parse(wire), Ok(Some((header, wire.len()))));
                for cut in 0..wire.len() {
                    assert_eq!(
                        FrameHeader::parse(&wire[..cut]),
                        Ok(None),
                        "{payload_len} {cut}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_length_in_a_longer_form_than_needed_is_refused() {
        let in_16 = [0x82, 126, 0, 125];
        assert_eq!(FrameHeader::parse(&in_16), Err(PeerError::LengthNotMinimal));
        let in_64 = [0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        assert_eq!(FrameHeader::parse(&in_64), Err(PeerError::LengthNotMinimal));
    }

    #[test]
    fn a_length_with_its_top_bit_set_is_refused() {
        let wire = [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(FrameHeader::parse(&wire), Err(PeerError::LengthTopBit));
    }

    #[test]
    fn every_reserved_opcode_is_refused_at_its_second_byte() {
        for opcode in (0x3..=0x7).chain(0xb..=0xf) {
            let error = Err(PeerError::ReservedOpcode(opcode));
            assert_eq!(FrameHeader::parse(&[0x80 | opcode, 0]), error);
        }
    }

    #[test]
    fn control_frames_must_be_unfragmented_and_short() {
        for opcode in [0x8, 0x9, 0xa] {
            assert_eq!(
                FrameHeader::parse(&[opcode, 0]),
                Err(PeerError::FragmentedControl)
            );
            assert_eq!(
                FrameHeader::parse(&[0x80 | opcode, 126]),
                Err(PeerError::ControlTooLong)
            );
        }
    }
}
