//! Encodes publications, joins and leaves as events. Plain subscriptions in the main namespace
//! share one message; others get a message of their own.

use std::{borrow::Cow, fmt::Write};

use offhook_engine::{Format, Position, PresenceChange, Publication, SessionId};

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
pub(super) const EVENT_TAG: &str = "event";
/// The tag of a publication whose data is an array with the arguments of the event, if its value is
/// [`SEVERAL`]. Without it, the data is the only argument.
pub(super) const ARGUMENTS_TAG: &str = "arguments";
/// The value of [`ARGUMENTS_TAG`].
pub(super) const SEVERAL: &str = "several";
/// The tag of a publication that is not delivered to its publisher, if its value is [`OTHERS`].
pub(super) const TO_TAG: &str = "to";
/// The value of [`TO_TAG`].
pub(super) const OTHERS: &str = "others";

/// The form in which a connection receives publications.
#[derive(Debug)]
pub(super) struct Form {
    name: &'static str,
    /// Whether a publication with a tag `event` is delivered as an event of that name.
    has_names: bool,
    /// Whether each copy is decided by the connection: its events contain an offset of its own, or
    /// it does not receive its own broadcasts. Otherwise, all plain subscriptions in the main
    /// namespace receive the same bytes.
    has_heads: bool,
}

/// The form for a client with these wishes.
pub(super) fn form(has_names: bool, has_heads: bool) -> &'static Form {
    const fn of(name: &'static str, has_names: bool, has_heads: bool) -> Form {
        Form {
            name,
            has_names,
            has_heads,
        }
    }
    static PLAIN: Form = of("socket.io", false, false);
    static NAMES: Form = of("socket.io, names", true, false);
    static HEADS: Form = of("socket.io, heads", false, true);
    static BOTH: Form = of("socket.io, names, heads", true, true);
    match (has_names, has_heads) {
        (false, false) => &PLAIN,
        (true, false) => &NAMES,
        (false, true) => &HEADS,
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
            Some(name) => named(name, publication),
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
        self.has_heads
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

/// An event with this name, whose arguments are the data.
fn named(name: &str, publication: &Publication) -> String {
    let (name, data) = (json(name), data(publication));
    let several = publication.tags.get(ARGUMENTS_TAG) == Some(SEVERAL);
    let arguments = match publication.format {
        Format::Json if several => data.trim().strip_prefix('['),
        Format::Json | Format::Text | Format::Binary => None,
    };
    match arguments.and_then(|rest| rest.strip_suffix(']')) {
        Some(none) if none.trim().is_empty() => format!("[{name}]"),
        Some(arguments) => format!("[{name},{arguments}]"),
        None => format!("[{name},{data}]"),
    }
}

/// Whether a publication is for everybody but its publisher, which is this session.
pub(super) fn is_own_broadcast(publication: &Publication, session: Option<SessionId>) -> bool {
    let publisher = publication.publisher.as_ref();
    publication.tags.get(TO_TAG) == Some(OTHERS)
        && publisher.is_some_and(|publisher| Some(publisher.session) == session)
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
