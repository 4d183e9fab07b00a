//! Events as text: the format of the WHATWG's "Server-sent events".

use offhook_engine::{Position, Publication, Refusal, SubscriptionId, SubscriptionName, Target};

use crate::{
    json::Object,
    native::{publication_fields, refusal_fields},
};

/// A comment, which clients ignore and proxies count as traffic.
pub(super) const HEARTBEAT: &str = ":\n\n";

const EPOCH: &str = ",\"epoch\":";
const OFFSET: &str = ",\"offset\":";

/// An event that is being written.
pub(super) struct Event(String);

impl Event {
    /// An event without a name: a page's `onmessage` gets it.
    pub(super) const fn unnamed() -> Self {
        Self(String::new())
    }

    pub(super) fn named(name: &str) -> Self {
        Self(format!("event: {name}\n"))
    }

    pub(super) fn data(mut self, json: &str) -> Self {
        with_lines(&mut self.0, json);
        self
    }

    pub(super) fn id(mut self, id: &str) -> Self {
        self.0.push_str("id: ");
        self.0.push_str(id);
        self.0.push('\n');
        self
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('\n');
        self.0
    }
}

/// Appends a text as the data of an event. Each of its lines is a field: a published value may have
/// line breaks between its tokens, and a carriage return ends a line, too.
pub fn with_lines(out: &mut String, text: &str) {
    out.reserve(text.len().saturating_add(16));
    let mut rest = text;
    loop {
        out.push_str("data: ");
        let Some(end) = rest.find(['\n', '\r']) else {
            out.push_str(rest);
            out.push('\n');
            return;
        };
        let (line, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        let broken = after.strip_prefix("\r\n");
        rest = broken.unwrap_or_else(|| after.get(1..).unwrap_or_default());
    }
}

/// A comment of this many bytes.
pub(super) fn padding(bytes: usize) -> String {
    format!(":{}\n\n", " ".repeat(bytes))
}

/// A publication as JSON.
pub(super) fn publication(publication: &Publication) -> String {
    let position = publication.position;
    let object = Object::part()
        .text("channel", publication.channel.as_str())
        .raw("epoch", position.epoch.0)
        .raw("offset", position.offset);
    publication_fields(object, publication).end()
}

/// The position in the event of a publication; none in other events.
pub(super) fn position(text: &str) -> Option<Position> {
    if !text.starts_with("data: ") {
        return None;
    }
    // The only text before it is the channel's name, in which quotes are escaped.
    let (_, rest) = text.split_once(EPOCH)?;
    let (epoch, rest) = rest.split_once(OFFSET)?;
    let (offset, _) = rest.split_once(',')?;
    Some(Position::new(epoch.parse().ok()?, offset.parse().ok()?))
}

/// The event of a publication that is a value of its channel's state: without an id.
pub(super) fn state(text: &str) -> String {
    let text = text.replacen(EPOCH, &format!(",\"state\":true{EPOCH}"), 1);
    match text.rfind("\nid: ") {
        Some(at) => format!("{}\n\n", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// The gap of a client whose last event id does not belong to this subscription: what it misses is
/// unknown. `to` is where it continues if no retained messages follow.
pub(super) fn unknown_id(subscription: &SubscriptionName, to: Option<Position>) -> String {
    let object = named(Object::new("gap"), &subscription.target);
    let object = match subscription.id {
        Some(SubscriptionId(number)) => object.raw("subscription", number),
        None => object,
    };
    let object = match to {
        Some(to) => object.position("to", to),
        None => object,
    };
    object.text("reason", UNKNOWN_ID).end()
}

/// The reason of the gap after an unusable last event id. It is not one of the engine's
/// [`GapReason`](offhook_engine::GapReason)s, which are about positions.
const UNKNOWN_ID: &str = "unknown_id";

pub(super) fn refused(target: Option<&Target>, refusal: &Refusal) -> String {
    let object = Object::new("refused");
    let object = match target {
        Some(target) => named(object, target),
        None => object,
    };
    refusal_fields(object, refusal).end()
}

fn named(object: Object, target: &Target) -> Object {
    match target {
        Target::Channel(channel) => object.text("channel", channel.as_str()),
        Target::Filter(filter) => object.text("filter", filter.as_str()),
    }
}

/// The fields of one event, as a client reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Empty for a publication.
    pub name: String,
    /// Its data.
    pub data: String,
    /// Its id, if it has one.
    pub id: Option<String>,
}

impl Parsed {
    /// Reads the events in text written by this dialect, without comments; for serving a stream in
    /// another form.
    pub fn all(text: &str) -> impl Iterator<Item = Self> {
        let blocks = text.split("\n\n").map(Self::read);
        blocks.filter(|event| !event.data.is_empty())
    }

    fn read(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("data", data)) => {
                    if !event.data.is_empty() {
                        event.data.push('\n');
                    }
                    event.data.push_str(data);
                }
                Some(_) | None => {}
            }
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_data_is_a_field_for_every_kind_of_line_ending() {
        let mut out = String::new();
        with_lines(&mut out, "{\n1,\r\n2,\r3}");
        assert_eq!(out, "data: {\ndata: 1,\ndata: 2,\ndata: 3}\n");
        let event = Parsed::all(&format!("event: x\n{out}id: 7\n\n:\n\n")).next();
        let expected = Parsed {
            name: "x".to_owned(),
            data: "{\n1,\n2,\n3}".to_owned(),
            id: Some("7".to_owned()),
        };
        assert_eq!(event, Some(expected));
    }

    #[test]
    fn the_position_is_found_after_any_channel_name() {
        let text =
            "data: {\"channel\":\"a\\\",\\\"epoch\\\":9\",\"epoch\":17,\"offset\":4,\"x\":1}\n\n";
        assert_eq!(position(text), Some(Position::new(17, 4)));
        assert_eq!(position("event: join\ndata: {}\n\n"), None);
    }
}
