//! The format of data whose sender does not declare it.

use std::str;

use offhook_engine::Format;
use serde::de::IgnoredAny;

use crate::json::is_shallow;

/// The most specific format that the payload has: JSON, else text, else bytes. `null` is text: as
/// JSON it would delete a value of the channel's state, and in a protocol without formats it is an
/// ordinary payload.
pub(crate) fn format_of(payload: &[u8]) -> Format {
    let Ok(text) = str::from_utf8(payload) else {
        return Format::Binary;
    };
    let begins_json =
        |byte: &u8| matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f');
    let is_json = text
        .trim_ascii()
        .as_bytes()
        .first()
        .is_some_and(begins_json)
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
        && is_shallow(text);
    if is_json { Format::Json } else { Format::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_a_payload_is_json_else_text_else_binary() {
        for (payload, format) in [
            (&b"{\"a\":1}"[..], Format::Json),
            (b" [1, 2]\n", Format::Json),
            (b"21.5", Format::Json),
            (b"on", Format::Text),
            (b"", Format::Text),
            (b"{", Format::Text),
            (b"null", Format::Text),
            ("grün".as_bytes(), Format::Text),
            (b"\"\xff\"", Format::Binary),
        ] {
            assert_eq!(format_of(payload), format, "{payload:?}");
        }
        let deep = [vec![b'['; 65], vec![b']'; 65]].concat();
        assert_eq!(format_of(&deep), Format::Text);
    }
}
