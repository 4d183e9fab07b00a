//! Decodes a client's messages into commands, or into errors that say what is wrong and where.

use std::time::Duration;

use bytes::Bytes;
use offhook_engine::{
    ChannelName, Command, CommandId, Filter, Flow, Format, Key, Position, Refusal, Since,
    Subscribe, SubscriptionId, SubscriptionKey, Tags, Target,
};
use serde::Deserialize;

use super::{
    cbor,
    embedded::Text,
    fields::{Message, after, at, bad, channel, data, info, position, since},
};
use crate::{dialect::Connect, json::is_object};

/// The maximum number of positions in one `connect`: more than fit into the longest message with
/// the default limit.
pub const MAX_POSITIONS: usize = 16_384;
/// The maximum number of channels in one `subscribe`: as many as the burst of commands.
pub const MAX_CHANNELS: usize = 256;
/// The maximum window of unacknowledged messages; a server's own limit may be lower.
pub const MAX_WINDOW: u16 = 10_000;
/// The maximum length of a method's name in bytes.
pub const MAX_METHOD: usize = 200;
/// The maximum length in bytes of a session's info: enough for a name and a colour. It is sent in
/// each join and leave, and once per member in each list.
pub const MAX_INFO: usize = 256;
/// The default limit of `history` and `state`.
const HISTORY: u32 = 100;
/// Numbers above this lose their last digits in JavaScript.
const MAX_ID: u64 = (1 << 53) - 1;

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first message of a connection, which identifies it.
    Connect(Connect),
    /// A command for the engine.
    Command {
        /// The id of the answer.
        id: CommandId,
        /// The command.
        command: Command,
    },
    /// A `subscribe` with several channels.
    SubscribeAll(SubscribeAll),
    /// A command for the engine, with a token that permits it.
    Granted {
        /// The id of the answer.
        id: CommandId,
        /// The token that permits it.
        token: String,
        /// The command.
        command: Command,
    },
    /// A newer token, before the present one expires.
    Refresh {
        /// The id of the answer.
        id: CommandId,
        /// The token.
        token: String,
    },
}

/// A `subscribe` with several channels. Each is answered separately, with ascending ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeAll {
    /// The id of the first channel's answer.
    pub id: CommandId,
    /// The channels, each with the position to start after, if it has its own; or why its name or
    /// its position is refused.
    pub channels: Vec<Result<(ChannelName, Option<Position>), Refusal>>,
    /// The start for channels without their own position.
    pub since: Since,
    /// Whether to report joins and leaves.
    pub presence: bool,
    /// Whether the session gets its own messages.
    pub echo: bool,
}

impl SubscribeAll {
    /// The commands, one for each channel, or why there is none.
    pub fn commands(self) -> impl Iterator<Item = (CommandId, Result<Command, Refusal>)> {
        let Self {
            id,
            channels,
            since,
            presence,
            echo,
        } = self;
        let numbered = (id.0..).map(CommandId).zip(channels);
        numbered.map(move |(id, channel)| {
            let command = channel.map(|(channel, position)| {
                let since = position.map_or(since, Since::Position);
                Command::Subscribe(Subscribe {
                    presence,
                    echo,
                    ..Subscribe::new(channel, since)
                })
            });
            (id, command)
        })
    }
}

/// An invalid message, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The message's id, if it had one.
    pub id: Option<CommandId>,
    /// What is wrong, and where.
    pub refusal: Refusal,
}

/// Only the id, to answer a message whose other fields are invalid.
#[derive(Deserialize)]
struct Numbered {
    id: Option<u64>,
}

/// Decodes a client's message.
///
/// # Errors
/// A [`Rejection`], to be sent with [`encode_rejection`](super::encode_rejection); the connection
/// stays open.
pub fn decode(text: &str) -> Result<Request, Rejection> {
    // An array would be read as the fields in the order in which they are declared here.
    if !is_object(text) {
        let refusal = bad("a message is one JSON object");
        return Err(Rejection { id: None, refusal });
    }
    let message: Message<'_> = serde_json::from_str(text).map_err(|error| {
        let id = serde_json::from_str(text)
            .ok()
            .and_then(|numbered: Numbered| numbered.id);
        Rejection {
            id: id.map(CommandId),
            refusal: bad(error.to_string()),
        }
    })?;
    understood(&message)
}

/// Decodes a client's message in the binary form.
///
/// # Errors
/// A [`Rejection`], as from [`decode`].
pub fn decode_binary(bytes: &[u8]) -> Result<Request, Rejection> {
    if !cbor::is_map(bytes) {
        let refusal = bad("a binary message is one CBOR map");
        return Err(Rejection { id: None, refusal });
    }
    let message: Message<'_> = cbor::decode(bytes).map_err(|error| {
        let numbered = cbor::decode_first(bytes).ok();
        let id = numbered.and_then(|(numbered, _): (Numbered, _)| numbered.id);
        Rejection {
            id: id.map(CommandId),
            refusal: bad(error.to_string()),
        }
    })?;
    understood(&message)
}

