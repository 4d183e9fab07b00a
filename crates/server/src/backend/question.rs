//! Questions to the backend as JSON.

use std::fmt::Write;

use data_encoding::BASE64;
use offhook_engine::{Draft, Format, Identity, SessionId, Target, Wish};
use serde_json::{Value, json, value::RawValue};

/// A unique id for a request, by which a retry is recognized. 128 random bits.
pub(super) fn fresh_id() -> String {
    let random = crate::tokens::random_bytes::<16>().unwrap_or_default();
    let mut id = "msg_".to_owned();
    for byte in random {
        // Writing to a String does not fail.
        let _written = write!(id, "{byte:02x}");
    }
    id
}

/// The body of a question.
pub(super) fn body(wish: &Wish, identity: &Identity, session: Option<SessionId>) -> Vec<u8> {
    let mut value = match wish {
        // The server created it, so it is an object.
        Wish::Connect { facts } => serde_json::from_slice(facts).unwrap_or_else(|_| json!({})),
        Wish::Subscribe { target } => {
            let name = match target {
                Target::Channel(_) => "channel",
                Target::Filter(_) => "filter",
            };
            json!({ name: target.as_str() })
        }
        Wish::Publish { draft } => publication(draft),
        Wish::Call {
            method,
            data,
            format,
            key,
        } => {
            let mut value = json!({ "method": method });
            if !data.is_empty() {
                with_data(&mut value, data, *format);
            }
            if let Some(key) = key {
                value["key"] = key.as_str().into();
            }
            value
        }
    };
    value["type"] = kind(wish).into();
    with_identity(&mut value, identity, session);
    value.to_string().into_bytes()
}

/// The value of `type` for a question.
pub(super) const fn kind(wish: &Wish) -> &'static str {
    match wish {
        Wish::Connect { .. } => "connect",
        Wish::Subscribe { .. } => "subscribe",
        Wish::Publish { .. } => "publish",
        Wish::Call { .. } => "call",
    }
}

fn publication(draft: &Draft) -> Value {
    let mut value = json!({ "channel": draft.channel.as_str() });
    with_data(&mut value, &draft.data, draft.format);
    let tags = draft.tags.iter();
    let tags: serde_json::Map<_, _> = tags
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    if !tags.is_empty() {
        value["tags"] = tags.into();
    }
    if let Some(key) = &draft.key {
        value["key"] = key.as_str().into();
    }
    value
}

fn with_data(value: &mut Value, data: &[u8], format: Format) {
    match format {
        Format::Json => value["data"] = serde_json::from_slice(data).unwrap_or_default(),
        Format::Text => {
            value["data"] = String::from_utf8_lossy(data).into_owned().into();
            value["format"] = "text".into();
        }
        Format::Binary => value["base64"] = BASE64.encode(data).into(),
    }
}

/// Adds the session, the user, and the info that other members see.
pub(super) fn with_identity(value: &mut Value, identity: &Identity, session: Option<SessionId>) {
    if let Some(session) = session {
        value["session"] = session.to_string().into();
    }
    if !identity.user.is_empty() {
        value["user"] = (&*identity.user).into();
    }
    if let Ok(info) = serde_json::from_slice::<&RawValue>(&identity.info) {
        value["info"] = serde_json::from_str(info.get()).unwrap_or_default();
    }
}
