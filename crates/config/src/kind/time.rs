//! Durations.

use std::time::Duration;

use super::Kind;
use crate::given::{Given, Misfit, Value};
use crate::toml_text::quoted;

/// A duration, always with a unit: a bare number would be seconds to some and milliseconds to
/// others.
pub(crate) struct Time {
    least: Duration,
}

/// A duration other than zero.
pub(crate) fn time() -> Time {
    let least = Duration::from_millis(1);
    Time { least }
}

impl Time {
    /// Allows zero.
    pub(crate) fn or_none(self) -> Self {
        let least = Duration::ZERO;
        Self { least }
    }
}

/// In milliseconds, the largest first.
const UNITS: &[(&str, u64)] = &[
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Other names that people use.
const OTHER_NAMES: &[(&str, u64)] = &[
    ("w", 7 * 24 * 3600 * 1000),
    ("week", 7 * 24 * 3600 * 1000),
    ("weeks", 7 * 24 * 3600 * 1000),
    ("day", 24 * 3600 * 1000),
    ("days", 24 * 3600 * 1000),
    ("hour", 3600 * 1000),
    ("hours", 3600 * 1000),
    ("min", 60 * 1000),
    ("minute", 60 * 1000),
    ("minutes", 60 * 1000),
    ("sec", 1000),
    ("second", 1000),
    ("seconds", 1000),
];

/// A century: beyond it, additions to a clock could overflow.
const LONGEST_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

impl Kind for Time {
    type Value = Duration;

    fn expected(&self) -> String {
        "a time like \"500ms\", \"30s\", \"5m\", \"1h 30m\" or \"7d\"".to_owned()
    }

    fn placeholder(&self) -> String {
        "TIME".to_owned()
    }

    fn read(&self, given: &Given) -> Result<Duration, Vec<Misfit>> {
        if let Value::Integer(digits) = &given.value {
            let message = format!(
                "a time needs a unit: \"{digits}s\" for seconds, \"{digits}ms\" for milliseconds"
            );
            return Err(given.complaint(message));
        }
        let parsed = given.text().and_then(parse_time);
        let time = parsed.ok_or_else(|| given.misfit(self.expected()))?;
        if time < self.least {
            return Err(given.complaint("the time must not be 0"));
        }
        Ok(time)
    }

    fn write(&self, value: &Duration) -> Option<String> {
        Some(quoted(&written(*value)))
    }
}

/// Parses a duration as people write it in configurations: `500ms`, `1h 30m`.
#[must_use]
pub fn parse_time(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut sum: u64 = 0;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        rest = rest[end..].trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let mut units = UNITS.iter().chain(OTHER_NAMES);
        let (_, size) = units.find(|(name, _)| *name == &rest[..end])?;
        sum = sum.checked_add(number.checked_mul(*size)?)?;
        rest = rest[end..].trim_start();
        if rest.is_empty() {
            break;
        }
    }
    (sum <= LONGEST_MS).then_some(Duration::from_millis(sum))
}

/// Written exactly, in as few units as possible.
pub(crate) fn written(time: Duration) -> String {
    let mut rest = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    for (unit, size) in UNITS {
        if rest >= *size {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests;
