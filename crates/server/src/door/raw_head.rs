//! Finds the client's origin, host and path in the head of a rejected handshake, for the log. The
//! head may be invalid in any way.

use super::Peer;
use crate::refused::Client;

/// Origin, host and path; empty if they were not found.
#[derive(Debug)]
pub(super) struct RawHead {
    origin: Option<String>,
    host: Option<String>,
    path: Option<String>,
}

impl RawHead {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            origin: field(bytes, "origin"),
            host: field(bytes, "host"),
            path: path(bytes),
        }
    }

    pub(super) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or_default()
    }

    pub(super) fn client(&self, peer: Peer) -> Client<'_> {
        Client {
            peer: Some(peer),
            origin: self.origin.as_deref(),
            path: self.path.as_deref(),
            ..Client::default()
        }
    }
}

/// The path of a request's first line, without the query.
fn path(head: &[u8]) -> Option<String> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let target = line.split(|byte| *byte == b' ').nth(1)?;
    let path = target.split(|byte| *byte == b'?').next()?;
    Some(String::from_utf8_lossy(path).into_owned())
}

/// The first field of this name.
fn field(head: &[u8], name: &str) -> Option<String> {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    let value = lines
        .take_while(|line| !line.trim_ascii().is_empty())
        .find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (found, value) = line.split_at(colon);
            let is_it = found.eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| value.get(1..)).flatten()
        })?;
    Some(String::from_utf8_lossy(value.trim_ascii()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_fields_are_found_in_any_head() {
        let head = b"GET /ws?token=secret HTTP/1.1\r\nHost: chat.example:8443\r\n\
                     ORIGIN:  https://chat.example:8443 \r\n\r\nOrigin: no";
        let found = RawHead::of(head);
        assert_eq!(found.path.as_deref(), Some("/ws"));
        assert_eq!(found.origin.as_deref(), Some("https://chat.example:8443"));
        assert_eq!(found.host(), "chat.example:8443");
        for broken in [&b""[..], b"\r\n", b"GET", b"\xff \xff\n:\n\n"] {
            assert_eq!(RawHead::of(broken).origin, None);
        }
    }
}
