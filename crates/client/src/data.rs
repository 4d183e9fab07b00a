//! The data of a publication.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use offhook_dialects::native::client::{Format, Payload};
use serde::Serialize;
use serde::de::Deserialize;
use serde_json::Value;

use crate::error::Error;

/// The data of a publication: a JSON value, or bytes.
///
/// Strings become JSON strings, bytes stay bytes, and [`from_json`](Self::from_json) takes anything
/// that can be serialized.
///
/// ```
/// use offhook_client::Data;
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// struct Move { from: String, to: String }
///
/// let e4 = Move { from: "e2".into(), to: "e4".into() };
/// let data = Data::from_json(&e4)?;
/// assert_eq!(data.as_bytes(), br#"{"from":"e2","to":"e4"}"#);
/// assert_eq!(data.json::<Move>()?, e4);
///
/// assert_eq!(Data::from("hello").text().as_deref(), Some("hello"));
/// assert_eq!(Data::from(vec![1, 2, 3]).as_bytes(), [1, 2, 3]);
/// # Ok::<(), offhook_client::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Data {
    bytes: Bytes,
    format: Format,
}

impl Data {
    /// A value as JSON. Servers accept at most 64 levels of nesting.
    ///
    /// # Errors
    /// [`Error::Json`] if it cannot be serialized.
    pub fn from_json(value: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        let text = serde_json::to_vec(value)?;
        Ok(Self {
            bytes: text.into(),
            format: Format::Json,
        })
    }

    /// Deserializes the JSON value.
    ///
    /// # Errors
    /// [`Error::Json`] if it does not match the type, or is bytes.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        if !self.is_json() {
            return Err(serde::de::Error::custom("the data is bytes, not JSON"))
                .map_err(|error: serde_json::Error| error.into());
        }
        Ok(serde_json::from_slice(&self.bytes)?)
    }

    /// The text, if it is a JSON string.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        if !self.is_json() {
            return None;
        }
        let plain: Result<&str, _> = serde_json::from_slice(&self.bytes);
        match plain {
            Ok(text) => Some(Cow::Borrowed(text)),
            Err(_) => self.json::<String>().ok().map(Cow::Owned),
        }
    }

    /// Whether it is a JSON value.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format != Format::Binary
    }

    /// The bytes, or the JSON's text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, or the JSON's text, without copying.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn read(payload: Payload<'_>) -> Self {
        match payload {
            Payload::Json(text) => Self::raw_json(text),
            Payload::Bytes(bytes) => bytes.into(),
        }
    }

    /// Makes data from text that is known to be valid JSON.
    pub(crate) fn raw_json(text: &str) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            format: Format::Json,
        }
    }
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Self {
        Self {
            bytes,
            format: Format::Binary,
        }
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        Bytes::copy_from_slice(bytes).into()
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        Value::from(text).into()
    }
}

impl From<String> for Data {
    fn from(text: String) -> Self {
        Value::from(text).into()
    }
}

impl From<Value> for Data {
    fn from(value: Value) -> Self {
        Self {
            bytes: value.to_string().into(),
            format: Format::Json,
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_json() {
            f.write_str(&String::from_utf8_lossy(&self.bytes))
        } else {
            write!(f, "b\"{}\"", self.bytes.escape_ascii())
        }
    }
}
