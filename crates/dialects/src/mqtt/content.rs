//! Converts messages to publications and back. The properties of a message become the publication's
//! tags.

use bytes::Bytes;
use data_encoding::BASE64;
use offhook_engine::{CONFLATION_TAG, Format, Publication, Tags};

use super::{
    Reason,
    packet::{Properties, Publish, Qos, Version},
    topics::topic_of,
};
use crate::format::format_of;

/// The QoS of the PUBLISH, followed by `u` if its payload was declared to be UTF-8. Omitted for QoS
/// 2 without `u`, because a publication without this tag is delivered with up to QoS 2.
const MESSAGE: &str = "mqtt";
const CONTENT_TYPE: &str = "content-type";
const RESPONSE_TOPIC: &str = "response-topic";
/// Encoded as Base64.
const CORRELATION_DATA: &str = "correlation-data";
/// Seconds from the time of the publication.
const EXPIRY: &str = "expiry";

/// Tag names that do not stand for user properties. A user property with such a name is prefixed
/// with `~`, as is one named like the tag of the channel's state in a message that is not retained.
const RESERVED: &[&str] = &[
    MESSAGE,
    CONTENT_TYPE,
    RESPONSE_TOPIC,
    CORRELATION_DATA,
    EXPIRY,
];

/// The key under which a channel's state holds the retained message.
pub(super) const RETAINED: &str = "retained";

/// The data, format and tags of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) data: Bytes,
    pub(super) format: Format,
    pub(super) tags: Tags,
}

/// Why a message cannot be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uncarried {
    pub(super) reason: Reason,
    pub(super) why: &'static str,
}

/// Converts a message to the content of a publication.
pub(super) fn content(
    qos: Qos,
    retain: bool,
    payload: &Bytes,
    properties: Option<&Properties>,
) -> Result<Content, Uncarried> {
    let given = properties;
    let is_text = given.and_then(|given| given.payload_format) == Some(true);
    let format = format_of(payload);
    // 5.0 §3.3.2.3.2: the payload format may be checked.
    if is_text && format == Format::Binary {
        return Err(Uncarried {
            reason: Reason::PAYLOAD_FORMAT_INVALID,
            why: "the payload is declared to be UTF-8, but is not",
        });
    }
    let mut tags: Vec<(String, String)> = Vec::new();
    let mut tag = |name: &str, value: String| tags.push((name.to_owned(), value));
    if qos != Qos::ExactlyOnce || is_text {
        let utf8 = if is_text { "u" } else { "" };
        tag(MESSAGE, format!("{}{utf8}", qos.number()));
    }
    if let Some(given) = given {
        if let Some(content_type) = &given.content_type {
            tag(CONTENT_TYPE, content_type.to_string());
        }
        if let Some(topic) = &given.response_topic {
            if topic.is_empty() || topic.contains(['+', '#']) {
                return Err(Uncarried {
                    reason: Reason::TOPIC_NAME_INVALID,
                    why: "the response topic is empty or contains a wildcard",
                });
            }
            tag(RESPONSE_TOPIC, topic.to_string());
        }
        if let Some(data) = &given.correlation_data {
            tag(CORRELATION_DATA, BASE64.encode(data));
        }
        if let Some(seconds) = given.message_expiry {
            tag(EXPIRY, seconds.to_string());
        }
        for (name, value) in &given.user {
            // 5.0 §3.3.1.3: without the flag, nothing is retained.
            let is_key = &**name == CONFLATION_TAG && !retain;
            let tilde = if is_key || is_reserved(name) { "~" } else { "" };
            tag(&format!("{tilde}{name}"), value.to_string());
        }
    }
    let has_key = tags.iter().any(|(name, _)| name == CONFLATION_TAG);
    if retain && !has_key {
        tags.push((CONFLATION_TAG.to_owned(), RETAINED.to_owned()));
    }
    let tags = Tags::new(tags.iter().map(|(name, value)| (&**name, &**value)));
    Ok(Content {
        data: payload.clone(),
        format,
        tags: tags.map_err(|_| Uncarried {
            reason: Reason::IMPLEMENTATION_SPECIFIC,
            why: "a message may have at most 16 properties, with names and values of at most 256 bytes",
        })?,
    })
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with('~')
}

