//! graphql-transport-ws, with the schema of docs/dialects/graphql.md.

use anyhow::{Context as _, Result};
use memchr::memmem;

use super::{Part, Word, frame};

pub(super) fn connect() -> Vec<u8> {
    frame(1, br#"{"type":"connection_init"}"#)
}

/// The payload must be text that needs no escape.
pub(super) fn publication(channel: &str, number: usize, payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    let variables = format!(r#"{{"c":"{channel}","d":"{text}"}}"#);
    let query = "mutation($c:String!,$d:JSON!){publish(channel:$c,data:$d){offset}}";
    let operation = format!(
        r#"{{"id":"p{number}","type":"subscribe","payload":{{"query":"{query}","variables":{variables}}}}}"#
    );
    frame(1, operation.as_bytes())
}

pub(super) fn hear(part: &Part, body: &[u8]) -> Result<Word> {
    let start = memmem::find(body, br#""type":""#).context("a message without a type")?;
    let rest = &body[start + 8..];
    let end = memchr::memchr(b'"', rest).context("half a type")?;
    Ok(match &rest[..end] {
        b"connection_ack" if part.subscribes => {
            let channel = &part.channel;
            let query = format!(r#"subscription{{channel(name:\"{channel}\"){{data}}}}"#);
            let subscribe =
                format!(r#"{{"id":"1","type":"subscribe","payload":{{"query":"{query}"}}}}"#);
            // There is no answer to a subscription: the pong says that it was processed.
            Word::Say(
                [
                    frame(1, subscribe.as_bytes()),
                    frame(1, br#"{"type":"ping"}"#),
                ]
                .concat(),
            )
        }
        b"connection_ack" | b"pong" => Word::Ready,
        b"next" if part.subscribes => Word::Publication,
        b"next" | b"complete" => Word::Nothing,
        b"ping" => Word::Say(frame(1, br#"{"type":"pong"}"#)),
        _ => Word::Refused(String::from_utf8_lossy(body).into_owned()),
    })
}
