//! The fields of a server's messages, in JSON and in CBOR.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::embedded::{Data, Json, Text, present, whole};

/// All fields of all messages; the type determines which of them apply.
#[derive(Deserialize)]
pub(super) struct Fields<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    pub(super) id: Option<u64>,
    #[serde(borrow)]
    pub(super) channel: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) filter: Option<Text<'a>>,
    #[serde(default, deserialize_with = "whole")]
    pub(super) subscription: Option<u32>,
    #[serde(borrow)]
    pub(super) by: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) session: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) user: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) resume: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) position: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) previous: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) at: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) agreed: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<Data<'a>>,
    #[serde(borrow)]
    pub(super) base64: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) key: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tags: Option<BTreeMap<Text<'a>, Text<'a>>>,
    pub(super) time: Option<u64>,
    pub(super) live: Option<bool>,
    pub(super) state: Option<bool>,
    pub(super) more: Option<bool>,
    pub(super) duplicate: Option<bool>,
    #[serde(borrow)]
    pub(super) from: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) to: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) head: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) messages: Option<Vec<MessageFields<'a>>>,
    #[serde(borrow)]
    pub(super) gap: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) members: Option<Vec<MemberFields<'a>>>,
    pub(super) total: Option<u64>,
    pub(super) received: Option<u64>,
    pub(super) subscribers: Option<u64>,
    #[serde(borrow)]
    pub(super) sessions: Option<Vec<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) info: Option<Json<'a>>,
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) retry: Option<Text<'a>>,
    pub(super) retry_after_ms: Option<u64>,
    #[serde(borrow)]
    pub(super) backend: Option<Json<'a>>,
    pub(super) after_ms: Option<u64>,
}

/// A message of a history. Small, without optional fields that always take space: a hostile answer
/// must not turn few bytes into much memory.
#[derive(Deserialize)]
pub(super) struct MessageFields<'a> {
    #[serde(borrow)]
    pub(super) position: Text<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<Data<'a>>,
    #[serde(borrow)]
    pub(super) base64: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) user: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) session: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) key: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tags: Option<BTreeMap<Text<'a>, Text<'a>>>,
    pub(super) time: u64,
}

/// A member in a list.
#[derive(Deserialize)]
pub(super) struct MemberFields<'a> {
    #[serde(borrow)]
    pub(super) session: Text<'a>,
    #[serde(borrow)]
    pub(super) user: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) info: Option<Json<'a>>,
}

/// Only the type, for a message whose other fields may have another meaning on a newer server.
#[derive(Deserialize)]
pub(super) struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
}
