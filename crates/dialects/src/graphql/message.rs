//! The messages of `graphql-transport-ws`.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::request::Request;
use crate::{
    dialect::Welcome,
    json::{Object, is_shallow, json},
    native::MAX_INFO,
};

/// The longest id of an operation in bytes; it is kept with a subscription, and part of each of its
/// messages.
pub(super) const MAX_ID: usize = 256;

/// A client's message.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Init {
        token: Option<String>,
        /// What members may see: one JSON value, or nothing.
        info: Bytes,
    },
    /// With its payload, which is JSON.
    Ping(Option<&'a str>),
    Pong,
    Subscribe {
        id: Cow<'a, str>,
        request: Request<'a>,
    },
    Complete {
        id: Cow<'a, str>,
    },
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// Reads a message. The error is the reason with which the connection is closed.
pub(super) fn read(text: &str) -> Result<Said<'_>, &'static str> {
    if !text.trim_start().starts_with('{') {
        return Err("the message is not a JSON object");
    }
    let fields: Fields<'_> =
        serde_json::from_str(text).map_err(|_| "the message is not JSON, or has a field twice")?;
    let payload = fields
        .payload
        .map(RawValue::get)
        .filter(|raw| *raw != "null");
    let of_object = |payload: Option<&str>| payload.is_none_or(|raw| raw.starts_with('{'));
    let no_object = "payload: expected an object or null";
    match fields.kind.as_deref() {
        Some("connection_init") if !of_object(payload) => Err(no_object),
        Some("connection_init") => init(payload),
        Some("ping" | "pong") if !of_object(payload) => Err(no_object),
        Some("ping") => Ok(Said::Ping(payload)),
        Some("pong") => Ok(Said::Pong),
        Some("subscribe") => Ok(Said::Subscribe {
            id: id(fields.id)?,
            request: Request::read(payload.ok_or("payload: is missing")?)?,
        }),
        Some("complete") => Ok(Said::Complete { id: id(fields.id)? }),
        Some(_) => Err("type: is none that a client sends in graphql-transport-ws"),
        None => Err("type: is missing"),
    }
}

fn id(raw: Option<&RawValue>) -> Result<Cow<'_, str>, &'static str> {
    let raw = raw.ok_or("id: is missing")?;
    let id: Cow<'_, str> = serde_json::from_str(raw.get()).map_err(|_| "id: expected text")?;
    match id.len() {
        1..=MAX_ID => Ok(id),
        _ => Err("id: it must have 1 to 256 bytes"),
    }
}

/// The token may be in `token`, in `authorization`, or there in `headers`, as clients that pass on
/// header fields have it.
fn init(payload: Option<&str>) -> Result<Said<'static>, &'static str> {
    type Given<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;
    let given: Given<'_> = match payload {
        Some(json) => serde_json::from_str(json).map_err(|_| "payload: is not JSON")?,
        None => Given::new(),
    };
    let find = |given: &Given<'_>, wanted: &str| {
        let mut fields = given.iter();
        let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let text = found.map(|(_, raw)| serde_json::from_str::<Option<String>>(raw.get()));
        text.transpose().map(Option::flatten)
    };
    let wrong = |_| "payload: expected text as token and authorization";
    let headers = given.get("headers").map(|raw| raw.get());
    let headers = headers.and_then(|json| serde_json::from_str::<Given<'_>>(json).ok());
    let mut token = find(&given, "token").map_err(wrong)?;
    for fields in [Some(&given), headers.as_ref()].into_iter().flatten() {
        if token.is_none() {
            token = find(fields, "authorization").map_err(wrong)?;
        }
    }
    let info = given.get("info").map_or("", |raw| raw.get());
    if info.len() > MAX_INFO || !is_shallow(info) {
        return Err("payload: info has more than 256 bytes, or nests deeper than 64");
    }
    Ok(Said::Init {
        token: token.map(|token| bare(&token).to_owned()),
        info: Bytes::copy_from_slice(info.as_bytes()),
    })
}

/// RFC 6750 §2.1: a token behind its scheme.
fn bare(token: &str) -> &str {
    match token.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        Some(_) | None => token,
    }
}

pub(super) fn acknowledged(welcome: &Welcome<'_>) -> String {
    let payload = Object::part().text("session", &welcome.session.to_string());
    let payload = payload.text_unless_empty("user", welcome.user);
    let payload = match welcome.expires_in {
        Some(time) => payload.raw("expiresInMs", time.as_millis()),
        None => payload,
    };
    Object::new("connection_ack")
        .raw("payload", payload.end())
        .end()
}

pub(super) fn pong(payload: Option<&str>) -> String {
    let message = Object::new("pong");
    match payload {
        Some(payload) => message.raw("payload", payload).end(),
        None => message.end(),
    }
}

/// What stands before the result of an operation.
pub(super) fn next_head(id: &str) -> String {
    format!("{{\"id\":{},\"type\":\"next\",\"payload\":", json(id))
}

pub(super) fn next(id: &str, result: &str) -> String {
    [&*next_head(id), result, "}"].concat()
}

/// `errors`: a list, as JSON.
pub(super) fn error(id: &str, errors: &str) -> String {
    format!(
        "{{\"id\":{},\"type\":\"error\",\"payload\":{errors}}}",
        json(id)
    )
}

pub(super) fn complete(id: &str) -> String {
    format!("{{\"id\":{},\"type\":\"complete\"}}", json(id))
}
