//! Decodes the client's events. Their fields have the same meaning as the parameters of the methods
//! of JSON-RPC.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use offhook_engine::{ChannelName, Command, ErrorCode, Filter, Format, Refusal, Subscribe, Target};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Settings, packet::Packet, rooms::RoomEvent};
use crate::{
    json::{MAX_NESTING, is_shallow},
    jsonrpc::{
        answer::Failure,
        message::{Params, Request},
        methods,
    },
};

const EVENTS: &str = "subscribe, unsubscribe, publish, history, state, presence, ack, receipts, \
                      call and refresh";

/// Names that are used by the dialect, in either direction, or reserved by the stock clients.
const TAKEN: &[&str] = &[
    "subscribe",
    "unsubscribe",
    "publish",
    "history",
    "state",
    "presence",
    "ack",
    "receipts",
    "call",
    "refresh",
    "publication",
    "members",
    "live",
    "gap",
    "catching_up",
    "own",
    "subscribed",
    "unsubscribed",
    "told",
    "expiring",
    "refused",
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// The maximum length of a custom event's name in bytes, the same as for a method of the backend.
const MAX_NAME: usize = 200;

/// Whether a name can be used for custom events.
pub(super) fn is_free(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !TAKEN.contains(&name)
}

/// The meaning of an event.
#[derive(Debug)]
pub(super) enum Ask {
    /// One command.
    Do(Command),
    /// A subscription without a number yet, and the token for it, if there is one.
    Subscribe(Subscribe, Option<String>),
    /// Ends the namespace's subscription to a channel or filter.
    Unsubscribe(Target),
    /// Joins or leaves a room, or is published in one.
    Room(RoomEvent),
    /// A newer token of the session's user.
    Refresh(String),
}

/// The name of an event, shortened for answers that repeat it.
pub(super) fn name(packet: &Packet) -> Box<str> {
    let first = |args: Vec<&RawValue>| args.first().map(|name| text_of(name).into_owned());
    let args = serde_json::from_str(&packet.json).ok();
    let name = args.and_then(first).unwrap_or_default();
    name.chars().take(40).collect()
}

/// Decodes an event. If its name is not one of the dialect's own, it belongs to a room if a rule
/// says so; otherwise it is a call of the backend, if the settings allow that.
pub(super) fn read(packet: &Packet, settings: &Settings) -> Result<Ask, Refusal> {
    let args: Vec<&RawValue> = serde_json::from_str(&packet.json)
        .map_err(|error| bad(format!("the event is not an array: {error}")))?;
    if let Some((name, rest)) = args.split_first()
        && let name = text_of(name)
        && is_free(&name)
    {
        let ask = match settings.rooms.find(&name) {
            Some((room, deed)) => Some(Ask::Room(RoomEvent::read(room, deed, &name, rest)?)),
            None if settings.calls_backend => Some(called(&name, rest)?),
            None => None,
        };
        if let Some(ask) = ask {
            return with_attachments(ask, &packet.attachments);
        }
    }
    let (name, argument) = match *args {
        [name] => (name, None),
        [name, argument] => (name, Some(argument)),
        _ => return Err(bad("an event takes one object with its fields")),
    };
    let name = text_of(name);
    let params = params(argument)?;
    let ask = match &*name {
        "unsubscribe" => Ask::Unsubscribe(target(&params)?),
        "refresh" => {
            Ask::Refresh(methods::required(&params, "token", ONLY_NAMED).map_err(refusal)?)
        }
        "subscribe" | "publish" | "history" | "state" | "presence" | "ack" | "receipts"
        | "call" => command(name, params)?,
        unknown => {
            let shown: String = unknown.chars().take(40).collect();
            return Err(bad(format!(
                "unknown event {shown:?}; expected one of {EVENTS}"
            )));
        }
    };
    with_attachments(ask, &packet.attachments)
}

/// A call of the backend. Its data is the argument, or an array if there is not exactly one.
fn called(name: &str, args: &[&RawValue]) -> Result<Ask, Refusal> {
    let data = match args {
        [argument] => argument.get().to_owned(),
        args => {
            let args: Vec<_> = args.iter().map(|argument| argument.get()).collect();
            format!("[{}]", args.join(","))
        }
    };
    if !is_shallow(&data) {
        return Err(bad(format!(
            "the arguments are nested deeper than {MAX_NESTING} levels"
        )));
    }
    Ok(Ask::Do(Command::Call {
        method: name.into(),
        data: data.into(),
        format: Format::Json,
        within: None,
        key: None,
    }))
}

/// Fields are found by their names.
const ONLY_NAMED: usize = usize::MAX;

fn command(name: Cow<'_, str>, params: Params<'_>) -> Result<Ask, Refusal> {
    let window: Option<u16> = methods::optional(&params, "window", ONLY_NAMED).map_err(refusal)?;
    let request = Request {
        id: None,
        method: name,
        params,
    };
    match methods::read(&request).map_err(refusal)? {
        methods::Ask::Do(command) => Ok(Ask::Do(command)),
        methods::Ask::Subscribe(wish, token) => Ok(Ask::Subscribe(
            match window {
                Some(0) => return Err(bad("window: 0; it must be at least 1")),
                Some(window) => wish.acknowledged(window),
                None => wish,
            },
            token,
        )),
        methods::Ask::Unsubscribe(_)
        | methods::Ask::On(_)
        | methods::Ask::Off(_)
        | methods::Ask::Login(_) => Err(bad("this event has no command")),
    }
}

/// An object with the fields, or a string with the name of the channel.
fn params(argument: Option<&RawValue>) -> Result<Params<'_>, Refusal> {
    let Some(argument) = argument else {
        return Ok(Params::None);
    };
    let json = argument.get();
    if json.starts_with('"') {
        let channel = [(Cow::Borrowed("channel"), argument)];
        return Ok(Params::Named(BTreeMap::from(channel)));
    }
    let fields = serde_json::from_str(json);
    fields
        .map(Params::Named)
        .map_err(|_| bad("an event takes one object with its fields"))
}

