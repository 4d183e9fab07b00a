//! CBOR for people: RFC 8949 §8, diagnostic notation.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::cbor;
use crate::json::json;

/// How many bytes of a byte string are shown.
const SHOWN: usize = 32;

/// A message in the binary form as text, such as `{"type": "told", "data": h'01ff'}`. Of a long byte
/// string only the beginning is shown, with its length.
///
/// # Errors
/// What is wrong with the message.
pub fn diagnostic(bytes: &[u8]) -> Result<String, String> {
    let notation: Result<Notation, _> = cbor::decode(bytes);
    notation
        .map(|notation| notation.0)
        .map_err(|error| error.to_string())
}

/// A value in diagnostic notation.
struct Notation(String);

impl<'de> Deserialize<'de> for Notation {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Notator).map(Self)
    }
}

struct Notator;

impl<'de> Visitor<'de> for Notator {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<String, E> {
        Ok(flag.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(format!("{number:?}"))
    }

    fn visit_none<E: Error>(self) -> Result<String, E> {
        Ok("null".to_owned())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(json(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<String, E> {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        Ok(match bytes.split_at_checked(SHOWN) {
            Some((first, rest)) if !rest.is_empty() => {
                format!("h'{}…' /{} bytes/", hex(first), bytes.len())
            }
            Some(_) | None => format!("h'{}'", hex(bytes)),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<String, A::Error> {
        let mut text = String::from("[");
        while let Some(Notation(item)) = items.next_element()? {
            separate(&mut text);
            text.push_str(&item);
        }
        text.push(']');
        Ok(text)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<String, A::Error> {
        let mut text = String::from("{");
        while let Some((Notation(name), Notation(value))) = fields.next_entry()? {
            separate(&mut text);
            text.push_str(&name);
            text.push_str(": ");
            text.push_str(&value);
        }
        text.push('}');
        Ok(text)
    }
}

fn separate(text: &mut String) {
    if text.len() > 1 {
        text.push_str(", ");
    }
}
