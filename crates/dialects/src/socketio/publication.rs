//! Publications, joins and leaves as events: one for all recipients of the main namespace, or with
//! what only one recipient has.

use std::fmt::Write;

use offhook_engine::{Format, Position, PresenceChange, Publication};

use super::{
    answer::PLACEHOLDER,
    packet::{Kind, MAIN, head},
};
use crate::{
    dialect::{Encoding, Payload, Shared},
    json::Object,
    jsonrpc::answer,
};

/// The encoding of connections that did not ask for recovery: whoever is subscribed in the main
/// namespace gets the same bytes.
#[derive(Debug)]
pub(super) struct Plain;

/// The encoding of connections that asked for recovery: every event has their own offset.
#[derive(Debug)]
pub(super) struct Recoverable;

impl Encoding for Plain {
    fn name(&self) -> &'static str {
        "socket.io"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        let is_binary = publication.format == Format::Binary;
        let data = |object: Object| match publication.format {
            Format::Binary => object.raw("data", PLACEHOLDER),
            Format::Json | Format::Text => {
                answer::content(object, &publication.data, publication.format)
            }
        };
        let json = answer::publication_with(publication, data);
        let head = head(Kind::Event, usize::from(is_binary), MAIN);
        let text = Payload::Text(format!("{head}[\"publication\",{json}]"));
        if !is_binary {
            return Shared::whole(text);
        }
        Shared {
            ahead: Some(text),
            ..Shared::whole(Payload::Binary(publication.data.to_vec()))
        }
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        let json = answer::presence(change);
        let head = head(Kind::Event, 0, MAIN);
        Some(Shared::whole(format!("{head}[\"presence\",{json}]")))
    }
}

impl Encoding for Recoverable {
    fn name(&self) -> &'static str {
        "socket.io with offsets"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        Plain.publication(publication)
    }

    fn has_heads(&self) -> bool {
        true
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        Plain.presence(change)
    }
}

/// What only one recipient has in an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    pub(super) namespace: &'a str,
    /// The number with which the client acknowledges it.
    pub(super) ack: Option<u64>,
    /// The position of a subscription to a filter.
    pub(super) at: Option<Position>,
    pub(super) state: bool,
    pub(super) redelivered: u16,
    pub(super) offset: Option<&'a str>,
}

/// The messages of an event for one recipient.
pub(super) fn own(shared: &Shared, own: &Own<'_>) -> Vec<Payload> {
    let (text, attachment) = match (&shared.ahead, &shared.message) {
        (Some(Payload::Text(text)), attachment) => (text, Some(attachment.clone())),
        (_, Payload::Text(text)) => (text, None),
        (_, Payload::Binary(_)) => return Vec::new(),
    };
    // Up to the first `{` there is nothing of the publication.
    let (_, array) = text.split_once('[').unwrap_or_default();
    let (name, fields) = array.split_once('{').unwrap_or_default();
    let fields = fields.strip_suffix(']').unwrap_or_default();
    let count = usize::from(attachment.is_some());
    let mut event = head(Kind::Event, count, own.namespace);
    event.reserve(text.len().saturating_add(own.offset.map_or(64, str::len)));
    // Writing to a string cannot fail.
    let mut write = |part: std::fmt::Arguments<'_>| {
        let _infallible = event.write_fmt(part);
    };
    if let Some(ack) = own.ack {
        write(format_args!("{ack}"));
    }
    write(format_args!("[{name}{{"));
    if let Some(at) = own.at {
        write(format_args!("\"at\":{},", answer::place(at)));
    }
    if own.state {
        write(format_args!("\"state\":true,"));
    }
    if own.redelivered > 0 {
        write(format_args!("\"redelivered\":{},", own.redelivered));
    }
    write(format_args!("{fields}"));
    if let Some(offset) = own.offset {
        write(format_args!(",\"{offset}\""));
    }
    write(format_args!("]"));
    let mut messages = vec![Payload::Text(event)];
    messages.extend(attachment);
    messages
}
