//! `offhook.v1.json`, as specified in docs/protocol.md.

use std::str;

use anyhow::{Context as _, Result};
use memchr::memmem;

use super::{Part, Word, frame};

pub(super) fn connect() -> Vec<u8> {
    frame(1, br#"{"type":"connect","id":1}"#)
}

pub(super) fn ping() -> Vec<u8> {
    frame(1, br#"{"type":"ping","id":3}"#)
}

/// The payload must be text that JSON does not escape.
pub(super) fn publication(channel: &str, number: usize, payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    let publish =
        format!(r#"{{"type":"publish","id":{number},"channel":"{channel}","data":"{text}"}}"#);
    frame(1, publish.as_bytes())
}

pub(super) fn read_history(channel: &str, position: &str, limit: usize) -> Vec<u8> {
    let history = format!(
        r#"{{"type":"history","id":4,"channel":"{channel}","since":"{position}","limit":{limit}}}"#
    );
    frame(1, history.as_bytes())
}

pub(super) fn hear(part: &Part, body: &[u8]) -> Result<Word> {
    let kind = text_after(body, br#""type":""#).context("a message without a type")?;
    Ok(match kind {
        "welcome" if part.subscribes => {
            let channel = &part.channel;
            let subscribe = format!(r#"{{"type":"subscribe","id":2,"channel":"{channel}"}}"#);
            Word::Say(frame(1, subscribe.as_bytes()))
        }
        "welcome" | "subscribed" => Word::Ready,
        "message" => Word::Publication,
        "published" => Word::Taken(number(body).context("an acknowledgement without an id")?),
        "history" => Word::Page(memmem::find_iter(body, br#""position":""#).count(), true),
        "pong" => Word::Pong,
        "catching_up" => Word::CatchingUp,
        "live" => Word::Live,
        "token" => Word::Nothing,
        _ => Word::Refused(String::from_utf8_lossy(body).into_owned()),
    })
}

/// The epoch of the first position in an acknowledgement.
pub(crate) fn epoch(body: &[u8]) -> Option<&str> {
    text_after(body, br#""position":""#)?.split('.').next()
}

fn text_after<'a>(body: &'a [u8], before: &[u8]) -> Option<&'a str> {
    let rest = &body[memmem::find(body, before)? + before.len()..];
    str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
}

fn number(body: &[u8]) -> Option<usize> {
    let rest = &body[memmem::find(body, br#""id":"#)? + 5..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    str::from_utf8(&rest[..end]).ok()?.parse().ok()
}
