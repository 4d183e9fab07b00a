//! Writes a JSON object into one buffer, field by field.

use std::fmt::{Display, Write};

use offhook_engine::Position;

pub(crate) struct Object(String);

impl Object {
    /// `{"type":"kind"`, with which every message begins.
    pub(crate) fn new(kind: &str) -> Self {
        Self::with_capacity(kind, 96)
    }

    pub(crate) fn with_capacity(kind: &str, capacity: usize) -> Self {
        let mut text = String::with_capacity(capacity);
        text.push_str("{\"type\":\"");
        text.push_str(kind);
        text.push('"');
        Self(text)
    }

    /// An object without a type, as part of another.
    pub(crate) fn part() -> Self {
        Self(String::from("{"))
    }

    /// Further fields of an object, to be inserted after another field.
    pub(crate) fn rest() -> Self {
        Self(String::new())
    }

    /// What was written so far.
    pub(crate) fn into_fields(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    /// A field with a name of ours, which needs no escaping.
    pub(crate) fn raw(mut self, name: &str, json: impl Display) -> Self {
        self.name(name);
        // Writing to a string cannot fail.
        let _infallible = write!(self.0, "{json}");
        self
    }

    /// A field with a name from the outside.
    pub(crate) fn foreign(mut self, name: &str, text: &str) -> Self {
        self.separate();
        self.0.push_str(&json(name));
        self.0.push(':');
        self.0.push_str(&json(text));
        self
    }

    pub(crate) fn text(mut self, name: &str, text: &str) -> Self {
        self.name(name);
        self.0.push_str(&json(text));
        self
    }

    /// Begins a field with a name of ours.
    fn name(&mut self, name: &str) {
        self.separate();
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn separate(&mut self) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
    }

    pub(crate) fn text_unless_empty(self, name: &str, text: &str) -> Self {
        if text.is_empty() {
            self
        } else {
            self.text(name, text)
        }
    }

    pub(crate) fn position(self, name: &str, position: Position) -> Self {
        self.raw(name, format_args!("\"{position}\""))
    }

    /// An array, written in place: `write` appends each element.
    pub(crate) fn array<T>(
        mut self,
        name: &str,
        items: impl Iterator<Item = T>,
        write: impl Fn(Self, T) -> Self,
    ) -> Self {
        self.name(name);
        self.0.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            self = write(self, item);
        }
        self.0.push(']');
        self
    }

    /// A text as an element of an array.
    pub(crate) fn element(mut self, text: &str) -> Self {
        self.0.push_str(&json(text));
        self
    }

    /// An object as an element of an array, with the fields that `write` adds.
    pub(crate) fn nested(mut self, write: impl FnOnce(Self) -> Self) -> Self {
        self.0.push('{');
        self = write(self);
        self.0.push('}');
        self
    }

    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A text as a JSON string.
pub(crate) fn json(text: &str) -> String {
    // A text can always be written as JSON.
    serde_json::to_string(text).unwrap_or_default()
}
