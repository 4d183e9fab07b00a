//! Displaying text from a peer safely in logs and terminals.

use std::fmt::{self, Write as _};

/// Text from a peer, displayed with control characters and bidirectional formatting characters
/// escaped: a close reason or a body must not forge log lines or control a terminal.
///
/// ```
/// let said = offhook_protocol::Shown("down\n\u{1b}[2Jall is well").to_string();
/// assert_eq!(said, "down\\n\\u{1b}[2Jall is well");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_unfit(character) {
                character.escape_default().fmt(f)?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

fn is_unfit(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}
