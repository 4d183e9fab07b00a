//! The data types of the wire (MQTT 5.0 §1.5; those of 3.1.1 are among them).

use bytes::Bytes;

use super::Invalid;
use crate::mqtt::Reason;

/// The largest value of a variable byte integer.
pub(super) const MAX_VARIABLE: u32 = 268_435_455;

/// Reads the fields of a complete packet.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This many bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Invalid> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// All remaining bytes.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Invalid> {
        let (first, rest) = self.0.split_first().ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Invalid> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Invalid> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A variable byte integer.
    pub(super) fn variable(&mut self) -> Result<u32, Invalid> {
        match variable(self.0)? {
            Some((value, len)) => {
                self.take(len)?;
                Ok(value)
            }
            None => Err(cut_short()),
        }
    }

    /// §1.5.6: two bytes of length, then that many bytes.
    pub(super) fn binary(&mut self) -> Result<Bytes, Invalid> {
        let len = self.u16()?;
        Ok(Bytes::copy_from_slice(self.take(len.into())?))
    }

    /// §1.5.4: UTF-8 without U+0000.
    pub(super) fn text(&mut self) -> Result<&'a str, Invalid> {
        let len = self.u16()?;
        let bytes = self.take(len.into())?;
        let malformed = |why| Invalid::new(Reason::MALFORMED, why);
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("a string must be UTF-8"))?;
        if text.contains('\0') {
            return Err(malformed("a text contains U+0000"));
        }
        Ok(text)
    }

    /// A packet identifier (§2.2.1), which is never 0.
    pub(super) fn packet_id(&mut self) -> Result<u16, Invalid> {
        match self.u16()? {
            0 => Err(Invalid::new(
                Reason::MALFORMED,
                "a packet identifier must not be 0",
            )),
            id => Ok(id),
        }
    }

    pub(super) fn end(&self) -> Result<(), Invalid> {
        if self.is_empty() {
            return Ok(());
        }
        let why = "there are bytes after the last field of a packet";
        Err(Invalid::new(Reason::MALFORMED, why))
    }
}

fn cut_short() -> Invalid {
    Invalid::new(Reason::MALFORMED, "a packet ends inside a field")
}

/// A variable byte integer (§1.5.5) at the start of these bytes, with its length in bytes; none if
/// it is incomplete.
pub(super) fn variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, Invalid> {
    let (mut value, mut len) = (0_u32, 0_usize);
    for (byte, shift) in bytes.iter().zip([0, 7, 14, 21]) {
        value |= u32::from(byte & 0x7f) << shift;
        len = len.saturating_add(1);
        if byte & 0x80 == 0 {
            // §1.5.5: the encoding must use the fewest bytes.
            if *byte == 0 && len > 1 {
                let why = "a variable byte integer has more bytes than it needs";
                return Err(Invalid::new(Reason::MALFORMED, why));
            }
            return Ok(Some((value, len)));
        }
    }
    if len == 4 {
        let why = "a variable byte integer has more than four bytes";
        return Err(Invalid::new(Reason::MALFORMED, why));
    }
    Ok(None)
}

/// Writes the fields of a packet. A value that is too long for its field is truncated: nothing that
/// the server writes is that long.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn variable(&mut self, value: u32) {
        let mut left = value.min(MAX_VARIABLE);
        loop {
            let [low, ..] = (left & 0x7f).to_le_bytes();
            left >>= 7;
            if left == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn binary(&mut self, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(len);
        self.raw(bytes.get(..len.into()).unwrap_or(bytes));
    }

    pub(super) fn text(&mut self, text: &str) {
        let limit = text.floor_char_boundary(u16::MAX.into());
        self.binary(text.get(..limit).unwrap_or_default().as_bytes());
    }

    /// Writes the length as a variable byte integer, then the bytes.
    pub(super) fn counted(&mut self, part: &Self) {
        self.variable(u32::try_from(part.0.len()).unwrap_or(u32::MAX));
        self.raw(&part.0);
    }

    /// The packet whose fields were written.
    pub(super) fn packet(self, first: u8) -> Vec<u8> {
        let mut packet = Self(Vec::with_capacity(self.0.len().saturating_add(5)));
        packet.u8(first);
        packet.counted(&self);
        packet.0
    }
}