/// A publication as a message, with the QoS that limits its delivery.
#[derive(Debug)]
pub(super) struct Message {
    /// Has QoS 0, and the publisher's retain flag.
    pub(super) publish: Publish,
    /// The QoS of the PUBLISH; QoS 2 if the publisher does not use MQTT.
    pub(super) qos: Qos,
}

/// Converts a publication to a message; none if it has expired at `now_ms`.
pub(super) fn message(publication: &Publication, version: Version, now_ms: u64) -> Option<Message> {
    let tags = &publication.tags;
    let said = tags.get(MESSAGE).unwrap_or("2");
    let number = said
        .as_bytes()
        .first()
        .map_or(2, |digit| digit.wrapping_sub(b'0'));
    let qos = Qos::new(number).unwrap_or(Qos::ExactlyOnce);
    let left = match tags.get(EXPIRY).map(str::parse::<u32>) {
        Some(Ok(seconds)) => Some(left_of(seconds, publication.time_ms, now_ms)?),
        Some(Err(_)) | None => None,
    };
    let properties = match version {
        Version::V3 => None,
        Version::V5 => properties(publication, said, left),
    };
    Some(Message {
        publish: Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: tags.get(CONFLATION_TAG).is_some(),
            topic: topic_of(&publication.channel).into(),
            packet_id: 0,
            properties,
            payload: publication.data.clone(),
        },
        qos,
    })
}

/// Whether a publication expires.
pub(super) fn expires(publication: &Publication) -> bool {
    publication.tags.get(EXPIRY).is_some()
}

/// Seconds until a message expires; none if it has expired. One that expires at once is delivered to those
/// who are there.
fn left_of(seconds: u32, since_ms: u64, now_ms: u64) -> Option<u32> {
    let past_ms = now_ms.saturating_sub(since_ms);
    let left_ms = u64::from(seconds)
        .saturating_mul(1000)
        .checked_sub(past_ms)?;
    if left_ms == 0 && past_ms > 0 {
        return None;
    }
    u32::try_from(left_ms.div_ceil(1000)).ok()
}

fn properties(publication: &Publication, said: &str, left: Option<u32>) -> Option<Box<Properties>> {
    if publication.tags.is_empty() && publication.format == Format::Binary {
        return None;
    }
    let mut all = Properties {
        message_expiry: left,
        payload_format: said.ends_with('u').then_some(true),
        ..Properties::default()
    };
    for (name, value) in publication.tags.iter() {
        match name {
            MESSAGE | EXPIRY => {}
            CONTENT_TYPE => all.content_type = Some(value.into()),
            RESPONSE_TOPIC => all.response_topic = topic_or_none(value),
            CORRELATION_DATA => {
                let data = BASE64.decode(value.as_bytes());
                all.correlation_data = data.ok().map(Bytes::from);
            }
            CONFLATION_TAG if value == RETAINED => {}
            name => {
                let name = name.strip_prefix('~').unwrap_or(name);
                all.user.push((without_nul(name), without_nul(value)));
            }
        }
    }
    (all != Properties::default()).then(|| Box::new(all))
}

/// A tag set by a client of another dialect can have any value: it is ignored unless it is a valid
/// topic name.
fn topic_or_none(value: &str) -> Option<Box<str>> {
    let is_topic = !value.is_empty() && !value.contains(['+', '#', '\0']);
    is_topic.then(|| value.into())
}

/// §1.5.4: a string of MQTT does not contain U+0000.
fn without_nul(text: &str) -> Box<str> {
    text.replace('\0', "\u{fffd}").into()
}

