//! Writes the fields of a message, in JSON or in CBOR.

use std::fmt::Display;

use data_encoding::BASE64;
use offhook_engine::{Format, Position};

use crate::{Payload, json::Object};

/// A message that is being written, field by field, in one of the two forms.
pub(crate) trait Writer: Sized {
    /// The finished message.
    type Message: Into<Payload>;

    /// Begins a message with its type. It will be about this long.
    fn begin(kind: &str, capacity: usize) -> Self;

    /// A message that is short.
    fn short(kind: &str) -> Self {
        Self::begin(kind, 96)
    }

    fn number(self, name: &str, number: u64) -> Self;

    fn flag(self, name: &str, flag: bool) -> Self;

    fn text(self, name: &str, text: &str) -> Self;

    /// One JSON value: as it is in JSON, and as a text in CBOR.
    fn json(self, name: &str, json: &[u8]) -> Self;

    /// The data of a publication, a call or an answer.
    fn content(self, data: &[u8], format: Format) -> Self;

    /// Texts by name. The names come from the outside.
    fn named<N: AsRef<str>, T: AsRef<str>>(
        self,
        name: &str,
        pairs: impl Iterator<Item = (N, T)>,
    ) -> Self;

    fn texts<T: AsRef<str>>(self, name: &str, texts: impl Iterator<Item = T>) -> Self;

    /// Objects, each with the fields that `write` adds.
    fn objects<T>(self, name: &str, items: &[T], write: impl Fn(Self, &T) -> Self) -> Self;

    /// An object with one number, such as `{"last":50}`.
    fn counted(self, name: &str, what: &str, number: u64) -> Self;

    fn finish(self) -> Self::Message;

    /// A text without characters that JSON escapes.
    fn plain(self, name: &str, text: impl Display) -> Self {
        self.text(name, &text.to_string())
    }

    fn position(self, name: &str, position: Position) -> Self {
        self.plain(name, position)
    }

    fn text_unless_empty(self, name: &str, text: &str) -> Self {
        match text.is_empty() {
            true => self,
            false => self.text(name, text),
        }
    }
}

impl Writer for Object {
    type Message = String;

    fn begin(kind: &str, capacity: usize) -> Self {
        Self::with_capacity(kind, capacity)
    }

    fn number(self, name: &str, number: u64) -> Self {
        self.raw(name, number)
    }

    fn flag(self, name: &str, flag: bool) -> Self {
        self.raw(name, flag)
    }

    fn text(self, name: &str, text: &str) -> Self {
        self.text(name, text)
    }

    fn json(self, name: &str, json: &[u8]) -> Self {
        self.raw(name, String::from_utf8_lossy(json))
    }

    fn content(self, data: &[u8], format: Format) -> Self {
        match format {
            Format::Json => self.raw("data", String::from_utf8_lossy(data)),
            Format::Text => self.text("data", &String::from_utf8_lossy(data)),
            Format::Binary => self.raw("base64", format_args!("\"{}\"", BASE64.encode(data))),
        }
    }

    fn named<N: AsRef<str>, T: AsRef<str>>(
        self,
        name: &str,
        pairs: impl Iterator<Item = (N, T)>,
    ) -> Self {
        let all = pairs.fold(Self::part(), |object, (name, text)| {
            object.foreign(name.as_ref(), text.as_ref())
        });
        self.raw(name, all.end())
    }

    fn texts<T: AsRef<str>>(self, name: &str, texts: impl Iterator<Item = T>) -> Self {
        self.array(name, texts, |object, text| object.element(text.as_ref()))
    }

    fn objects<T>(self, name: &str, items: &[T], write: impl Fn(Self, &T) -> Self) -> Self {
        self.array(name, items.iter(), |object, item| {
            object.nested(|object| write(object, item))
        })
    }

    fn counted(self, name: &str, what: &str, number: u64) -> Self {
        self.raw(name, Self::part().raw(what, number).end())
    }

    fn finish(self) -> String {
        self.end()
    }

    fn plain(self, name: &str, text: impl Display) -> Self {
        self.raw(name, format_args!("\"{text}\""))
    }
}
