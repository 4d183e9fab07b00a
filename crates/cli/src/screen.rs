//! Output for people, with colours only in a terminal.

use std::borrow::Cow;
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

/// The important part of a line.
pub(crate) const BOLD: Style = Style::new().bold();
/// Secondary text.
pub(crate) const DIM: Style = Style::new().dimmed();
/// A link or an address.
pub(crate) const LINK: Style = AnsiColor::Cyan.on_default();
/// An error.
pub(crate) const WRONG: Style = AnsiColor::Red.on_default().bold();

/// Prints to stdout.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints a line to stderr. Errors are ignored: there is nowhere to report them.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Prints to stderr without ending the line, so that it can be continued or overwritten.
pub(crate) fn tell_in_place(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

/// Prints an error to stderr.
pub(crate) fn error(message: &str) {
    tell(&format!("{WRONG}error{WRONG:#}: {message}"));
}

/// Bytes as pairs of digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

/// Text from outside, with control characters escaped.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let visible = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    Cow::Owned(text.chars().map(visible).collect())
}
