//! Huffman coding of strings (RFC 7541 §5.2, appendix B), which QPACK shares with HPACK.

use crate::{Code, Error};

/// The length in bits of each byte's code. The code is canonical: codes of one length are consecutive, in
/// the order of their bytes, and follow those of shorter codes, so that the lengths define it.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The longest code; 30 ones are also the end of a string, which must not be contained in one.
const LONGEST: usize = 30;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    /// The first of them.
    first: u32,
    /// How many there are.
    count: u32,
    /// The place of the first one's byte in `Table::bytes`.
    place: u32,
}

struct Table {
    codes: [Codes; LONGEST + 1],
    /// The bytes, ordered by their codes.
    bytes: [u8; 256],
}

static TABLE: Table = table();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler, which reports an overflow or an index out of bounds"
)]
const fn table() -> Table {
    let mut codes = [Codes {
        first: 0,
        count: 0,
        place: 0,
    }; LONGEST + 1];
    let mut bytes = [0; 256];
    let (mut length, mut code, mut place) = (1, 0_u32, 0_usize);
    while length <= LONGEST {
        code <<= 1;
        codes[length].first = code;
        codes[length].place = place as u32;
        let mut byte = 0;
        while byte < LENGTHS.len() {
            if LENGTHS[byte] as usize == length {
                bytes[place] = byte as u8;
                place += 1;
                code += 1;
            }
            byte += 1;
        }
        codes[length].count = code - codes[length].first;
        length += 1;
    }
    Table { codes, bytes }
}

/// Decodes a string.
pub(super) fn decode(coded: &[u8]) -> Result<Vec<u8>, Error> {
    let wrong = || {
        let detail = "a string is not in the Huffman code";
        Error::new(Code::QPACK_DECOMPRESSION_FAILED, detail)
    };
    let mut decoded = Vec::with_capacity(coded.len());
    let (mut code, mut length) = (0_u32, 0_usize);
    let bits = coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| (byte >> at) & 1));
    for bit in bits {
        code = (code << 1) | u32::from(bit);
        length = length.saturating_add(1);
        let codes = TABLE.codes.get(length).ok_or_else(wrong)?;
        let Some(nth) = code
            .checked_sub(codes.first)
            .filter(|nth| *nth < codes.count)
        else {
            continue;
        };
        let place = usize::try_from(codes.place.saturating_add(nth)).unwrap_or(usize::MAX);
        decoded.push(*TABLE.bytes.get(place).ok_or_else(wrong)?);
        (code, length) = (0, 0);
    }
    // RFC 7541 §5.2: the padding is shorter than a byte, and all ones.
    let is_padding = length < 8 && code.count_ones() as usize == length;
    is_padding.then_some(decoded).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        let digit = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.map(digit).collect()
    }

    /// The examples of RFC 7541, appendix C.
    #[test]
    fn the_examples_of_the_rfc_are_decoded() {
        for (coded, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            (
                "d07abe941054d444a8200595040b8166e082a62d1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "9d29ad171863c78f0b97c8e9ae82ae43d3",
                "https://www.example.com",
            ),
        ] {
            assert_eq!(decode(&bytes(coded)).unwrap(), text.as_bytes(), "{text}");
        }
    }

    #[test]
    fn the_code_is_complete_but_for_the_end_of_a_string() {
        let codes = TABLE.codes.iter().enumerate();
        let used: u64 = codes
            .map(|(length, codes)| u64::from(codes.count) << (LONGEST - length))
            .sum();
        // RFC 7541, appendix B: 257 symbols, of which the last is the end.
        assert_eq!(used, (1 << LONGEST) - 1);
    }

    #[test]
    fn wrong_padding_and_the_end_of_a_string_are_refused() {
        assert!(decode(&[0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(decode(&[0xff]).is_err(), "a whole byte of padding");
        assert!(decode(&[0x00, 0x00]).is_err(), "padding that is not ones");
        assert_eq!(decode(&[]).unwrap(), b"");
    }
}
