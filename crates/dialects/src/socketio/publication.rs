//! Encodes publications, joins and leaves as events. Plain subscriptions in the main namespace
//! share one message; others get a message of their own.

use std::{borrow::Cow, fmt::Write};

use offhook_engine::{Format, Position, PresenceChange, Publication};

use super::{
    answer::PLACEHOLDER,
    events::is_free,
    packet::{Kind, MAIN, head},
};
use crate::{
    dialect::{Encoding, Payload, Shared},
    json::json,
    jsonrpc::answer,
};

/// The tag that names the event as which a publication is delivered, if the client requested that.
const EVENT_TAG: &str = "event";

/// The form in which a connection receives publications.
#[derive(Debug)]
pub(super) struct Form {
    name: &'static str,
    /// Whether a publication with a tag `event` is delivered as an event of that name.
    has_names: bool,
    /// Whether every event contains the connection's own offset. Without offsets, all plain
    /// subscriptions in the main namespace receive the same bytes.
    has_offsets: bool,
}

/// The form that a client requested in its CONNECT.
pub(super) fn form(has_names: bool, has_offsets: bool) -> &'static Form {
    const fn of(name: &'static str, has_names: bool, has_offsets: bool) -> Form {
        Form {
            name,
            has_names,
            has_offsets,
        }
    }
    static PLAIN: Form = of("socket.io", false, false);
    static NAMES: Form = of("socket.io, names", true, false);
    static OFFSETS: Form = of("socket.io, offsets", false, true);
    static BOTH: Form = of("socket.io, names, offsets", true, true);
    match (has_names, has_offsets) {
        (false, false) => &PLAIN,
        (true, false) => &NAMES,
        (false, true) => &OFFSETS,
        (true, true) => &BOTH,
    }
}

impl Encoding for Form {
    fn name(&self) -> &'static str {
        self.name
    }

    fn publication(&self, publication: &Publication) -> Shared {
        let is_binary = publication.format == Format::Binary;
        let array = match event_of(publication).filter(|_| self.has_names) {
            Some(name) => format!("[{},{}]", json(name), data(publication)),
            None => {
                let fields = answer::publication_with(publication, |object| {
                    object.raw("data", data(publication))
                });
                format!("[\"publication\",{fields}]")
            }
        };
        let head = head(Kind::Event, usize::from(is_binary), MAIN);
        let text = Payload::Text(format!("{head}{array}"));
        if !is_binary {
            return Shared::whole(text);
        }
        Shared {
            ahead: Some(text),
            ..Shared::whole(Payload::Binary(publication.data.to_vec()))
        }
    }

    fn has_heads(&self) -> bool {
        self.has_offsets
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        let fields = answer::presence(change);
        let head = head(Kind::Event, 0, MAIN);
        Some(Shared::whole(format!("{head}[\"presence\",{fields}]")))
    }
}

/// The name in a publication's tag `event`, if it is allowed.
fn event_of(publication: &Publication) -> Option<&str> {
    let name = publication.tags.get(EVENT_TAG)?;
    is_free(name).then_some(name)
}

/// The data as an argument of an event.
fn data(publication: &Publication) -> Cow<'_, str> {
    match publication.format {
        Format::Json => String::from_utf8_lossy(&publication.data),
        Format::Text => json(&String::from_utf8_lossy(&publication.data)).into(),
        Format::Binary => PLACEHOLDER.into(),
    }
}

/// The parts of an event that differ between recipients.
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
    /// Whether the client receives publications with a tag `event` as events of that name.
    pub(super) has_names: bool,
}

/// The messages of an event for one recipient.
pub(super) fn own(shared: &Shared, own: &Own<'_>) -> Vec<Payload> {
    let (text, attachment) = match (&shared.ahead, &shared.message) {
        (Some(Payload::Text(text)), attachment) => (text, Some(attachment.clone())),
        (_, Payload::Text(text)) => (text, None),
        (_, Payload::Binary(_)) => return Vec::new(),
    };
    let (_, array) = text.split_once('[').unwrap_or_default();
    let array = array.strip_suffix(']').unwrap_or_default();
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
    let named = shared.publication.as_deref().and_then(event_of);
    if own.has_names && named.is_some() {
        // Only the data.
        write(format_args!("[{array}"));
    } else {
        // No part of the publication precedes the first `{`.
        let (name, fields) = array.split_once('{').unwrap_or_default();
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
    }
    if let Some(offset) = own.offset {
        write(format_args!(",\"{offset}\""));
    }
    write(format_args!("]"));
    let mut messages = vec![Payload::Text(event)];
    messages.extend(attachment);
    messages
}
