//! Converts messages to publications and back. The headers of a message become the publication's
//! tags.

use offhook_engine::{Format, Key, MAX_TAG_TEXT, MAX_TAGS, PresenceChange, Publication, Tags};

use super::{
    destination::topic_of,
    frame::{Encoder, Frame, Invalid, Version},
};
use crate::{
    dialect::{Encoding, Payload, Shared},
    format::format_of,
};

const CONTENT_TYPE: &str = "content-type";
/// The header with the idempotency key.
const KEY: &str = "idempotency-key";

/// Headers of a SEND that are not part of the message.
const OF_SEND: &[&str] = &[
    "destination",
    "content-length",
    "transaction",
    "receipt",
    KEY,
];

/// Headers that the server sets in a MESSAGE. A tag with such a name is prefixed with `~`.
const OF_MESSAGE: &[&str] = &[
    "destination",
    "subscription",
    "message-id",
    "ack",
    "content-length",
    "receipt",
    "receipt-id",
    "transaction",
    "redelivered",
    "deliveries",
    "position",
    "timestamp",
    "user",
    "gap",
    KEY,
];

/// The tag that MQTT clients add, which has no meaning for STOMP.
const OF_MQTT: &str = "mqtt";

/// The content of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) format: Format,
    pub(super) tags: Tags,
    pub(super) key: Option<Key>,
}

/// The content of the publication that a SEND makes.
pub(super) fn content(frame: &Frame) -> Result<Content, Invalid> {
    let refuse = |detail: String| Invalid::new("bad header", detail).code(1008);
    let mut tags: Vec<(&str, &str)> = Vec::new();
    for (name, value) in &frame.headers {
        if OF_SEND.contains(&&**name) {
            continue;
        }
        let tag = name.strip_prefix('~').unwrap_or(name);
        // Of repeated headers, the first one counts: see `Frame::header`.
        if !tags.iter().any(|(known, _)| *known == tag) {
            tags.push((tag, value));
        }
    }
    let tags = Tags::new(tags).map_err(|_| {
        refuse(format!(
            "a message may have at most {MAX_TAGS} headers of its own, with names and values of \
             1 to {MAX_TAG_TEXT} bytes"
        ))
    })?;
    let key = frame.header(KEY).map(Key::new).transpose();
    Ok(Content {
        format: format_of(&frame.body),
        tags,
        key: key.map_err(|no| refuse(format!("{KEY}: {}", no.detail)))?,
    })
}

/// The parts of a MESSAGE that are not part of its publication.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) destination: &'a str,
    /// The subscription's id; `None` for messages that many subscriptions share.
    pub(super) subscription: Option<&'a str>,
    /// The id of the acknowledgement, if the message requires one.
    pub(super) ack: Option<&'a str>,
    /// The number of earlier deliveries.
    pub(super) earlier: u16,
}

/// The bytes of a MESSAGE, and where its first header begins.
pub(super) fn encode(
    publication: &Publication,
    envelope: &Envelope<'_>,
    version: Version,
) -> (Payload, usize) {
    let mut frame = Encoder::new("MESSAGE", version);
    let first = frame.len();
    if let Some(subscription) = envelope.subscription {
        frame.header("subscription", subscription);
    }
    let id = format!("{}.{}", publication.position.epoch.0, publication.sequence);
    match (envelope.ack, version) {
        (None, _) => frame.header("message-id", &id),
        (Some(ack), Version::V12) => {
            frame.header("message-id", &id);
            frame.header("ack", ack);
        }
        // 1.0 and 1.1 acknowledge by message id.
        (Some(ack), Version::V10 | Version::V11) => {
            frame.header("message-id", &format!("{id}-{ack}"));
        }
    }
    frame.header("destination", envelope.destination);
    if envelope.earlier > 0 {
        frame.header("redelivered", "true");
        frame.header(
            "deliveries",
            &envelope.earlier.saturating_add(1).to_string(),
        );
    }
    let content_type = publication.tags.get(CONTENT_TYPE);
    let by_format = match publication.format {
        Format::Json => "application/json",
        Format::Text => "text/plain;charset=utf-8",
        Format::Binary => "application/octet-stream",
    };
    frame.header(CONTENT_TYPE, content_type.unwrap_or(by_format));
    frame.header("timestamp", &publication.time_ms.to_string());
    frame.header("position", &publication.position.to_string());
    if let Some(publisher) = &publication.publisher
        && !publisher.user.is_empty()
    {
        frame.header("user", &publisher.user);
    }
    for (name, value) in publication.tags.iter() {
        if matches!(name, CONTENT_TYPE | OF_MQTT) {
            continue;
        }
        if OF_MESSAGE.contains(&name) || name.starts_with('~') {
            frame.header(&format!("~{name}"), value);
        } else {
            frame.header(name, value);
        }
    }
    (payload(frame.end(&publication.data)), first)
}

