//! The fields of a client's message.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use data_encoding::BASE64;
use offhook_engine::{ChannelName, ErrorCode, Format, Position, Refusal, Since};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::value::RawValue;

use super::{
    decode::MAX_INFO,
    embedded::{Data, Json, Text, present, whole},
};
use crate::json::{MAX_NESTING, is_shallow};

/// All fields of all messages; the type determines which of them apply. Unknown fields are ignored,
/// so that newer clients can talk to older servers.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    pub(super) id: Option<u64>,
    #[serde(borrow)]
    pub(super) channel: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) channels: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(super) since: Option<Start<'a>>,
    #[serde(borrow)]
    pub(super) before: Option<Text<'a>>,
    pub(super) presence: Option<bool>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<Data<'a>>,
    #[serde(borrow)]
    pub(super) base64: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tags: Option<BTreeMap<Text<'a>, Text<'a>>>,
    #[serde(borrow)]
    pub(super) key: Option<Text<'a>>,
    #[serde(default, deserialize_with = "whole")]
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
    pub(super) info: Option<Json<'a>>,
    pub(super) lineage: Option<bool>,
    #[serde(borrow)]
    pub(super) filter: Option<Text<'a>>,
    #[serde(default, deserialize_with = "whole")]
    pub(super) subscription: Option<u32>,
    pub(super) echo: Option<bool>,
    #[serde(default, deserialize_with = "whole")]
    pub(super) window: Option<u32>,
    pub(super) cumulative: Option<bool>,
    #[serde(borrow)]
    pub(super) method: Option<Text<'a>>,
    pub(super) deadline_ms: Option<u64>,
    #[serde(borrow)]
    pub(super) subscription_positions: Option<BTreeMap<Text<'a>, Text<'a>>>,
}

pub(super) fn info(message: &Message<'_>) -> Result<Bytes, Refusal> {
    let text = message.info.map_or("", |info| info.0);
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
        (Some(Data::Json(json)), None) if is_shallow(json) => {
            Ok((Bytes::copy_from_slice(json.as_bytes()), Format::Json))
        }
        (Some(Data::Json(_)), None) => Err(bad(format!("data: nests deeper than {MAX_NESTING}"))),
        (Some(Data::Bytes(bytes)), None) => Ok((Bytes::copy_from_slice(bytes), Format::Binary)),
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

/// The value of `since`. In JSON it is read later, when the message's id is known.
pub(super) enum Start<'a> {
    Json(&'a RawValue),
    Given(Given<'a>),
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Given<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Last { last: u32 },
}

const SINCE: &str = "since: \"now\", \"start\", \"state\", {\"last\": 50} or a position like \"1700000000000000.42\"";

impl<'de: 'a, 'a> Deserialize<'de> for Start<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return <&RawValue>::deserialize(from).map(Self::Json);
        }
        let given = Given::deserialize(from).map(Self::Given);
        given.map_err(|_| D::Error::custom(SINCE))
    }
}

/// `"now"`, `"start"`, `"state"`, a position, or `{"last": 50}`.
pub(super) fn since(message: &Message<'_>, without: Since) -> Result<Since, Refusal> {
    let from_json: Given<'_>;
    let given = match &message.since {
        None => return Ok(without),
        Some(Start::Given(given)) => given,
        Some(Start::Json(raw)) => {
            from_json = serde_json::from_str(raw.get()).map_err(|_| bad(SINCE))?;
            &from_json
        }
    };
    match given {
        Given::Last { last } => Ok(Since::Last(*last)),
        Given::Text(text) => match &**text {
            "now" => Ok(Since::Now),
            "start" => Ok(Since::Start),
            "state" => Ok(Since::State),
            position => position.parse().map(Since::Position).map_err(at("since")),
        },
    }
}

pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, detail)
}

/// Prefixes a refusal with the field's name.
pub(super) fn at(field: &'static str) -> impl Fn(Refusal) -> Refusal {
    move |refusal| Refusal::new(refusal.code, format!("{field}: {}", refusal.detail))
}
