//! Values with their own parser and formatter.

use std::{fmt::Display, marker::PhantomData, str::FromStr};

use super::Kind;
use crate::given::{Given, Misfit};
use crate::toml_text::quoted;

/// A value that is parsed by `FromStr` and written by `Display`.
pub(crate) struct Parsed<T> {
    expected: &'static str,
    placeholder: &'static str,
    /// Whether it is secret, and must not be repeated in errors.
    secret: bool,
    value: PhantomData<T>,
}

impl<T> Parsed<T> {
    /// With the description of accepted values, in words and in one word.
    pub(crate) const fn new(expected: &'static str, placeholder: &'static str) -> Self {
        Self {
            expected,
            placeholder,
            secret: false,
            value: PhantomData,
        }
    }

    /// The same, never shown.
    pub(crate) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

impl<T: FromStr<Err: Display> + Display> Kind for Parsed<T> {
    type Value = T;

    fn expected(&self) -> String {
        self.expected.to_owned()
    }

    fn placeholder(&self) -> String {
        self.placeholder.to_owned()
    }

    fn read(&self, given: &Given) -> Result<T, Vec<Misfit>> {
        let Some(text) = given.text() else {
            return Err(given.complaint(format!("expected {}", self.expected)));
        };
        let parsed = text.parse::<T>();
        parsed.map_err(|error| given.complaint(error.to_string()))
    }

    fn write(&self, value: &T) -> Option<String> {
        (!self.secret).then(|| quoted(&value.to_string()))
    }
}
