//! Encodes events: publications, and events of the server.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::BASE64;
use offhook_engine::{ErrorCode, Format, PresenceChange, Publication, Refusal};

use super::{
    members::{added, removed, user_came},
    names::{Kind, kind_of, name_of},
};
use crate::{
    dialect::{Encoding, Payload, Shared},
    json::{Object, json},
};

/// The tag with the name of a publication's event, as in Socket.IO.
pub const EVENT_TAG: &str = "event";
/// The value of the tag `key` of events in cache channels: each event replaces the previous one in
/// the channel's state.
pub const CACHE_KEY: &str = "event";
/// The maximum length of an event's name in bytes. 200: the original service allows 200 characters.
pub const MAX_EVENT_NAME: usize = 200;

/// The name of an event without a tag.
const UNNAMED: &str = "message";

/// The text before the channel's name, after the event's name.
const BEFORE_CHANNEL: &str = ",\"channel\":";

/// Checks the name of an event.
///
/// # Errors
/// If it is empty, too long, or reserved for the protocol.
pub fn check_event(name: &str) -> Result<(), Refusal> {
    let bad = |detail| Err(Refusal::new(ErrorCode::BadRequest, detail));
    if name.is_empty() || name.len() > MAX_EVENT_NAME {
        let len = name.len();
        return bad(format!(
            "name: {len} bytes; the limit is 1 to {MAX_EVENT_NAME}"
        ));
    }
    if is_reserved(name) {
        return bad(
            "name: names that begin with pusher: or pusher_internal: are reserved for the protocol"
                .into(),
        );
    }
    Ok(())
}

fn is_reserved(name: &str) -> bool {
    name.starts_with("pusher:") || name.starts_with("pusher_internal:")
}

/// The data of an event as the data of a publication: JSON if it is valid JSON, otherwise text.
#[must_use]
pub fn data_of(text: String) -> (Bytes, Format) {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
    let is_json = is_json && crate::json::is_shallow(&text);
    let format = if is_json { Format::Json } else { Format::Text };
    (text.into(), format)
}

/// The name of a publication's event. Clients of other dialects can use any tag, but not the names
/// that are reserved for the protocol.
fn name(publication: &Publication) -> &str {
    let name = publication.tags.get(EVENT_TAG);
    name.filter(|name| !name.is_empty() && !is_reserved(name))
        .unwrap_or(UNNAMED)
}

/// The data as a JSON string: in the protocol, data is always a string.
fn data(publication: &Publication) -> String {
    let text = String::from_utf8_lossy(&publication.data);
    match publication.format {
        Format::Json | Format::Text => json(&text),
        Format::Binary => json(&json(&BASE64.encode(&publication.data))),
    }
}

/// The field `user_id` of an event that a member of a presence channel sent; otherwise empty.
fn sender(prefix: &str, channel: &str, publication: &Publication) -> String {
    let publisher = publication.publisher.as_ref();
    let user = publisher.map_or("", |publisher| &publisher.user);
    let is_event = kind_of(channel) == Kind::Presence && name(publication).starts_with("client-");
    // Users that are not of the app have no id in it.
    match user.strip_prefix(prefix) {
        Some(id) if is_event && !id.is_empty() => format!(",\"user_id\":{}", json(id)),
        Some(_) | None => String::new(),
    }
}

/// The message of clients of an app without a prefix: the same for all of them.
#[derive(Debug)]
pub(super) struct Same;

impl Encoding for Same {
    fn name(&self) -> &'static str {
        "pusher"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        let message = message(publication, &own_part("", publication));
        Shared::whole(message)
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        presence("", change).map(Shared::whole)
    }

    fn is_counted(&self) -> bool {
        true
    }

    fn has_presence_heads(&self) -> bool {
        // A client is not told that it joined itself.
        true
    }
}

/// The message of clients of apps with prefixes: each has its own name for the channel.
#[derive(Debug)]
pub(super) struct Prefixed;

