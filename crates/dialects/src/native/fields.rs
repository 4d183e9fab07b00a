//! The fields of a client's message.

use std::{borrow::Cow, collections::BTreeMap, fmt, ops::Deref};

use bytes::Bytes;
use data_encoding::BASE64;
use offhook_engine::{ChannelName, ErrorCode, Format, Position, Refusal, Since};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::decode::MAX_INFO;
use crate::json::{MAX_NESTING, is_shallow};

/// All fields of all messages; the type determines which of them apply. Unknown fields are ignored,
/// so that newer clients can talk to older servers.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) id: Option<u64>,
    #[serde(borrow)]
    pub(super) channel: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) channels: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) since: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) before: Option<Text<'a>>,
    pub(super) presence: Option<bool>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) base64: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tags: Option<BTreeMap<Text<'a>, Text<'a>>>,
    #[serde(borrow)]
    pub(super) key: Option<Text<'a>>,
    pub(super) limit: Option<u32>,
    #[serde(borrow)]
    pub(super) consumer: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) position: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) token: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) resume: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) positions: Option<BTreeMap<Text<'a>, Text<'a>>>,
    #[serde(borrow)]
    pub(super) info: Option<&'a RawValue>,
    pub(super) lineage: Option<bool>,
    #[serde(borrow)]
    pub(super) filter: Option<Text<'a>>,
    pub(super) subscription: Option<u32>,
    pub(super) echo: Option<bool>,
    pub(super) window: Option<u32>,
    pub(super) cumulative: Option<bool>,
    #[serde(borrow)]
    pub(super) method: Option<Text<'a>>,
    pub(super) deadline_ms: Option<u64>,
    #[serde(borrow)]
    pub(super) subscription_positions: Option<BTreeMap<Text<'a>, Text<'a>>>,
}

/// A text that is borrowed from the message, unless it contains escapes. Serde would copy a `Cow` that
/// is optional.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `null` is a value like any other to publish, not a missing field.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

pub(super) fn info(message: &Message<'_>) -> Result<Bytes, Refusal> {
    let text = message.info.map_or("", RawValue::get);
    if text.len() > MAX_INFO {
        return Err(bad(format!("info: more than {MAX_INFO} bytes")));
    }
    if !is_shallow(text) {
        return Err(bad(format!("info: nests deeper than {MAX_NESTING}")));
    }
    Ok(Bytes::copy_from_slice(text.as_bytes()))
}

pub(super) fn data(message: &Message<'_>) -> Result<(Bytes, Format), Refusal> {
    match (message.data, &message.base64) {
        (Some(data), None) if is_shallow(data.get()) => {
            Ok((Bytes::copy_from_slice(data.get().as_bytes()), Format::Json))
        }
        (Some(_), None) => Err(bad(format!("data: nests deeper than {MAX_NESTING}"))),
        (None, Some(text)) => match BASE64.decode(text.as_bytes()) {
            Ok(bytes) => Ok((bytes.into(), Format::Binary)),
            Err(error) => Err(bad(format!("base64: {error}"))),
        },
        (Some(_), Some(_)) => Err(bad("data and base64: only one of them is allowed")),
        (None, None) => Err(bad("data: is missing")),
    }
}

pub(super) fn channel(message: &Message<'_>) -> Result<ChannelName, Refusal> {
    let name = message
        .channel
        .as_ref()
        .ok_or_else(|| bad("channel: is missing"))?;
    ChannelName::new(name).map_err(at("channel"))
}

pub(super) fn position(message: &Message<'_>) -> Result<Option<Position>, Refusal> {
    let given = message.position.as_ref();
    let position = given.map(|text| text.parse().map_err(at("position")));
    position.transpose()
}

/// The position after which a channel's state is read on.
pub(super) fn after(message: &Message<'_>) -> Result<Option<Position>, Refusal> {
    match since(message, Since::Start)? {
        Since::Start if message.since.is_none() => Ok(None),
        Since::Position(position) => Ok(Some(position)),
        Since::Now | Since::Start | Since::State | Since::Last(_) => Err(bad(
            "since: the state is read on after a position like \"1700000000000000.42\"",
        )),
    }
}

/// `"now"`, `"start"`, `"state"`, a position, or `{"last": 50}`.
pub(super) fn since(message: &Message<'_>, without: Since) -> Result<Since, Refusal> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given<'a> {
        Text(#[serde(borrow)] Cow<'a, str>),
        Last { last: u32 },
    }
    let Some(raw) = message.since else {
        return Ok(without);
    };
    match serde_json::from_str(raw.get()) {
        Ok(Given::Last { last }) => Ok(Since::Last(last)),
        Ok(Given::Text(text)) => match &*text {
            "now" => Ok(Since::Now),
            "start" => Ok(Since::Start),
            "state" => Ok(Since::State),
            position => position.parse().map(Since::Position).map_err(at("since")),
        },
        Err(_) => Err(bad(
            "since: \"now\", \"start\", \"state\", {\"last\": 50} or a position like \"1700000000000000.42\"",
        )),
    }
}

pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, detail)
}

/// Prefixes a refusal with the field's name.
pub(super) fn at(field: &'static str) -> impl Fn(Refusal) -> Refusal {
    move |refusal| Refusal::new(refusal.code, format!("{field}: {}", refusal.detail))
}