#[cfg(test)]
mod tests {
    use offhook_engine::{ChannelName, Draft, Place, Position};

    use super::*;

    fn published(content: Content) -> Publication {
        let draft = Draft {
            channel: ChannelName::new("c").unwrap(),
            data: content.data,
            format: content.format,
            tags: content.tags,
            publisher: None,
            key: None,
            time_ms: 10_000,
        };
        draft.at(Place::after(Position::new(1, 0), 1))
    }

    #[test]
    fn properties_of_a_5_0_message_survive_the_conversion_to_tags_and_back() {
        let given = Properties {
            payload_format: Some(true),
            message_expiry: Some(7),
            content_type: Some("text/plain".into()),
            response_topic: Some("answers".into()),
            correlation_data: Some(Bytes::from_static(&[0, 255])),
            user: vec![
                ("a".into(), "1".into()),
                ("a".into(), "2".into()),
                ("mqtt".into(), "x".into()),
                ("~x".into(), "y".into()),
            ],
            ..Properties::default()
        };
        let content = content(Qos::AtLeastOnce, true, &"hi".into(), Some(&given)).unwrap();
        assert_eq!(content.tags.get("mqtt"), Some("1u"));
        assert_eq!(content.tags.get(CONFLATION_TAG), Some(RETAINED));
        let message = message(&published(content), Version::V5, 12_500).unwrap();
        assert_eq!(message.qos, Qos::AtLeastOnce);
        assert!(message.publish.retain);
        let expected = Properties {
            message_expiry: Some(5),
            ..given
        };
        assert_eq!(message.publish.properties.as_deref(), Some(&expected));
    }

    #[test]
    fn a_message_without_the_retain_flag_is_not_retained_whatever_its_user_properties_are() {
        let given = Properties {
            user: vec![("key".into(), "a".into())],
            ..Properties::default()
        };
        let content = |retain| content(Qos::ExactlyOnce, retain, &"x".into(), Some(&given));
        assert_eq!(content(true).unwrap().tags.get(CONFLATION_TAG), Some("a"));
        let plain = content(false).unwrap();
        assert_eq!(plain.tags.get(CONFLATION_TAG), None);
        let message = message(&published(plain), Version::V5, 10_000).unwrap();
        assert!(!message.publish.retain);
        assert_eq!(message.publish.properties.as_deref(), Some(&given));
    }

    #[test]
    fn an_expired_message_is_not_delivered() {
        let given = Properties {
            message_expiry: Some(2),
            ..Properties::default()
        };
        let content = content(Qos::AtMostOnce, false, &"x".into(), Some(&given)).unwrap();
        let publication = published(content);
        assert!(message(&publication, Version::V3, 11_999).is_some());
        assert!(message(&publication, Version::V3, 12_000).is_none());
    }

    #[test]
    fn a_payload_declared_as_utf_8_that_is_not_is_refused() {
        let given = Properties {
            payload_format: Some(true),
            ..Properties::default()
        };
        let payload = Bytes::from_static(&[0xff]);
        let refused = content(Qos::AtMostOnce, false, &payload, Some(&given)).unwrap_err();
        assert_eq!(refused.reason, Reason::PAYLOAD_FORMAT_INVALID);
    }

    #[test]
    fn a_message_with_more_than_16_properties_is_refused() {
        let given = Properties {
            user: vec![("a".into(), "b".into()); 17],
            ..Properties::default()
        };
        let refused = content(Qos::ExactlyOnce, false, &"x".into(), Some(&given)).unwrap_err();
        assert_eq!(refused.reason, Reason::IMPLEMENTATION_SPECIFIC);
    }

    #[test]
    fn a_qos_2_message_without_properties_needs_no_tags() {
        let content = content(Qos::ExactlyOnce, false, &"x".into(), None).unwrap();
        assert!(content.tags.is_empty());
        let message = message(&published(content), Version::V5, 0).unwrap();
        assert_eq!(message.publish.properties, None);
    }
}