fn understood(message: &Message<'_>) -> Result<Request, Rejection> {
    let id = message.id.filter(|id| *id <= MAX_ID).map(CommandId);
    request(message, id).map_err(|refusal| Rejection { id, refusal })
}

fn request(message: &Message<'_>, id: Option<CommandId>) -> Result<Request, Refusal> {
    let id = id.ok_or_else(|| bad("id: a whole number from 0 to 2^53 - 1 is missing"))?;
    let command = match &*message.kind {
        "connect" => return connect(message, id).map(Request::Connect),
        "publish" => publish(message)?,
        "subscribe" if message.channels.is_some() => return subscribe_to_several(message, id),
        "subscribe" => {
            let command = Command::Subscribe(subscribe(message)?);
            let Some(token) = &message.token else {
                return Ok(Request::Command { id, command });
            };
            let token = token.to_string();
            return Ok(Request::Granted { id, token, command });
        }
        "refresh" => {
            let token = message.token.as_ref().map(ToString::to_string);
            let token = token.ok_or_else(|| bad("token: is missing"))?;
            return Ok(Request::Refresh { id, token });
        }
        "unsubscribe" => Command::Unsubscribe {
            subscription: subscription(message)?,
        },
        "done" => Command::Done {
            subscription: subscription(message)?,
            position: position(message)?.ok_or_else(|| bad("position: is missing"))?,
            cumulative: message.cumulative.unwrap_or(false),
        },
        "presence_update" => Command::UpdateInfo {
            info: info(message)?,
        },
        "call" => call(message)?,
        "history" => history(message)?,
        "state" => Command::State {
            channel: channel(message)?,
            after: after(message)?,
            limit: message.limit.unwrap_or(HISTORY),
        },
        "presence" => Command::Presence {
            channel: channel(message)?,
        },
        "ack" => {
            let consumer = message.consumer.as_ref();
            let consumer = consumer.ok_or_else(|| bad("consumer: is missing"))?;
            Command::Ack {
                channel: channel(message)?,
                consumer: Key::new(consumer).map_err(at("consumer"))?,
                position: position(message)?,
            }
        }
        "receipts" => Command::Receipts {
            channel: channel(message)?,
            position: position(message)?.ok_or_else(|| bad("position: is missing"))?,
        },
        "ping" => Command::Ping,
        unknown => {
            let shown: String = unknown.chars().take(40).collect();
            return Err(bad(format!(
                "type: {shown:?} is unknown; there are connect, publish, subscribe, unsubscribe, \
                 done, history, state, presence, presence_update, ack, receipts, call, refresh and ping"
            )));
        }
    };
    Ok(Request::Command { id, command })
}

fn history(message: &Message<'_>) -> Result<Command, Refusal> {
    let channel = channel(message)?;
    let limit = message.limit.unwrap_or(HISTORY);
    let Some(before) = &message.before else {
        let since = since(message, Since::Last(limit))?;
        return Ok(Command::History {
            channel,
            since,
            limit,
        });
    };
    if message.since.is_some() {
        return Err(bad("since and before: only one of them is allowed"));
    }
    Ok(Command::HistoryBefore {
        channel,
        before: before.parse().map_err(at("before"))?,
        limit,
    })
}

fn connect(message: &Message<'_>, id: CommandId) -> Result<Connect, Refusal> {
    let given = message.positions.iter().flatten();
    let numbered = message.subscription_positions.iter().flatten();
    if given.clone().count().saturating_add(numbered.count()) > MAX_POSITIONS {
        return Err(bad(format!("positions: more than {MAX_POSITIONS}")));
    }
    let positions = given.map(|(name, position)| {
        let channel = ChannelName::new(name).map_err(at("positions"))?;
        let position = position.parse().map_err(at("positions"))?;
        Ok((SubscriptionKey::from(channel), position))
    });
    let numbered = message.subscription_positions.iter().flatten();
    let positions = positions.chain(numbered.map(|(number, position)| {
        let number = number.parse().ok();
        let number = number.ok_or_else(|| bad("subscription_positions: names must be numbers"))?;
        let position = position.parse().map_err(at("subscription_positions"))?;
        Ok((SubscriptionKey::Id(SubscriptionId(number)), position))
    }));
    Ok(Connect {
        id,
        token: message.token.as_ref().map(ToString::to_string),
        resume: message.resume.as_ref().map(ToString::to_string),
        info: info(message)?,
        positions: positions.collect::<Result<_, Refusal>>()?,
        lineage: message.lineage.unwrap_or(false),
        named: None,
    })
}

