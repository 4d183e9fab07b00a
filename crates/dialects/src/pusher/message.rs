//! Parses clients' messages.

use std::borrow::Cow;

use bytes::Bytes;
use offhook_engine::{ErrorCode, Refusal};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::json::{MAX_NESTING, is_object, is_shallow};

/// The maximum length of `user_info` in bytes. 1 KiB: the limit of the original service, since it
/// is sent to every member.
const MAX_USER_INFO: usize = 1024;
/// The maximum length of a user's id in bytes. 128: it is sent with each of the user's events.
const MAX_USER_ID: usize = 128;

/// A message of a client.
#[derive(Debug)]
pub(super) enum Said {
    Ping,
    /// The answer to a ping; this server sends none.
    Pong,
    Subscribe(Subscribe),
    Unsubscribe {
        channel: String,
    },
    SignIn(SignIn),
    /// An event for others in the channel.
    Event {
        name: String,
        channel: String,
        /// Any JSON.
        data: Bytes,
    },
}

#[derive(Debug, Deserialize)]
pub(super) struct Subscribe {
    pub(super) channel: String,
    #[serde(default)]
    pub(super) auth: Option<String>,
    #[serde(default)]
    pub(super) channel_data: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SignIn {
    pub(super) auth: String,
    pub(super) user_data: String,
}

#[derive(Deserialize)]
struct Unsubscribe {
    channel: String,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Reads a message.
pub(super) fn read(text: &str) -> Result<Said, Refusal> {
    if !is_object(text) {
        return Err(bad("expected a JSON object with `event` and `data`"));
    }
    let wire: Wire<'_> =
        serde_json::from_str(text).map_err(|error| bad(format!("not a message: {error}")))?;
    let data = wire.data.map_or("", RawValue::get);
    Ok(match &*wire.event {
        "pusher:ping" => Said::Ping,
        "pusher:pong" => Said::Pong,
        "pusher:subscribe" => Said::Subscribe(fields(&wire.event, data)?),
        "pusher:unsubscribe" => {
            let Unsubscribe { channel } = fields(&wire.event, data)?;
            Said::Unsubscribe { channel }
        }
        "pusher:signin" => Said::SignIn(fields(&wire.event, data)?),
        event if event.starts_with("client-") => {
            let channel = wire.channel;
            let channel =
                channel.ok_or_else(|| bad(format!("{}: channel: is missing", shown(event))))?;
            if !is_shallow(data) {
                let detail = format!(
                    "{}: data: is nested deeper than {MAX_NESTING} levels",
                    shown(event)
                );
                return Err(bad(detail));
            }
            let data = if data.is_empty() { "null" } else { data };
            Said::Event {
                name: event.to_owned(),
                channel: channel.into_owned(),
                data: Bytes::copy_from_slice(data.as_bytes()),
            }
        }
        unknown => {
            let detail = format!(
                "{}: unknown; expected pusher:subscribe, pusher:unsubscribe, pusher:signin, \
                 pusher:ping, or a name that begins with client-",
                shown(unknown)
            );
            return Err(bad(detail));
        }
    })
}

/// The beginning of a text from a client.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    format!("{start:?}")
}

/// The fields of `data`, which is an object or, from some clients, a string that contains one.
fn fields<T: for<'a> Deserialize<'a>>(event: &str, data: &str) -> Result<T, Refusal> {
    let wrong = |error: &serde_json::Error| bad(format!("{event}: data: {error}"));
    let text = if data.starts_with('"') {
        serde_json::from_str::<String>(data).map_err(|error| wrong(&error))?
    } else {
        data.to_owned()
    };
    if !is_object(&text) {
        return Err(bad(format!("{event}: data: expected an object")));
    }
    serde_json::from_str(&text).map_err(|error| wrong(&error))
}

/// The member in the `channel_data` of a subscription to a presence channel.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: String,
    /// One JSON value, or nothing.
    pub(super) info: Bytes,
}

#[derive(Deserialize)]
struct MemberFields<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
}

/// Reads `channel_data`.
pub(super) fn member(channel_data: &str) -> Result<Member, Refusal> {
    if !is_object(channel_data) {
        return Err(bad("channel_data: expected an object with user_id"));
    }
    let fields: MemberFields<'_> = serde_json::from_str(channel_data)
        .map_err(|error| bad(format!("channel_data: {error}")))?;
    let info = fields.user_info.map_or("", RawValue::get);
    if info.len() > MAX_USER_INFO || !is_shallow(info) {
        let detail = format!(
            "channel_data: user_info: longer than {MAX_USER_INFO} bytes, or nested deeper than \
             {MAX_NESTING}"
        );
        return Err(bad(detail));
    }
    Ok(Member {
        id: user_id(fields.user_id, "channel_data: user_id")?,
        info: Bytes::copy_from_slice(info.as_bytes()),
    })
}

/// Whether `channel_data` has the form that it must have.
pub(super) fn is_member_data(channel_data: &str) -> bool {
    is_object(channel_data) && serde_json::from_str::<IgnoredAny>(channel_data).is_ok()
}

#[derive(Deserialize)]
struct UserFields<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// The id in `user_data`.
pub(super) fn user(user_data: &str) -> Result<String, Refusal> {
    if !is_object(user_data) {
        return Err(bad("user_data: expected an object with id"));
    }
    let fields: UserFields<'_> =
        serde_json::from_str(user_data).map_err(|error| bad(format!("user_data: {error}")))?;
    user_id(fields.id, "user_data: id")
}

/// A string, or a number as its digits.
fn user_id(raw: &RawValue, field: &str) -> Result<String, Refusal> {
    let json = raw.get();
    let text = if json.starts_with('"') {
        serde_json::from_str(json).map_err(|error| bad(format!("{field}: {error}")))?
    } else if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        json.to_owned()
    } else {
        return Err(bad(format!("{field}: expected a string or a number")));
    };
    if text.is_empty() || text.len() > MAX_USER_ID {
        let len = text.len();
        let detail = format!("{field}: {len} bytes; the limit is 1 to {MAX_USER_ID}");
        return Err(bad(detail));
    }
    if text.chars().any(char::is_control) {
        return Err(bad(format!("{field}: has a control character")));
    }
    Ok(text)
}

pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, detail)
}
