//! Comparing a message with the expected one.

use serde_json::Value;

/// Whether the text matches a pattern in which `*` stands for any text.
///
/// Each part is matched at the leftmost place: if any match exists, this one does.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        // No star: the whole text must match.
        return rest.is_empty();
    };
    let mut rest = rest;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

/// Whether the value contains everything expected: an object may have additional members; a list
/// must not be longer.
pub(super) fn contains(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (Value::Object(value), Value::Object(expected)) => {
            expected.iter().all(|(name, expected)| {
                value
                    .get(name)
                    .is_some_and(|value| contains(value, expected))
            })
        }
        (Value::Array(value), Value::Array(expected)) => {
            let mut pairs = value.iter().zip(expected);
            value.len() == expected.len()
                && pairs.all(|(value, expected)| contains(value, expected))
        }
        (value, expected) => value == expected,
    }
}
