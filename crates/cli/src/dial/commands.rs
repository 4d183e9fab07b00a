//! Typed lines: messages, and commands that start with `/`.

/// A line that was typed in a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A message to send.
    Message(&'a str),
    /// `/word rest`.
    Command {
        /// The word without its slash.
        word: &'a str,
        /// The text after the word, trimmed.
        rest: &'a str,
    },
}

impl<'a> Entry<'a> {
    /// `//text` is the message `/text`; any other line that starts with `/` is a command.
    pub(super) fn read(line: &'a str) -> Self {
        let Some(command) = line.strip_prefix('/') else {
            return Self::Message(line);
        };
        if command.starts_with('/') {
            return Self::Message(command);
        }
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        let rest = rest.trim();
        Self::Command { word, rest }
    }
}

/// Commands when connected to any server.
pub(super) const OF_A_CONNECTION: &[&str] = &["/help", "/ping", "/close", "/hex"];

/// Commands when using channels.
pub(super) const OF_CHANNELS: &[&str] = &["/help", "/members", "/publish", "/close"];

/// Commands when acting as a server.
pub(super) const OF_A_SERVER: &[&str] = &["/help", "/close"];

/// The notice for an unknown command. Nothing was sent.
pub(super) fn unknown(word: &str) -> String {
    format!(
        "error: there is no command /{word}, and nothing was sent; /help lists the commands, \
         //{word} sends the text /{word}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_starts_with_a_slash_is_a_command_and_two_slashes_escape_it() {
        let command = |word, rest| Entry::Command { word, rest };
        assert_eq!(Entry::read("hello /ping"), Entry::Message("hello /ping"));
        assert_eq!(Entry::read("/ping"), command("ping", ""));
        assert_eq!(
            Entry::read("/close 4001  bye "),
            command("close", "4001  bye")
        );
        assert_eq!(Entry::read("//ping"), Entry::Message("/ping"));
        assert_eq!(Entry::read("/"), command("", ""));
    }
}