impl Encoding for Prefixed {
    fn name(&self) -> &'static str {
        "pusher with a prefix"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        let message = message(publication, "");
        let event = json(name(publication));
        Shared {
            head: "{\"event\":"
                .len()
                .saturating_add(event.len())
                .saturating_add(BEFORE_CHANNEL.len()),
            ..Shared::whole(message)
        }
    }

    fn has_heads(&self) -> bool {
        true
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        presence("", change).map(Shared::whole)
    }

    fn is_counted(&self) -> bool {
        true
    }
}

/// The part of an event that differs between apps: the channel and the publisher.
pub(super) fn own_part(prefix: &str, publication: &Publication) -> String {
    let channel = name_of(prefix, publication.channel.as_str()).unwrap_or_default();
    let sender = sender(prefix, &channel, publication);
    format!("{}{sender}", json(&channel))
}

fn message(publication: &Publication, own_part: &str) -> String {
    let event = json(name(publication));
    let data = data(publication);
    format!("{{\"event\":{event}{BEFORE_CHANNEL}{own_part},\"data\":{data}}}")
}

/// The event for a user that joined or left; none if the user has other sessions in the channel.
pub(super) fn presence(prefix: &str, change: &PresenceChange) -> Option<String> {
    let channel = name_of(prefix, change.channel.as_str())?;
    let (event, data) = match user_came(change)? {
        true => ("member_added", added(prefix, &change.member)),
        false => ("member_removed", removed(prefix, &change.member)),
    };
    Some(internal(event, &channel, &data))
}

/// An internal event of the protocol about a channel.
pub(super) fn internal(event: &str, channel: &str, data: &str) -> String {
    Object::part()
        .text("event", &format!("pusher_internal:{event}"))
        .text("channel", channel)
        .text("data", data)
        .end()
}

/// An event of the server about a channel, or about the connection.
pub(super) fn told(event: &str, channel: Option<&str>, data: &str) -> Payload {
    let object = Object::part().text("event", event);
    let object = match channel {
        Some(channel) => object.text("channel", channel),
        None => object,
    };
    object.text("data", data).end().into()
}

/// An event that has no data.
pub(super) fn bare(event: &str, channel: Option<&str>) -> Payload {
    let object = Object::part().text("event", event);
    match channel {
        Some(channel) => object.text("channel", channel).end().into(),
        None => object.raw("data", "{}").end().into(),
    }
}

/// `pusher:error`, with one of the protocol's codes or none.
pub(super) fn error(code: Option<u16>, message: &str) -> Payload {
    let data = Object::part().text("message", message);
    let data = match code {
        Some(code) => data.raw("code", code),
        None => data.raw("code", "null"),
    };
    let object = Object::part().text("event", "pusher:error");
    object.raw("data", data.end()).end().into()
}

/// `pusher:subscription_error`.
pub(super) fn subscription_error(channel: &str, refusal: &Refusal) -> Payload {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other code is an error of the request, or passes"
    )]
    let (kind, status) = match refusal.code {
        ErrorCode::Unauthenticated => ("AuthError", 401),
        ErrorCode::Forbidden | ErrorCode::Rejected => ("AuthError", 403),
        ErrorCode::RateLimited => ("LimitReached", 429),
        ErrorCode::TooManySubscriptions => ("LimitReached", 400),
        code if code.retry() == offhook_engine::Retry::Never => ("RequestError", 400),
        _ => ("ServerError", 503),
    };
    let data = Object::part()
        .text("type", kind)
        .text("error", &refusal.detail)
        .raw("status", status);
    Object::part()
        .text("event", "pusher:subscription_error")
        .text("channel", channel)
        .raw("data", data.end())
        .end()
        .into()
}

/// Data from the backend, as the data of an event.
pub(super) fn told_data(data: &[u8], format: Format) -> Cow<'_, str> {
    match format {
        Format::Json | Format::Text => String::from_utf8_lossy(data),
        Format::Binary => json(&BASE64.encode(data)).into(),
    }
}
