//! A JSON object whose values are passed on unchanged. If they were parsed, numbers that a 64-bit
//! float cannot represent would be rounded: a backend would decide about other data than
//! subscribers receive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON object.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct JsonObject(BTreeMap<String, Box<RawValue>>);

impl JsonObject {
    /// An object with a field `type`.
    pub(crate) fn of(kind: &str) -> Self {
        let mut object = Self::default();
        object.set("type", kind);
        object
    }

    /// Sets a field.
    pub(crate) fn set(&mut self, name: &str, value: impl Serialize) {
        // Strings, numbers and maps of strings can always be serialized.
        if let Ok(value) = to_raw_value(&value) {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// Sets a field to a JSON value, if there is one.
    pub(crate) fn set_json(&mut self, name: &str, json: &[u8]) {
        if let Ok(value) = serde_json::from_slice::<&RawValue>(json) {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    /// The object as text.
    pub(crate) fn text(&self) -> String {
        // The keys are strings, and the values are JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_passed_on_digit_by_digit() {
        let mut object = JsonObject::of("publish");
        let data = "{\"x\":1e400,\"y\":123456789012345678901234567890,\"y\":1.0}";
        object.set_json("data", data.as_bytes());
        object.set_json("info", b"");
        let expected = format!("{{\"data\":{data},\"type\":\"publish\"}}");
        assert_eq!(object.text(), expected);
    }
}
