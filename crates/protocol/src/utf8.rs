//! UTF-8 validation of data as it arrives; it fails at the first byte that no valid text could
//! have.

use crate::error::PeerError;

/// The start of a character at the end of a piece of text, whose remaining bytes have not arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8Stream {
    /// `carry[..len]` is the valid start of one character; `len <= 3`.
    carry: [u8; 3],
    len: u8,
}

impl Utf8Stream {
    /// Validates the next piece. Returns the character that it completes, if one was incomplete,
    /// and the valid text after it. An incomplete character at the end is stored until the next
    /// piece.
    pub(crate) fn feed<'a>(
        &mut self,
        piece: &'a [u8],
    ) -> Result<(Option<char>, &'a str), PeerError> {
        let (completed, rest) = if self.len == 0 {
            (None, piece)
        } else {
            self.complete(piece)?
        };
        // If the character is still incomplete, it has taken the whole piece, and `rest` is empty.
        let whole = rest.len().saturating_sub(begun_at_end(rest));
        let (whole, begun) = rest.split_at_checked(whole).unwrap_or((rest, &[]));
        let text = simdutf8::basic::from_utf8(whole).map_err(|_| PeerError::InvalidUtf8)?;
        if !begun.is_empty() {
            self.begin(begun)?;
        }
        Ok((completed, text))
    }

    /// The number of stored bytes of an incomplete character.
    pub(crate) const fn carried(&self) -> usize {
        self.len as usize
    }

    /// The stored bytes of an incomplete character.
    pub(crate) fn carry(&self) -> &[u8] {
        self.carry.get(..self.carried()).unwrap_or_default()
    }

    /// Whether the text may end here.
    pub(crate) const fn is_complete(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes to the stored ones until the character is complete or the piece is used up.
    fn complete<'a>(&mut self, piece: &'a [u8]) -> Result<(Option<char>, &'a [u8]), PeerError> {
        let mut bytes = [0; 4];
        let mut len = usize::from(self.len);
        for (to, from) in bytes.iter_mut().zip(self.carry.iter().take(len)) {
            *to = *from;
        }
        let mut rest = piece;
        while let [next, after @ ..] = rest {
            let Some(slot) = bytes.get_mut(len) else {
                return Err(PeerError::InvalidUtf8);
            };
            *slot = *next;
            len = len.saturating_add(1);
            rest = after;
            match std::str::from_utf8(bytes.get(..len).unwrap_or_default()) {
                Ok(text) => {
                    self.len = 0;
                    return Ok((text.chars().next(), rest));
                }
                Err(error) if error.error_len().is_some() => return Err(PeerError::InvalidUtf8),
                Err(_) => {}
            }
        }
        self.keep(bytes.get(..len).unwrap_or_default());
        Ok((None, rest))
    }

    /// Keeps the first bytes of a character, if they are a valid start.
    fn begin(&mut self, bytes: &[u8]) -> Result<(), PeerError> {
        match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => {
                self.keep(bytes);
                Ok(())
            }
            _ => Err(PeerError::InvalidUtf8),
        }
    }

    fn keep(&mut self, tail: &[u8]) {
        self.len = 0;
        for (slot, byte) in self.carry.iter_mut().zip(tail) {
            *slot = *byte;
            self.len = self.len.saturating_add(1);
        }
    }
}

/// How many bytes at the end are the start of an incomplete character. Determined before
/// validation, so that the text need not be validated twice.
fn begun_at_end(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let len = match byte {
            0x80..=0xbf => continue,
            0x00..=0x7f => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
        };
        let here = back.saturating_add(1);
        return if len > here { here } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]]) -> Result<String, usize> {
        let mut stream = Utf8Stream::default();
        let mut text = String::new();
        for (index, piece) in pieces.iter().enumerate() {
            let (completed, valid) = stream.feed(piece).map_err(|_| index)?;
            text.extend(completed);
            text.push_str(valid);
        }
        if stream.is_complete() {
            Ok(text)
        } else {
            Err(pieces.len())
        }
    }

    #[test]
    fn text_split_at_any_two_points_is_valid() {
        let text = "aé€𝄞z κόσμε ﷽ 🦀";
        let bytes = text.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(check(&pieces).as_deref(), Ok(text), "{first} {second}");
            }
        }
    }

    #[test]
    fn the_first_impossible_byte_fails_in_its_own_piece() {
        // Overlong, surrogate, beyond U+10FFFF, stray continuation, interrupted sequence.
        let bad: [&[u8]; 7] = [
            b"\xc0",
            b"\xe0\x80",
            b"\xed\xa0",
            b"\xf4\x90",
            b"\xf5",
            b"\x80",
            b"\xe2\x82\x41",
        ];
        for bytes in bad {
            let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(check(&pieces), Err(pieces.len() - 1), "{bytes:x?}");
        }
    }

    #[test]
    fn text_may_not_end_inside_a_character() {
        assert_eq!(check(&[b"ab\xe2\x82"]), Err(1));
    }
}
