//! Encodes frames as bytes.

use std::borrow::Cow;

use super::Version;

/// Writes one frame. Headers keep the order in which they are given; `content-length` is the last
/// one.
#[derive(Debug)]
pub(in crate::stomp) struct Encoder {
    bytes: Vec<u8>,
    version: Version,
    has_escapes: bool,
    has_body: bool,
}

impl Encoder {
    pub(in crate::stomp) fn new(command: &str, version: Version) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(command.as_bytes());
        bytes.push(b'\n');
        Self {
            bytes,
            version,
            // 1.2 "Value Encoding": no escapes in CONNECT and CONNECTED, to remain compatible with
            // 1.0.
            has_escapes: !matches!(command, "CONNECT" | "CONNECTED" | "STOMP"),
            has_body: matches!(command, "SEND" | "MESSAGE" | "ERROR"),
        }
    }

    /// The number of bytes written so far.
    pub(in crate::stomp) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(in crate::stomp) fn header(&mut self, name: &str, value: &str) {
        let (name, value) = match self.has_escapes && self.version > Version::V10 {
            true => (escaped(name, self.version), escaped(value, self.version)),
            false => (plain(name, true), plain(value, false)),
        };
        self.bytes.extend(name.as_bytes());
        self.bytes.push(b':');
        self.bytes.extend(value.as_bytes());
        self.bytes.push(b'\n');
    }

    /// The bytes of the whole frame.
    pub(in crate::stomp) fn end(mut self, body: &[u8]) -> Vec<u8> {
        if self.has_body {
            // The length is always given, because a body may contain a NUL.
            let length = format!("content-length:{}\n", body.len());
            self.bytes.extend(length.as_bytes());
        }
        self.bytes.push(b'\n');
        self.bytes.extend(body);
        self.bytes.push(0);
        self.bytes
    }
}

/// A name or value of a header, escaped for frames other than CONNECT and CONNECTED.
pub(in crate::stomp) fn escaped(text: &str, version: Version) -> Cow<'_, str> {
    if version == Version::V10 {
        return plain(text, false);
    }
    if !text.contains(['\\', '\n', ':', '\r', '\0']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len().saturating_add(8));
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            ':' => escaped.push_str("\\c"),
            '\r' if version == Version::V12 => escaped.push_str("\\r"),
            // A NUL cannot be escaped, and would end the frame.
            '\0' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// A name or value of a header in a frame without escapes: characters that would end the name, the
/// value or the frame are replaced.
fn plain(text: &str, is_name: bool) -> Cow<'_, str> {
    let ends = |c: char| matches!(c, '\n' | '\r' | '\0') || (is_name && c == ':');
    if !text.contains(ends) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(ends, "_"))
}

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::*;

    #[test]
    fn names_and_values_are_escaped_as_the_version_allows() {
        let frame = Frame::new("MESSAGE").with("a:b", "c\\d\ne\rf");
        for (version, line) in [
            (Version::V10, "a_b:c\\d_e_f\n"),
            (Version::V11, "a\\cb:c\\\\d\\ne\rf\n"),
            (Version::V12, "a\\cb:c\\\\d\\ne\\rf\n"),
        ] {
            let expected = format!("MESSAGE\n{line}content-length:0\n\n\0");
            let encoded = String::from_utf8(frame.encode(version)).unwrap();
            assert_eq!(encoded, expected, "{version:?}");
        }
    }

    #[test]
    fn connected_is_not_escaped() {
        let frame = Frame::new("CONNECTED").with("server", "a:b\\c");
        assert_eq!(
            frame.encode(Version::V12),
            b"CONNECTED\nserver:a:b\\c\n\n\0"
        );
    }
}
