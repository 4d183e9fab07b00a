//! Whole numbers, and numbers of bytes.

use std::{fmt::Display, marker::PhantomData};

use super::Kind;
use crate::given::{Given, Misfit, Value};
use crate::toml_text::quoted;

/// A whole number of things.
pub(crate) struct Count<T> {
    least: u64,
    number: PhantomData<T>,
}

/// Any whole number.
pub(crate) fn count<T>() -> Count<T> {
    let (least, number) = (0, PhantomData);
    Count { least, number }
}

/// A whole number that is not 0.
pub(crate) fn some<T>() -> Count<T> {
    let (least, number) = (1, PhantomData);
    Count { least, number }
}

impl<T: TryFrom<u64> + Display> Kind for Count<T> {
    type Value = T;

    fn expected(&self) -> String {
        match self.least {
            0 => "a whole number".to_owned(),
            least => format!("a whole number, at least {least}"),
        }
    }

    fn placeholder(&self) -> String {
        "N".to_owned()
    }

    fn read(&self, given: &Given) -> Result<T, Vec<Misfit>> {
        let digits = given
            .number()
            .ok_or_else(|| given.misfit(self.expected()))?;
        let number: u64 = digits.parse().map_err(|_| given.misfit(self.expected()))?;
        if number < self.least {
            return Err(given.misfit(self.expected()));
        }
        T::try_from(number).map_err(|_| given.complaint(format!("{number} is too large")))
    }

    fn write(&self, value: &T) -> Option<String> {
        Some(value.to_string())
    }
}

/// A number of bytes, with or without a unit.
pub(crate) struct Bytes<T>(PhantomData<T>);

impl<T> Bytes<T> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

const UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl<T: TryFrom<u64> + Copy> Kind for Bytes<T>
where
    u64: TryFrom<T>,
{
    type Value = T;

    fn expected(&self) -> String {
        "a number of bytes like \"64 KiB\", \"1 MiB\" or 65536".to_owned()
    }

    fn placeholder(&self) -> String {
        "BYTES".to_owned()
    }

    fn read(&self, given: &Given) -> Result<T, Vec<Misfit>> {
        let text = match &given.value {
            Value::Word(text) | Value::Text(text) | Value::Integer(text) => text,
            Value::Bool(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
                return Err(given.misfit(self.expected()));
            }
        };
        let bytes = parse_bytes(text).ok_or_else(|| given.misfit(self.expected()))?;
        T::try_from(bytes).map_err(|_| given.complaint(format!("{text} is too large")))
    }

    fn write(&self, value: &T) -> Option<String> {
        // No number of bytes is larger.
        let bytes = u64::try_from(*value).unwrap_or(u64::MAX);
        let binary = UNITS.iter().take(3);
        let mut fitting = binary.filter(|(_, size)| bytes >= *size && bytes % size == 0);
        Some(match fitting.next() {
            Some((unit, size)) => quoted(&format!("{} {unit}", bytes / size)),
            None => bytes.to_string(),
        })
    }
}

/// Parses a number of bytes as people write it in configurations: `64 KiB`, `65536`.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: u64 = digits.parse().ok()?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, size) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*size)
}

#[cfg(test)]
mod tests;
