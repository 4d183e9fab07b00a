//! Texts, JSON and data in the fields of a message, borrowed from it in both forms.
//!
//! A text of CBOR that consists of chunks (RFC 8949 §3.2.3) cannot be borrowed. It is refused.

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};
use serde_json::value::RawValue;

/// A text that is borrowed from the message, unless it contains escapes. Serde borrows in a `Cow`
/// field, but not in an `Option` of one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.is_human_readable() {
            true => from.deserialize_str(AnyText).map(Self),
            false => from.deserialize_str(WholeText).map(Cow::Borrowed).map(Self),
        }
    }
}

struct AnyText;

impl<'de> Visitor<'de> for AnyText {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

struct WholeText;

impl<'de> Visitor<'de> for WholeText {
    type Value = &'de str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text string of definite length")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(text)
    }
}

/// One JSON value. In CBOR it is a text that contains the JSON.
#[derive(Clone, Copy)]
pub(super) struct Json<'a>(pub(super) &'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return <&RawValue>::deserialize(from).map(|raw| Self(raw.get()));
        }
        from.deserialize_str(WholeText).and_then(checked).map(Self)
    }
}

/// The JSON in a text, without the white space around it.
fn checked<E: Error>(text: &str) -> Result<&str, E> {
    let raw = serde_json::from_str::<&RawValue>(text);
    raw.map(RawValue::get)
        .map_err(|error| E::custom(format_args!("a text is not JSON: {error}")))
}

/// The data of a publication, a call or an answer: JSON, or bytes. In JSON, bytes are in a field of
/// their own, `base64`.
#[derive(Clone, Copy)]
pub(super) enum Data<'a> {
    Json(&'a str),
    Bytes(&'a [u8]),
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return <&RawValue>::deserialize(from).map(|raw| Self::Json(raw.get()));
        }
        from.deserialize_any(WholeData)
    }
}

struct WholeData;

impl<'de> Visitor<'de> for WholeData {
    type Value = Data<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON in a text string, or a byte string, of definite length")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        checked(text).map(Data::Json)
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Data::Bytes(bytes))
    }
}

/// Data that is there. `null` in JSON is a value like any other, not a missing field.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A number of 32 bits. CBOR may write it with more bytes than it needs.
pub(super) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let number = Option::<u64>::deserialize(from)?;
    let fits = |number| {
        let too_large = |_| D::Error::invalid_value(Unexpected::Unsigned(number), &"u32");
        u32::try_from(number).map_err(too_large)
    };
    number.map(fits).transpose()
}
