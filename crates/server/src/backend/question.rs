//! Questions to the backend as JSON.

use std::{collections::BTreeMap, fmt::Write};

use data_encoding::BASE64;
use offhook_engine::{Draft, Format, Identity, SessionId, Target, Wish};

use crate::json_object::JsonObject;

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
    let mut object = match wish {
        // The server created it, so it is an object.
        Wish::Connect { facts } => serde_json::from_slice(facts).unwrap_or_default(),
        Wish::Subscribe { .. } | Wish::Publish { .. } | Wish::Call { .. } => JsonObject::default(),
    };
    object.set("type", kind(wish));
    match wish {
        Wish::Connect { .. } => {}
        Wish::Subscribe { target } => {
            let name = match target {
                Target::Channel(_) => "channel",
                Target::Filter(_) => "filter",
            };
            object.set(name, target.as_str());
        }
        Wish::Publish { draft } => set_publication(&mut object, draft),
        Wish::Call {
            method,
            data,
            format,
            key,
        } => {
            object.set("method", method);
            if !data.is_empty() {
                set_data(&mut object, data, *format);
            }
            if let Some(key) = key {
                object.set("key", key.as_str());
            }
        }
    }
    set_identity(&mut object, identity, session);
    object.text().into_bytes()
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

fn set_publication(object: &mut JsonObject, draft: &Draft) {
    object.set("channel", draft.channel.as_str());
    set_data(object, &draft.data, draft.format);
    let tags: BTreeMap<_, _> = draft.tags.iter().collect();
    if !tags.is_empty() {
        object.set("tags", tags);
    }
    if let Some(key) = &draft.key {
        object.set("key", key.as_str());
    }
}

fn set_data(object: &mut JsonObject, data: &[u8], format: Format) {
    match format {
        Format::Json => object.set_json("data", data),
        Format::Text => {
            object.set("data", String::from_utf8_lossy(data));
            object.set("format", "text");
        }
        Format::Binary => object.set("base64", BASE64.encode(data)),
    }
}

/// Adds the session, the user, and the info that other members see.
pub(super) fn set_identity(
    object: &mut JsonObject,
    identity: &Identity,
    session: Option<SessionId>,
) {
    if let Some(session) = session {
        object.set("session", session.to_string());
    }
    if !identity.user.is_empty() {
        object.set("user", &*identity.user);
    }
    object.set_json("info", &identity.info);
}
