//! The methods: from a request's parameters to commands.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use bytes::Bytes;
use data_encoding::BASE64;
use offhook_engine::{
    ChannelName, Command, Epoch, Filter, Format, Key, Position, Refusal, Since, Subscribe, Tags,
    Target,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    answer::Failure,
    message::{Params, Request},
};
use crate::json::{MAX_NESTING, is_shallow};

/// The maximum number of events in one `rpc.on` or `rpc.off`; each is a channel.
pub(super) const MAX_EVENTS: usize = 64;
/// Bytes of a backend method's name.
const MAX_METHOD: usize = 200;
/// The default limit of `history`.
const HISTORY: u32 = 100;

const METHODS: &str = "subscribe, unsubscribe, publish, history, state, presence, ack, receipts, \
                       call, ping, rpc.login, rpc.on and rpc.off";

/// The name of an event, and the channel that it names, if it is a valid name.
pub(crate) type Event = (Box<str>, Option<ChannelName>);

/// The meaning of a request.
#[derive(Debug)]
pub(crate) enum Ask {
    /// One command.
    Do(Command),
    /// A subscription without a number yet, and the token for it, if there is one.
    Subscribe(Subscribe, Option<String>),
    /// Ends the subscription with this number.
    Unsubscribe(u32),
    /// Subscribes to these channels as events of rpc-websockets.
    On(Vec<Event>),
    /// Ends these.
    Off(Vec<Event>),
    /// The client's identity.
    Login(Option<String>),
}

impl Ask {
    /// Whether its effect outlasts the request.
    pub(crate) fn needs_a_connection(&self) -> bool {
        match self {
            Self::Do(_) => false,
            Self::Subscribe(..)
            | Self::Unsubscribe(_)
            | Self::On(_)
            | Self::Off(_)
            | Self::Login(_) => true,
        }
    }
}

/// The parameters of each method, in order, and those that have only a name.
const PARAMS: &[(&str, &[&str], &[&str])] = &[
    (
        "subscribe",
        &["channel", "since", "presence", "echo", "token"],
        &["filter"],
    ),
    ("unsubscribe", &["subscription"], &[]),
    ("publish", &["channel", "data", "key", "tags"], &["base64"]),
    ("history", &["channel", "since", "limit", "before"], &[]),
    ("state", &["channel", "since", "limit"], &[]),
    ("presence", &["channel"], &[]),
    ("ack", &["channel", "consumer", "position"], &[]),
    ("receipts", &["channel", "position"], &[]),
    (
        "call",
        &["method", "data", "deadline_ms", "key"],
        &["base64"],
    ),
    ("ping", &[], &[]),
    ("rpc.login", &["token"], &[]),
];

/// A parameter that would be ignored may be one that the client relies on.
fn all_are_known(request: &Request<'_>) -> Result<(), Failure> {
    let known = PARAMS.iter().find(|(method, ..)| *method == request.method);
    let Some((_, ordered, named_only)) = known else {
        return Ok(());
    };
    let expected = || match ordered.is_empty() {
        true => "there are none".to_owned(),
        false => format!("there are {}", [*ordered, *named_only].concat().join(", ")),
    };
    match &request.params {
        Params::None => Ok(()),
        Params::List(given) if given.len() <= ordered.len() => Ok(()),
        Params::List(given) => Err(Failure::invalid_params(format!(
            "params: {} were given in order, and the method has {}",
            given.len(),
            ordered.len()
        ))),
        Params::Named(given) => {
            let is_known = |name: &str| ordered.contains(&name) || named_only.contains(&name);
            match given.keys().find(|name| !is_known(name)) {
                None => Ok(()),
                Some(unknown) => {
                    let shown: String = unknown.chars().take(40).collect();
                    let detail = format!("params: {shown:?} is unknown; {}", expected());
                    Err(Failure::invalid_params(detail))
                }
            }
        }
    }
}

/// Decodes a request's method and parameters, and refuses parameters that the method does not have.
pub(super) fn read_strictly(request: &Request<'_>) -> Result<Ask, Failure> {
    all_are_known(request)?;
    read(request)
}