fn subscribe(message: &Message<'_>) -> Result<Subscribe, Refusal> {
    let target = target(message)?;
    let id = number(message)?;
    if id.is_none() && (message.filter.is_some() || message.window.is_some()) {
        let detail = "subscription: is missing; filters and windows need a number";
        return Err(bad(detail));
    }
    Ok(Subscribe {
        target,
        id,
        since: since(message, Since::Now)?,
        presence: message.presence.unwrap_or(false),
        members: false,
        echo: message.echo.unwrap_or(true),
        flow: flow(message)?,
        share: None,
        face: None,
    })
}

fn flow(message: &Message<'_>) -> Result<Flow, Refusal> {
    let Some(window) = message.window else {
        return Ok(Flow::Pushed);
    };
    let fits = u16::try_from(window).ok();
    let window = fits.filter(|window| (1..=MAX_WINDOW).contains(window));
    let window = window.ok_or_else(|| bad(format!("window: must be 1 to {MAX_WINDOW}")))?;
    Ok(Flow::Acknowledged { window })
}

/// A channel or a filter.
fn target(message: &Message<'_>) -> Result<Target, Refusal> {
    match &message.filter {
        None => Ok(channel(message)?.into()),
        Some(_) if message.channel.is_some() => {
            Err(bad("channel and filter: only one of them is allowed"))
        }
        Some(filter) => Ok(Filter::new(filter).map_err(at("filter"))?.into()),
    }
}

fn number(message: &Message<'_>) -> Result<Option<SubscriptionId>, Refusal> {
    if message.subscription == Some(u32::MAX) {
        return Err(bad("subscription: must be 0 to 2^32 - 2"));
    }
    Ok(message.subscription.map(SubscriptionId))
}

/// The subscription that a message refers to.
fn subscription(message: &Message<'_>) -> Result<SubscriptionKey, Refusal> {
    match number(message)? {
        Some(id) => Ok(SubscriptionKey::Id(id)),
        None => Ok(SubscriptionKey::Target(target(message)?)),
    }
}

fn call(message: &Message<'_>) -> Result<Command, Refusal> {
    let method = message.method.as_ref();
    let method = method.ok_or_else(|| bad("method: is missing"))?;
    if method.is_empty() || method.len() > MAX_METHOD {
        let len = method.len();
        return Err(bad(format!(
            "method: is {len} bytes; allowed are 1 to {MAX_METHOD}"
        )));
    }
    let (data, format) = match (message.data, &message.base64) {
        (None, None) => (Bytes::new(), Format::Json),
        _given => data(message)?,
    };
    Ok(Command::Call {
        method: (&**method).into(),
        data,
        format,
        within: message.deadline_ms.map(Duration::from_millis),
        key: key(message)?,
    })
}

fn key(message: &Message<'_>) -> Result<Option<Key>, Refusal> {
    let key = message.key.as_ref().map(|key| Key::new(key)).transpose();
    key.map_err(at("key"))
}

/// Every channel is answered separately, also one whose name is refused.
fn subscribe_to_several(message: &Message<'_>, id: CommandId) -> Result<Request, Refusal> {
    if message.channel.is_some() {
        return Err(bad("channel and channels: only one of them is allowed"));
    }
    if message.token.is_some() {
        return Err(bad(
            "token: is for one channel; subscribe to each with its own",
        ));
    }
    // Each of these is for one subscription, which it identifies.
    for (name, is_given) in [
        ("filter", message.filter.is_some()),
        ("subscription", message.subscription.is_some()),
        ("window", message.window.is_some()),
    ] {
        if is_given {
            return Err(bad(format!(
                "{name} and channels: only one of them is allowed"
            )));
        }
    }
    let names = message.channels.as_deref().unwrap_or_default();
    if names.is_empty() || names.len() > MAX_CHANNELS {
        let count = names.len();
        return Err(bad(format!(
            "channels: has {count} names; allowed are 1 to {MAX_CHANNELS}"
        )));
    }
    let last = u64::try_from(names.len())
        .unwrap_or(u64::MAX)
        .saturating_add(id.0);
    if last > MAX_ID {
        return Err(bad("id: must leave a number for each channel below 2^53"));
    }
    let channel = |name: &Text<'_>| -> Result<_, Refusal> {
        let given = message.positions.as_ref().and_then(|given| given.get(name));
        let position = given.map(|position| position.parse().map_err(at("positions")));
        let channel = ChannelName::new(name).map_err(at("channels"))?;
        Ok((channel, position.transpose()?))
    };
    Ok(Request::SubscribeAll(SubscribeAll {
        id,
        channels: names.iter().map(channel).collect(),
        since: since(message, Since::Now)?,
        presence: message.presence.unwrap_or(false),
        echo: message.echo.unwrap_or(true),
    }))
}

fn publish(message: &Message<'_>) -> Result<Command, Refusal> {
    let (data, format) = data(message)?;
    let tags = message
        .tags
        .iter()
        .flatten()
        .map(|(name, value)| (&**name, &**value));
    Ok(Command::Publish {
        channel: channel(message)?,
        data,
        format,
        tags: Tags::new(tags).map_err(at("tags"))?,
        key: key(message)?,
    })
}
