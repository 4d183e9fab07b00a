//! Writes a JSON object into one buffer, field by field.

use std::fmt::{Display, Write};

use offhook_engine::Position;

pub(super) struct Object(String);

impl Object {
    /// Starts a message: `{"type":"kind"`.
    pub(super) fn new(kind: &str) -> Self {
        Self::with_capacity(kind, 96)
    }

    pub(super) fn with_capacity(kind: &str, capacity: usize) -> Self {
        let mut text = String::with_capacity(capacity);
        text.push_str("{\"type\":\"");
        text.push_str(kind);
        text.push('"');
        Self(text)
    }

    /// Starts an object without a type: a part of another one.
    pub(super) fn part() -> Self {
        Self(String::from("{"))
    }

    /// Adds a field with a constant name that needs no escaping.
    pub(super) fn raw(self, name: &str, json: impl Display) -> Self {
        self.field(format_args!("\"{name}\""), json)
    }

    /// Adds a field with a name from outside.
    pub(super) fn foreign(self, name: &str, text: &str) -> Self {
        self.field(json(name), json(text))
    }

    fn field(mut self, name: impl Display, json: impl Display) -> Self {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        // Writing to a string cannot fail.
        let _infallible = write!(self.0, "{name}:{json}");
        self
    }

    pub(super) fn text(self, name: &str, text: &str) -> Self {
        self.raw(name, json(text))
    }

    pub(super) fn text_unless_empty(self, name: &str, text: &str) -> Self {
        if text.is_empty() {
            self
        } else {
            self.text(name, text)
        }
    }

    pub(super) fn position(self, name: &str, position: Position) -> Self {
        self.raw(name, format_args!("\"{position}\""))
    }

    pub(super) fn list(self, name: &str, parts: impl Iterator<Item = String>) -> Self {
        let parts: Vec<_> = parts.collect();
        self.raw(name, format_args!("[{}]", parts.join(",")))
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A text as a JSON string.
pub(super) fn json(text: &str) -> String {
    // Serialising a text cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}
