//! NATS, with and without JetStream's acknowledgements.

use std::str;

use anyhow::{Context as _, Result};
use memchr::memmem;

use super::{Dialect, Part, Unit, Word};

/// The name and subjects of a channel's stream: one for all channels, or one for each.
/// `max_msgs_per_subject` is the same kind of limit as our channels have.
fn stream(part: &Part) -> (String, String) {
    let (name, subjects) = match part.dialect {
        Dialect::JetStreams => (part.channel.replace('.', "_"), part.channel.as_str()),
        _ => ("bench".into(), "bench.>"),
    };
    let configuration = format!(
        r#"{{"name":"{name}","subjects":["{subjects}"],"retention":"limits","storage":"file","num_replicas":1,"discard":"old","max_msgs_per_subject":10000,"allow_direct":true}}"#
    );
    (name, configuration)
}

/// The subject of answers: each connection subscribes only to its own.
pub(super) fn inbox(part: &Part, number: usize) -> String {
    format!("_INBOX.{}.{}.{number} ", std::process::id(), part.number)
}

pub(super) fn read_history(part: &Part, position: &str, limit: usize) -> Vec<u8> {
    let channel = &part.channel;
    let request = format!(r#"{{"seq":{position},"batch":{limit},"next_by_subj":"{channel}"}}"#);
    let (stream, _) = stream(part);
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    publish(&subject, &inbox(part, 0), request.as_bytes())
}

/// Publishes with a reply subject or without one.
pub(super) fn publish(subject: &str, reply: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("PUB {subject} {reply}{}\r\n", payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
    out
}

pub(super) fn hear(part: &Part, unit: &Unit<'_>) -> Result<Word> {
    let jetstream = part.dialect != Dialect::Nats;
    Ok(match unit.head {
        [b'I', b'N', b'F', b'O', ..] => Word::Say(introduction(part)),
        b"PING" => Word::Say(b"PONG\r\n".to_vec()),
        b"PONG" if jetstream => {
            let (stream, configuration) = stream(part);
            let subject = format!("$JS.API.STREAM.CREATE.{stream}");
            Word::Say(publish(&subject, &inbox(part, 0), configuration.as_bytes()))
        }
        b"PONG" => Word::Ready,
        [b'M', b'S', b'G', ..] if jetstream => answer(unit)?,
        [b'M', b'S', b'G', ..] => Word::Publication,
        // ADR-31: a status without a body ends a batch.
        [b'H', b'M', b'S', b'G', ..] if unit.body.starts_with(b"NATS/1.0 204") => {
            Word::Page(0, true)
        }
        [b'H', b'M', b'S', b'G', ..] if unit.body.starts_with(b"NATS/1.0\r\n") => {
            Word::Page(1, false)
        }
        _ => Word::Refused(String::from_utf8_lossy(&[unit.head, unit.body].concat()).into_owned()),
    })
}

fn introduction(part: &Part) -> Vec<u8> {
    let subscription = match part.dialect {
        Dialect::JetStream | Dialect::JetStreams => {
            let (process, connection) = (std::process::id(), part.number);
            format!("SUB _INBOX.{process}.{connection}.* 1\r\n")
        }
        _ if part.subscribes => format!("SUB {} 1\r\n", part.channel),
        _ => String::new(),
    };
    format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\
         \"no_responders\":true,\"echo\":true}}\r\n{subscription}PING\r\n"
    )
    .into_bytes()
}

fn answer(unit: &Unit<'_>) -> Result<Word> {
    if memmem::find(unit.body, br#""error""#).is_some() {
        return Ok(Word::Refused(
            String::from_utf8_lossy(unit.body).into_owned(),
        ));
    }
    if memmem::find(unit.body, br#""config""#).is_some() {
        return Ok(Word::Ready);
    }
    let subject = unit.head.split(|byte| *byte == b' ').nth(1);
    let number = subject.and_then(|subject| subject.rsplit(|byte| *byte == b'.').next());
    let number = str::from_utf8(number.context("an answer without a subject")?)?;
    Ok(Word::Taken(number.parse()?))
}
