//! Hex dumps, in the formats of common tools.

use std::fmt;

use crate::digits;

/// Consecutive bytes of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Wireshark indents the lines of the other side.
    pub(super) is_other_side: bool,
    pub(super) bytes: Vec<u8>,
}

/// A line that is not part of a hex dump.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoDump {
    line: usize,
    word: String,
}

impl fmt::Display for NoDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, word } = self;
        write!(f, "{line}: expected bytes in hexadecimal, found {word:?}")
    }
}

/// Whether this is a hex dump rather than raw bytes.
pub(super) fn is_likely(bytes: &[u8]) -> bool {
    read(bytes).is_ok_and(|runs| !runs.is_empty())
}

/// Reads plain digits, or the output of `xxd`, `hexdump -C` or Wireshark.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Run>, NoDump> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let word = "bytes that are not text".to_owned();
        NoDump { line, word }
    })?;
    let mut runs: Vec<Run> = Vec::new();
    // The number of bytes of each side so far, to compare offsets with.
    let mut counts = [0_usize; 2];
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let is_indented = line.starts_with([' ', '\t']);
        let count = &mut counts[usize::from(is_indented)];
        let line_bytes = self::line(line.trim(), *count).map_err(|word| {
            let line = number + 1;
            NoDump { line, word }
        })?;
        *count += line_bytes.len();
        match runs.last_mut() {
            Some(run) if run.is_other_side == is_indented => run.bytes.extend(line_bytes),
            _ => runs.push(Run {
                is_other_side: is_indented,
                bytes: line_bytes,
            }),
        }
    }
    Ok(runs)
}

/// The bytes of a line, on whose side `count` bytes came before; or the word that is not a byte.
fn line(line: &str, count: usize) -> Result<Vec<u8>, String> {
    let Some((columns, has_colon)) = after_offset(line, count) else {
        return digits::parse(line);
    };
    let mut bytes = Vec::new();
    let mut rest = columns.trim_start();
    while let Some((word, after)) = next_word(rest) {
        let Ok(read) = digits::parse(word) else {
            break;
        };
        bytes.extend(read);
        let gap = after.len() - after.trim_start().len();
        // A wider gap precedes the text column. `hexdump -C` and Wireshark also have a gap of two
        // in the middle of a line; `xxd`, whose offsets have a colon, does not.
        let is_middle = gap == 2 && bytes.len() == 8 && !has_colon;
        if bytes.len() >= 16 || (gap >= 2 && !is_middle) {
            break;
        }
        rest = after.trim_start();
    }
    Ok(bytes)
}

/// The text after the offset, if the line starts with the expected one; and whether the offset has
/// a colon.
fn after_offset(line: &str, count: usize) -> Option<(&str, bool)> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (word, has_colon) = match word.strip_suffix(':') {
        Some(word) => (word, true),
        None => (word, false),
    };
    let is_apart = has_colon || rest.is_empty() || rest.starts_with(' ');
    let offset = usize::from_str_radix(word, 16).ok()?;
    (word.len() >= 4 && is_apart && offset == count).then_some((rest, has_colon))
}

fn next_word(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    let end = text.find(' ').unwrap_or(text.len());
    Some(text.split_at(end))
}

#[cfg(test)]
mod tests;
