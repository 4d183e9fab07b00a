//! Field sections in QPACK (RFC 9204) without a dynamic table. Both sides announce a capacity of 0, so
//! that no section refers to state, and none has to wait for another stream.

mod huffman;
mod static_table;

use crate::{Code, Error};
use static_table::STATIC_TABLE;

/// What RFC 9114 §4.2.2 adds to the size of each field.
const OVERHEAD: usize = 32;

/// A field: a name in lower case, or that of a pseudo-header, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// Encodes a field section. Names have to be in lower case.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: impl IntoIterator<Item = (N, V)>) -> Vec<u8> {
    // §4.5.1: no entry of the dynamic table is needed, and the base is 0.
    let mut out = vec![0, 0];
    for (name, value) in fields {
        encode_field(name.as_ref(), value.as_ref(), &mut out);
    }
    out
}

fn encode_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let mut named = None;
    for (index, (other, its_value)) in (0_u64..).zip(STATIC_TABLE) {
        if other.as_bytes() != name {
            continue;
        }
        if its_value.as_bytes() == value {
            // §4.5.2: indexed, in the static table.
            return write_integer(0b1100_0000, 6, index, out);
        }
        named = named.or(Some(index));
    }
    match named {
        // §4.5.4: a literal with a name of the static table.
        Some(index) => write_integer(0b0101_0000, 4, index, out),
        // §4.5.6: a literal with a literal name.
        None => {
            write_integer(0b0010_0000, 3, name.len() as u64, out);
            out.extend_from_slice(name);
        }
    }
    write_integer(0, 7, value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Decodes a field section of at most `limit` bytes, with 32 added for each field.
///
/// # Errors
/// A section that is damaged, that refers to the dynamic table, or that is larger.
pub fn decode(mut bytes: &[u8], limit: usize) -> Result<Vec<Field>, Error> {
    let (required, _) = (read_integer(&mut bytes, 8)?, read_integer(&mut bytes, 7)?);
    if required != 0 {
        return Err(failed("a field section refers to a dynamic table"));
    }
    let (mut fields, mut size) = (Vec::new(), 0_usize);
    while let Some(first) = bytes.first() {
        let field = decode_field(*first, &mut bytes)?;
        let own = field.name.len().saturating_add(field.value.len());
        size = size.saturating_add(own).saturating_add(OVERHEAD);
        if size > limit {
            let detail = "a field section is larger than this side accepts";
            return Err(Error::new(Code::EXCESSIVE_LOAD, detail));
        }
        fields.push(field);
    }
    Ok(fields)
}

fn decode_field(first: u8, bytes: &mut &[u8]) -> Result<Field, Error> {
    if first & 0b1000_0000 != 0 {
        let (name, value) = of_static_table(first & 0b0100_0000, read_integer(bytes, 6)?)?;
        return Ok(Field {
            name: name.into(),
            value: value.into(),
        });
    }
    let name = if first & 0b0100_0000 != 0 {
        let (name, _) = of_static_table(first & 0b0001_0000, read_integer(bytes, 4)?)?;
        name.into()
    } else if first & 0b0010_0000 != 0 {
        read_string(bytes, 3)?
    } else {
        // §4.5.3 and §4.5.5: fields of the dynamic table.
        return Err(failed("a field is in a dynamic table"));
    };
    let value = read_string(bytes, 7)?;
    Ok(Field { name, value })
}

/// An entry of the static table; `is_static` is 0 if the other table is meant.
fn of_static_table(is_static: u8, index: u64) -> Result<(&'static str, &'static str), Error> {
    if is_static == 0 {
        return Err(failed("a field is in a dynamic table"));
    }
    let entry = usize::try_from(index)
        .ok()
        .and_then(|index| STATIC_TABLE.get(index));
    entry
        .copied()
        .ok_or_else(|| failed("the static table has no such entry"))
}

/// §4.1.2: the bit before the length says whether it is coded.
fn read_string(bytes: &mut &[u8], prefix: u32) -> Result<Vec<u8>, Error> {
    let first = *bytes.first().ok_or_else(cut)?;
    let is_coded = first & 1_u8.checked_shl(prefix).unwrap_or(0) != 0;
    let length = usize::try_from(read_integer(bytes, prefix)?).unwrap_or(usize::MAX);
    let (own, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
    *bytes = rest;
    if is_coded {
        huffman::decode(own)
    } else {
        Ok(own.to_vec())
    }
}

/// Integers with a prefix of this many bits (RFC 7541 §5.1).
fn read_integer(bytes: &mut &[u8], prefix: u32) -> Result<u64, Error> {
    let (first, mut rest) = bytes.split_first().ok_or_else(cut)?;
    let mask = u8::MAX
        .checked_shr(8_u32.saturating_sub(prefix))
        .unwrap_or(0);
    let mut value = u64::from(first & mask);
    if first & mask == mask {
        let mut shift = 0_u32;
        loop {
            let (byte, after) = rest.split_first().ok_or_else(cut)?;
            rest = after;
            // RFC 9204 §4.1.1: 62 bits have to be decoded.
            if shift > 56 {
                return Err(failed("an integer is too large"));
            }
            let more = u64::from(byte & 0x7f)
                .checked_shl(shift)
                .unwrap_or(u64::MAX);
            value = value.saturating_add(more);
            shift = shift.saturating_add(7);
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *bytes = rest;
    Ok(value)
}

fn write_integer(flags: u8, prefix: u32, value: u64, out: &mut Vec<u8>) {
    let most = u8::MAX
        .checked_shr(8_u32.saturating_sub(prefix))
        .unwrap_or(0);
    if let Some(small) = u8::try_from(value).ok().filter(|small| *small < most) {
        return out.push(flags | small);
    }
    out.push(flags | most);
    let mut left = value.saturating_sub(u64::from(most));
    while left >= 0x80 {
        out.push(low_bits(left) | 0x80);
        left >>= 7;
    }
    out.push(low_bits(left));
}

/// The lowest seven bits.
fn low_bits(value: u64) -> u8 {
    let [.., low] = value.to_be_bytes();
    low & 0x7f
}

fn cut() -> Error {
    failed("a field section ends within a field")
}

const fn failed(detail: &'static str) -> Error {
    Error::new(Code::QPACK_DECOMPRESSION_FAILED, detail)
}