/// Decodes a request's method and parameters.
pub(crate) fn read(request: &Request<'_>) -> Result<Ask, Failure> {
    let params = &request.params;
    Ok(match &*request.method {
        "subscribe" => Ask::Subscribe(subscribe(params)?, optional(params, "token", 4)?),
        "unsubscribe" => Ask::Unsubscribe(required(params, "subscription", 0)?),
        "publish" => Ask::Do(publish(params)?),
        "history" => Ask::Do(history(params)?),
        "state" => Ask::Do(Command::State {
            channel: channel(params)?,
            after: place(params, "since", 1)?,
            limit: optional(params, "limit", 2)?.unwrap_or(HISTORY),
        }),
        "presence" => Ask::Do(Command::Presence {
            channel: channel(params)?,
        }),
        "ack" => Ask::Do(Command::Ack {
            channel: channel(params)?,
            consumer: key(
                &required::<Cow<'_, str>>(params, "consumer", 1)?,
                "consumer",
            )?,
            position: place(params, "position", 2)?,
        }),
        "receipts" => Ask::Do(Command::Receipts {
            channel: channel(params)?,
            position: place(params, "position", 1)?
                .ok_or_else(|| Failure::invalid_params("position: is missing"))?,
        }),
        "call" => Ask::Do(call(params)?),
        "ping" => Ask::Do(Command::Ping),
        "rpc.login" => Ask::Login(optional(params, "token", 0)?),
        "rpc.on" => Ask::On(events(params)?),
        "rpc.off" => Ask::Off(events(params)?),
        unknown => return Err(Failure::method_not_found(unknown, METHODS)),
    })
}

fn subscribe(params: &Params<'_>) -> Result<Subscribe, Failure> {
    let target = match optional::<Cow<'_, str>>(params, "filter", usize::MAX)? {
        None => Target::from(channel(params)?),
        Some(_) if find(params, "channel", usize::MAX).is_some() => {
            let detail = "channel and filter: only one of them is allowed";
            return Err(Failure::invalid_params(detail));
        }
        Some(filter) => Filter::new(&filter)
            .map_err(|refusal| at("filter", &refusal))?
            .into(),
    };
    let since = since(params, "since", 1)?.unwrap_or(Since::Now);
    let wish = Subscribe::new(target, since);
    Ok(Subscribe {
        presence: optional(params, "presence", 2)?.unwrap_or(false),
        echo: optional(params, "echo", 3)?.unwrap_or(true),
        ..wish
    })
}

fn publish(params: &Params<'_>) -> Result<Command, Failure> {
    let channel = channel(params)?;
    let (data, format) = data(params, 1)?
        .ok_or_else(|| Failure::invalid_params("data and base64: both are missing"))?;
    let key = optional_key(params, 2)?;
    let tags: Option<BTreeMap<Cow<'_, str>, Cow<'_, str>>> = optional(params, "tags", 3)?;
    let tags = tags.iter().flatten();
    let tags = Tags::new(tags.map(|(name, value)| (&**name, &**value)));
    Ok(Command::Publish {
        channel,
        data,
        format,
        tags: tags.map_err(|refusal| at("tags", &refusal))?,
        key,
    })
}

fn history(params: &Params<'_>) -> Result<Command, Failure> {
    let limit = optional(params, "limit", 2)?.unwrap_or(HISTORY);
    if let Some(before) = place(params, "before", 3)? {
        return Ok(Command::HistoryBefore {
            channel: channel(params)?,
            before,
            limit,
        });
    }
    Ok(Command::History {
        channel: channel(params)?,
        since: since(params, "since", 1)?.unwrap_or(Since::Last(limit)),
        limit,
    })
}

fn call(params: &Params<'_>) -> Result<Command, Failure> {
    let method: Cow<'_, str> = required(params, "method", 0)?;
    if method.is_empty() || method.len() > MAX_METHOD {
        let len = method.len();
        let detail = format!("method: {len} bytes; the limit is 1 to {MAX_METHOD}");
        return Err(Failure::invalid_params(detail));
    }
    let (data, format) = data(params, 1)?.unwrap_or_default();
    let within: Option<u64> = optional(params, "deadline_ms", 2)?;
    Ok(Command::Call {
        method: (&*method).into(),
        data,
        format,
        within: within.map(Duration::from_millis),
        key: optional_key(params, 3)?,
    })
}

/// `data`, which is any JSON, or bytes as `base64`.
fn data(params: &Params<'_>, index: usize) -> Result<Option<(Bytes, Format)>, Failure> {
    let base64: Option<Cow<'_, str>> = optional(params, "base64", usize::MAX)?;
    match (find(params, "data", index), base64) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Failure::invalid_params(
            "data and base64: only one of them is allowed",
        )),
        (Some(data), None) if is_shallow(data.get()) => {
            let bytes = Bytes::copy_from_slice(data.get().as_bytes());
            Ok(Some((bytes, Format::Json)))
        }
        (Some(_), None) => {
            let detail = format!("data: nests deeper than {MAX_NESTING}");
            Err(Failure::invalid_params(detail))
        }
        (None, Some(text)) => match BASE64.decode(text.as_bytes()) {
            Ok(bytes) => Ok(Some((bytes.into(), Format::Binary))),
            Err(error) => Err(Failure::invalid_params(format!("base64: {error}"))),
        },
    }
}