fn target(params: &Params<'_>) -> Result<Target, Refusal> {
    let filter: Option<Cow<'_, str>> =
        methods::optional(params, "filter", ONLY_NAMED).map_err(refusal)?;
    if let Some(filter) = filter {
        return Filter::new(&filter).map(Target::from);
    }
    let channel: Cow<'_, str> =
        methods::required(params, "channel", ONLY_NAMED).map_err(refusal)?;
    ChannelName::new(&channel).map(Target::from)
}

/// Puts an attachment in as the whole data of a publication or a call.
fn with_attachments(ask: Ask, attachments: &[Bytes]) -> Result<Ask, Refusal> {
    let [bytes] = attachments else {
        return match attachments.is_empty() {
            true => Ok(ask),
            false => Err(misplaced()),
        };
    };
    match ask {
        Ask::Do(Command::Publish {
            channel,
            data,
            tags,
            key,
            ..
        }) if is_placeholder(&data) => Ok(Ask::Do(Command::Publish {
            channel,
            data: bytes.clone(),
            format: Format::Binary,
            tags,
            key,
        })),
        Ask::Do(Command::Call {
            method,
            data,
            within,
            key,
            ..
        }) if is_placeholder(&data) => Ok(Ask::Do(Command::Call {
            method,
            data: bytes.clone(),
            format: Format::Binary,
            within,
            key,
        })),
        Ask::Room(mut event) if event.data().is_some_and(|data| is_placeholder(data)) => {
            event.replace_data(bytes);
            Ok(Ask::Room(event))
        }
        Ask::Do(_) | Ask::Subscribe(..) | Ask::Unsubscribe(_) | Ask::Room(_) | Ask::Refresh(_) => {
            Err(misplaced())
        }
    }
}

fn misplaced() -> Refusal {
    bad(
        "an attachment must be the whole `data` of `publish` or `call`, or the only argument of an \
         event, not a part of it",
    )
}

fn is_placeholder(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Placeholder {
        #[serde(rename = "_placeholder")]
        is_one: bool,
        num: u8,
    }
    let found = serde_json::from_slice::<Placeholder>(data);
    found.is_ok_and(|found| found.is_one && found.num == 0)
}

/// A string's text, or the JSON text of any other value.
pub(super) fn text_of(raw: &RawValue) -> Cow<'_, str> {
    serde_json::from_str(raw.get()).unwrap_or(Cow::Borrowed(raw.get()))
}

fn refusal(failure: Failure) -> Refusal {
    failure.into_refusal()
}

pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, detail)
}
