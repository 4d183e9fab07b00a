//! A result while it is written, with a limit.

use crate::json::json;

use super::plan::Plan;

/// The most bytes of an answer. 1 MiB: several pages of history. Nested introspection would have no
/// end.
pub(super) const MAX_ANSWER: usize = 1024 * 1024;

/// The result exceeds its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

pub(super) type Written = Result<(), TooLarge>;

#[derive(Debug)]
pub(super) struct Out {
    text: String,
    limit: usize,
}

impl Out {
    pub(super) fn new(limit: usize) -> Self {
        Self::with_capacity(0, limit)
    }

    /// With room for so many bytes from the start.
    pub(super) fn with_capacity(capacity: usize, limit: usize) -> Self {
        let text = String::with_capacity(capacity.min(limit));
        Self { text, limit }
    }

    pub(super) fn end(self) -> String {
        self.text
    }

    /// Writes JSON, or a part of it.
    pub(super) fn raw(&mut self, json: &str) -> Written {
        if self.text.len().saturating_add(json.len()) > self.limit {
            return Err(TooLarge);
        }
        self.text.push_str(json);
        Ok(())
    }

    pub(super) fn text(&mut self, text: &str) -> Written {
        self.raw(&json(text))
    }

    pub(super) fn boolean(&mut self, value: bool) -> Written {
        self.raw(if value { "true" } else { "false" })
    }

    pub(super) fn text_or_null(&mut self, text: Option<&str>) -> Written {
        match text {
            Some(text) => self.text(text),
            None => self.raw("null"),
        }
    }

    pub(super) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Written,
    ) -> Written {
        self.raw("[")?;
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.raw(",")?;
            }
            write(self, item)?;
        }
        self.raw("]")
    }

    /// The value of a field that is an object, whose fields `write` writes.
    pub(super) fn object(
        &mut self,
        plan: &Plan,
        mut write: impl FnMut(&mut Self, &Plan) -> Written,
    ) -> Written {
        self.raw("{")?;
        for (index, part) in plan.parts.iter().enumerate() {
            if index > 0 {
                self.raw(",")?;
            }
            self.text(&part.key)?;
            self.raw(":")?;
            match part.field.name {
                "__typename" => self.text(plan.field.kind.named().name)?,
                _ => write(self, part)?,
            }
        }
        self.raw("}")
    }
}