/// The channels of `["a", "b"]`.
fn events(params: &Params<'_>) -> Result<Vec<Event>, Failure> {
    let Params::List(events) = params else {
        return Err(Failure::invalid_params(
            "params: expected an array of channels",
        ));
    };
    if events.is_empty() || events.len() > MAX_EVENTS {
        let count = events.len();
        let detail = format!("params: {count} channels; the limit is 1 to {MAX_EVENTS}");
        return Err(Failure::invalid_params(detail));
    }
    let mut names: Vec<Event> = Vec::with_capacity(events.len());
    for raw in events {
        let name: Cow<'_, str> = parsed(raw, "params")?;
        // A channel that is named twice is one channel.
        if !names.iter().any(|(known, _)| **known == *name) {
            names.push(((&*name).into(), ChannelName::new(&name).ok()));
        }
    }
    Ok(names)
}

fn channel(params: &Params<'_>) -> Result<ChannelName, Failure> {
    let name: Cow<'_, str> = required(params, "channel", 0)?;
    ChannelName::new(&name).map_err(|refusal| at("channel", &refusal))
}

fn key(text: &str, field: &'static str) -> Result<Key, Failure> {
    Key::new(text).map_err(|refusal| at(field, &refusal))
}

fn optional_key(params: &Params<'_>, index: usize) -> Result<Option<Key>, Failure> {
    let text = optional::<Cow<'_, str>>(params, "key", index)?;
    text.map(|text| key(&text, "key")).transpose()
}

fn place(
    params: &Params<'_>,
    name: &'static str,
    index: usize,
) -> Result<Option<Position>, Failure> {
    match since(params, name, index)? {
        None => Ok(None),
        Some(Since::Position(position)) => Ok(Some(position)),
        Some(Since::Now | Since::Start | Since::State | Since::Last(_)) => Err(
            Failure::invalid_params(format!("{name}: expected an epoch and an offset")),
        ),
    }
}

/// `"now"`, `"start"`, `"state"`, `{"last": 50}`, `{"epoch": "17", "offset": 4}` or `"17.4"`.
fn since(params: &Params<'_>, name: &'static str, index: usize) -> Result<Option<Since>, Failure> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given<'a> {
        Text(#[serde(borrow)] Cow<'a, str>),
        Position {
            #[serde(borrow)]
            epoch: Cow<'a, str>,
            offset: u64,
        },
        Last {
            last: u32,
        },
    }
    let Some(raw) = find(params, name, index) else {
        return Ok(None);
    };
    let unknown = || {
        Failure::invalid_params(format!(
            "{name}: \"now\", \"start\", \"state\", {{\"last\": 50}}, or a position as the server \
             gave it: {{\"epoch\": \"1700000000000000\", \"offset\": 42}}"
        ))
    };
    let given = serde_json::from_str(raw.get()).map_err(|_| unknown())?;
    Ok(Some(match given {
        Given::Last { last } => Since::Last(last),
        Given::Position { epoch, offset } => {
            let digits = epoch.bytes().all(|byte| byte.is_ascii_digit());
            let epoch = digits.then(|| epoch.parse().ok()).flatten();
            let epoch = Epoch(epoch.ok_or_else(unknown)?);
            Since::Position(Position { epoch, offset })
        }
        Given::Text(text) => match &*text {
            "now" => Since::Now,
            "start" => Since::Start,
            "state" => Since::State,
            position => Since::Position(position.parse().map_err(|_| unknown())?),
        },
    }))
}

/// A parameter by its name, or by its position in a list. `null` counts as missing, except for
/// data.
pub(crate) fn find<'a>(params: &Params<'a>, name: &str, index: usize) -> Option<&'a RawValue> {
    let found = match params {
        Params::None => None,
        Params::Named(named) => named.get(name).copied(),
        Params::List(list) => list.get(index).copied(),
    };
    found.filter(|raw| name == "data" || raw.get() != "null")
}

pub(crate) fn optional<'a, T: Deserialize<'a>>(
    params: &Params<'a>,
    name: &'static str,
    index: usize,
) -> Result<Option<T>, Failure> {
    let found = find(params, name, index);
    found.map(|raw| parsed(raw, name)).transpose()
}

pub(crate) fn required<'a, T: Deserialize<'a>>(
    params: &Params<'a>,
    name: &'static str,
    index: usize,
) -> Result<T, Failure> {
    let missing = || Failure::invalid_params(format!("{name}: is missing"));
    optional(params, name, index)?.ok_or_else(missing)
}

fn parsed<'a, T: Deserialize<'a>>(raw: &'a RawValue, name: &str) -> Result<T, Failure> {
    serde_json::from_str(raw.get())
        .map_err(|error| Failure::invalid_params(format!("{name}: {error}")))
}

fn at(field: &str, refusal: &Refusal) -> Failure {
    let detail = format!("{field}: {}", refusal.detail);
    Failure::refused(&Refusal::new(refusal.code, detail))
}