/// A frame as a message: as text if it is UTF-8, because browsers would otherwise receive bytes.
pub(super) fn payload(bytes: Vec<u8>) -> Payload {
    match String::from_utf8(bytes) {
        Ok(text) => Payload::Text(text),
        Err(error) => Payload::Binary(error.into_bytes()),
    }
}

/// The id of an acknowledgement in the message id of 1.0 and 1.1.
pub(super) fn ack_in(message_id: &str) -> &str {
    message_id.split_once('-').map_or("", |(_, ack)| ack)
}

/// Messages of one version of the protocol, for subscriptions that need no acknowledgements: they
/// share the bytes, except for the header with the id of the subscription.
#[derive(Debug)]
pub(super) struct Messages(Version);

pub(super) static V10: Messages = Messages(Version::V10);
pub(super) static V11: Messages = Messages(Version::V11);
pub(super) static V12: Messages = Messages(Version::V12);

impl Encoding for Messages {
    fn name(&self) -> &'static str {
        match self.0 {
            Version::V10 => "stomp 1.0",
            Version::V11 => "stomp 1.1",
            Version::V12 => "stomp 1.2",
        }
    }

    fn publication(&self, publication: &Publication) -> Shared {
        let envelope = Envelope {
            destination: &topic_of(&publication.channel),
            subscription: None,
            ack: None,
            earlier: 0,
        };
        let (message, head) = encode(publication, &envelope, self.0);
        Shared {
            head,
            ..Shared::whole(message)
        }
    }

    fn has_heads(&self) -> bool {
        true
    }

    fn presence(&self, _change: &PresenceChange) -> Option<Shared> {
        None
    }
}

#[cfg(test)]
mod tests {
    use offhook_engine::{ChannelName, Draft, Place, Position};

    use super::*;

    fn published(data: &'static [u8], content: Content) -> Publication {
        let draft = Draft {
            channel: ChannelName::new("c").unwrap(),
            data: data.into(),
            format: content.format,
            tags: content.tags,
            publisher: None,
            key: content.key,
            time_ms: 10_000,
        };
        draft.at(Place::after(Position::new(1, 6), 70))
    }

    fn read(payload: &Payload) -> Frame {
        let mut decoder = super::super::frame::Decoder::new(1000);
        decoder.set_version(Version::V12);
        decoder.push(payload.as_bytes());
        decoder.next_frame().unwrap().unwrap()
    }

    #[test]
    fn headers_survive_the_conversion_to_tags_and_back() {
        let sent = Frame::new("SEND")
            .with("destination", "/topic/c")
            .with("receipt", "1")
            .with("content-type", "text/x")
            .with("a:\n", "\\\r")
            .with("a:\n", "a second one does not count")
            .with("~user", "x")
            .with("~~y", "z")
            .with("idempotency-key", "k");
        let content = content(&sent).unwrap();
        assert_eq!(content.key, Some(Key::new("k").unwrap()));
        assert_eq!(content.tags.get("user"), Some("x"));
        let shared = V12.publication(&published(b"hi", content));
        let message = read(&shared.with_head(b"subscription:7\n"));
        assert_eq!(&*message.body, b"hi");
        for (name, value) in [
            ("subscription", "7"),
            ("message-id", "1.70"),
            ("destination", "/topic/c"),
            ("content-type", "text/x"),
            ("content-length", "2"),
            ("timestamp", "10000"),
            ("position", "1.7"),
            ("a:\n", "\\\r"),
            ("~user", "x"),
            ("~~y", "z"),
        ] {
            assert_eq!(message.header(name), Some(value), "{name}");
        }
    }

    #[test]
    fn a_body_that_is_no_utf_8_makes_a_binary_message() {
        let sent = Frame::new("SEND").body(&b"\xff"[..]);
        let content = content(&sent).unwrap();
        assert_eq!(content.format, Format::Binary);
        let shared = V11.publication(&published(b"\xff", content));
        assert!(matches!(shared.message, Payload::Binary(_)));
    }

    #[test]
    fn more_headers_than_tags_are_refused() {
        let many = (0..17).fold(Frame::new("SEND"), |frame, n| {
            frame.with(&n.to_string(), "")
        });
        assert_eq!(content(&many).unwrap_err().message, "bad header");
    }

    #[test]
    fn a_redelivered_message_says_how_often_it_was_delivered() {
        let content = content(&Frame::new("SEND")).unwrap();
        let envelope = Envelope {
            destination: "/queue/c",
            subscription: Some("s"),
            ack: Some("x-1"),
            earlier: 2,
        };
        let publication = published(b"", content);
        let message = read(&encode(&publication, &envelope, Version::V12).0);
        assert_eq!(message.header("redelivered"), Some("true"));
        assert_eq!(message.header("deliveries"), Some("3"));
        assert_eq!(message.header("ack"), Some("x-1"));
        let older = read(&encode(&publication, &envelope, Version::V11).0);
        assert_eq!(ack_in(older.header("message-id").unwrap()), "x-1");
    }
}
