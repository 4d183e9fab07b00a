//! The binary form: CBOR (RFC 8949). A message is one map with the fields that it has in JSON.
//!
//! What is written has maps of indefinite length: the fields of one recipient can then be inserted
//! into a message that all others share, without a count that would have to change.

use std::{convert::Infallible, fmt};

use cbor4ii::{
    core::{dec::Read, error::DecodeError as Core, utils::SliceReader},
    serde::{DecodeError, Deserializer},
};
use offhook_engine::Format;
use serde::Deserialize;

use super::writer::Writer;
use crate::json::json;

/// RFC 8949 §3.1: the major types.
const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
/// RFC 8949 §3.2: a map of indefinite length, and its end.
const OPEN_MAP: u8 = 0xbf;
const BREAK: u8 = 0xff;
/// RFC 8949 §3.3.
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;

/// Whether a message is a map.
pub(super) fn is_map(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first >> 5 == MAP)
}

/// Decodes one value, which is all there is. The decoder borrows from the bytes, nests at most 256
/// deep, and allocates nothing for a length that is only announced.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Invalid> {
    let (value, rest) = decode_first(bytes)?;
    match rest {
        0 => Ok(value),
        rest => Err(Invalid(format!("{rest} bytes follow the message"))),
    }
}

/// Decodes the first value, and says how many bytes follow it.
pub(super) fn decode_first<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, usize), Invalid> {
    let mut deserializer = Deserializer::new(SliceReader::new(bytes));
    let value = T::deserialize(&mut deserializer).map_err(|error| Invalid(told(&error)))?;
    let mut reader = deserializer.into_inner();
    let rest = reader.fill(bytes.len());
    let rest = rest.map_or(0, |rest| rest.as_ref().len());
    Ok((value, rest))
}

/// What is wrong with a message.
#[derive(Debug)]
pub(super) struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn told(error: &DecodeError<Infallible>) -> String {
    let error = match error {
        DecodeError::Custom(text) => return text.to_string(),
        DecodeError::Core(error) => error,
    };
    match error {
        Core::Mismatch { name, found } | Core::Unsupported { name, found } => {
            format!("expected {name}, found a value that begins with 0x{found:02x}")
        }
        Core::Eof { name, .. } => format!("ends within {name}"),
        Core::RequireUtf8 { .. } => "a text is not UTF-8".to_owned(),
        Core::LengthOverflow { name, .. } => format!("the length of {name} is too large"),
        Core::CastOverflow { name } | Core::ArithmeticOverflow { name, .. } => {
            format!("a number is out of range for {name}")
        }
        Core::DepthOverflow { .. } => "nests too deep".to_owned(),
        // The enum may grow.
        other @ (Core::Read(_)
        | Core::RequireLength { .. }
        | Core::RequireBorrowed { .. }
        | Core::Custom { .. }
        | _) => format!("is not valid CBOR: {other}"),
    }
}

/// A message in CBOR that is being written.
#[derive(Debug, Default)]
pub(crate) struct Cbor(Vec<u8>);

impl Cbor {
    /// Where the fields of a recipient are inserted: after the type.
    pub(super) fn head_of(kind: &str) -> usize {
        Self::begin(kind, 0).0.len()
    }

    /// Fields without a message around them.
    pub(super) fn into_fields(self) -> Vec<u8> {
        self.0
    }

    /// RFC 8949 §3: a major type and its argument, as short as possible.
    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        if let Ok(byte) = u8::try_from(argument) {
            match byte {
                0..24 => self.0.push(major | byte),
                _ => self.0.extend([major | 24, byte]),
            }
        } else if let Ok(two) = u16::try_from(argument) {
            self.0.push(major | 25);
            self.0.extend(two.to_be_bytes());
        } else if let Ok(four) = u32::try_from(argument) {
            self.0.push(major | 26);
            self.0.extend(four.to_be_bytes());
        } else {
            self.0.push(major | 27);
            self.0.extend(argument.to_be_bytes());
        }
    }

    fn string(&mut self, major: u8, bytes: &[u8]) {
        self.head(major, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    /// The name of a field, or a text.
    fn say(&mut self, text: &str) {
        self.string(TEXT, text.as_bytes());
    }
}

impl Writer for Cbor {
    type Message = Vec<u8>;

    fn begin(kind: &str, capacity: usize) -> Self {
        let mut message = Self(Vec::with_capacity(capacity));
        message.0.push(OPEN_MAP);
        message.text("type", kind)
    }

    fn number(mut self, name: &str, number: u64) -> Self {
        self.say(name);
        self.head(UNSIGNED, number);
        self
    }

    fn flag(mut self, name: &str, flag: bool) -> Self {
        self.say(name);
        self.0.push(if flag { TRUE } else { FALSE });
        self
    }

    fn text(mut self, name: &str, text: &str) -> Self {
        self.say(name);
        self.say(text);
        self
    }

    fn json(self, name: &str, json: &[u8]) -> Self {
        self.text(name, &String::from_utf8_lossy(json))
    }

    fn content(mut self, data: &[u8], format: Format) -> Self {
        match format {
            Format::Json => self.json("data", data),
            Format::Text => self.text("data", &json(&String::from_utf8_lossy(data))),
            Format::Binary => {
                self.say("data");
                self.string(BYTES, data);
                self
            }
        }
    }

    fn named<N: AsRef<str>, T: AsRef<str>>(
        mut self,
        name: &str,
        pairs: impl Iterator<Item = (N, T)>,
    ) -> Self {
        self.say(name);
        self.0.push(OPEN_MAP);
        for (name, text) in pairs {
            self.say(name.as_ref());
            self.say(text.as_ref());
        }
        self.0.push(BREAK);
        self
    }

    fn texts<T: AsRef<str>>(mut self, name: &str, texts: impl Iterator<Item = T>) -> Self {
        let texts: Vec<_> = texts.collect();
        self.say(name);
        self.head(ARRAY, u64::try_from(texts.len()).unwrap_or(u64::MAX));
        for text in texts {
            self.say(text.as_ref());
        }
        self
    }

    fn objects<T>(mut self, name: &str, items: &[T], write: impl Fn(Self, &T) -> Self) -> Self {
        self.say(name);
        self.head(ARRAY, u64::try_from(items.len()).unwrap_or(u64::MAX));
        for item in items {
            self.0.push(OPEN_MAP);
            self = write(self, item);
            self.0.push(BREAK);
        }
        self
    }

    fn counted(mut self, name: &str, what: &str, number: u64) -> Self {
        self.say(name);
        self.0.push(OPEN_MAP);
        self = self.number(what, number);
        self.0.push(BREAK);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.push(BREAK);
        self.0
    }
}
