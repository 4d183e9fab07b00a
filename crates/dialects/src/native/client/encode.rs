//! Encodes a client's requests.

use offhook_engine::{
    ChannelName, Command, CommandId, Flow, Format, Key, Position, Since, Subscribe,
    SubscriptionKey, Tags, Target,
};

use super::super::{
    cbor::Cbor,
    decode::{Request, SubscribeAll},
    writer::Writer,
};
use crate::{Connect, json::Object};

/// Encodes a request; [`decode`](super::super::decode) reads it.
#[must_use]
pub fn encode_request(request: &Request) -> String {
    encoded::<Object>(request).finish()
}

/// Encodes a request in the binary form; [`decode_binary`](super::super::decode_binary) reads it.
#[must_use]
pub fn encode_request_binary(request: &Request) -> Vec<u8> {
    encoded::<Cbor>(request).finish()
}

/// Whether a request contains data that is bytes.
#[must_use]
pub const fn has_bytes(request: &Request) -> bool {
    matches!(
        request,
        Request::Command {
            command: Command::Publish {
                format: Format::Binary,
                ..
            } | Command::Call {
                format: Format::Binary,
                ..
            },
            ..
        }
    )
}

fn encoded<W: Writer>(request: &Request) -> W {
    match request {
        Request::Connect(connect) => encode_connect(connect),
        Request::Command { id, command } => encode_command(*id, command),
        Request::SubscribeAll(all) => encode_subscribe_all(all),
        Request::Granted { id, token, command } => {
            encode_command::<W>(*id, command).text("token", token)
        }
        Request::Refresh { id, token } => begun::<W>("refresh", *id).text("token", token),
    }
}

fn encode_connect<W: Writer>(connect: &Connect) -> W {
    let mut message: W = begun("connect", connect.id);
    if let Some(token) = &connect.token {
        message = message.text("token", token);
    }
    if let Some(resume) = &connect.resume {
        message = message.text("resume", resume);
    }
    if !connect.info.is_empty() {
        message = message.json("info", &connect.info);
    }
    if connect.lineage {
        message = message.flag("lineage", true);
    }
    let (mut channels, mut numbers) = (Vec::new(), Vec::new());
    for (subscription, position) in &connect.positions {
        match subscription {
            SubscriptionKey::Id(id) => numbers.push((id.0.to_string(), *position)),
            SubscriptionKey::Target(target) => {
                channels.push((target.as_str().to_owned(), *position));
            }
        }
    }
    let message = positions(message, "positions", channels);
    positions(message, "subscription_positions", numbers)
}

fn encode_subscribe_all<W: Writer>(all: &SubscribeAll) -> W {
    // Names that are refused are not sent.
    let channels = all.channels.iter().flatten();
    let names = channels.clone().map(|(name, _)| name.as_str());
    let message = begun::<W>("subscribe", all.id).texts("channels", names);
    let mut message = since(message, all.since);
    if all.presence {
        message = message.flag("presence", true);
    }
    if !all.echo {
        message = message.flag("echo", false);
    }
    let own = channels.filter_map(|(name, position)| {
        let position = (*position)?;
        Some((name.as_str().to_owned(), position))
    });
    positions(message, "positions", own.collect())
}

/// Positions by name; no field if there are none.
fn positions<W: Writer>(message: W, field: &str, positions: Vec<(String, Position)>) -> W {
    if positions.is_empty() {
        return message;
    }
    let all = positions.into_iter();
    message.named(
        field,
        all.map(|(name, position)| (name, position.to_string())),
    )
}

fn encode_command<W: Writer>(id: CommandId, command: &Command) -> W {
    match command {
        Command::Publish {
            channel,
            data,
            format,
            tags,
            key,
        } => publish(id, channel, (data, *format), tags, key.as_ref()),
        Command::Subscribe(wish) => subscribe(id, wish),
        Command::Unsubscribe { subscription } => keyed(begun("unsubscribe", id), subscription),
        Command::Done {
            subscription,
            position,
            cumulative,
        } => keyed::<W>(begun("done", id), subscription)
            .position("position", *position)
            .flag("cumulative", *cumulative),
        Command::Return {
            subscription,
            position,
        } => keyed::<W>(begun("return", id), subscription).position("position", *position),
        Command::UpdateInfo { info } => match info.is_empty() {
            true => begun("presence_update", id),
            false => begun::<W>("presence_update", id).json("info", info),
        },
        Command::Call {
            method,
            data,
            format,
            within,
            key,
        } => {
            let message = begun::<W>("call", id).text("method", method);
            let message = match data.is_empty() && *format == Format::Json {
                true => message,
                false => message.content(data, *format),
            };
            let message = match key {
                Some(key) => message.text("key", key.as_str()),
                None => message,
            };
            match within {
                Some(within) => {
                    let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                    message.number("deadline_ms", millis)
                }
                None => message,
            }
        }
        Command::History {
            channel,
            since: start,
            limit,
        } => since(about::<W>("history", id, channel), *start).number("limit", u64::from(*limit)),
        Command::HistoryBefore {
            channel,
            before,
            limit,
        } => about::<W>("history", id, channel)
            .position("before", *before)
            .number("limit", u64::from(*limit)),
        Command::State {
            channel,
            after,
            limit,
        } => {
            let message = about::<W>("state", id, channel).number("limit", u64::from(*limit));
            match after {
                Some(after) => message.position("since", *after),
                None => message,
            }
        }
        // These are of other dialects: the server does not know them from a native client.
        Command::Values { filter, .. } => begun::<W>("values", id).text("filter", filter.as_str()),
        Command::Remember { .. } => begun("remember", id),
        Command::Presence { channel } => about("presence", id, channel),
        Command::Ack {
            channel,
            consumer,
            position,
        } => {
            let message = about::<W>("ack", id, channel).text("consumer", consumer.as_str());
            match position {
                Some(position) => message.position("position", *position),
                None => message,
            }
        }
        Command::Receipts { channel, position } => {
            about::<W>("receipts", id, channel).position("position", *position)
        }
        Command::Ping => begun("ping", id),
    }
}

fn subscribe<W: Writer>(id: CommandId, wish: &Subscribe) -> W {
    let mut message = targeted::<W>(begun("subscribe", id), &wish.target);
    if let Some(id) = wish.id {
        message = message.number("subscription", u64::from(id.0));
    }
    message = since(message, wish.since);
    if wish.presence {
        message = message.flag("presence", true);
    }
    if !wish.echo {
        message = message.flag("echo", false);
    }
    match wish.flow {
        Flow::Pushed => message,
        Flow::Acknowledged { window } => message.number("window", u64::from(window)),
    }
}

fn begun<W: Writer>(kind: &str, id: CommandId) -> W {
    W::short(kind).number("id", id.0)
}

fn targeted<W: Writer>(message: W, target: &Target) -> W {
    match target {
        Target::Channel(channel) => message.text("channel", channel.as_str()),
        Target::Filter(filter) => message.text("filter", filter.as_str()),
    }
}

fn keyed<W: Writer>(message: W, subscription: &SubscriptionKey) -> W {
    match subscription {
        SubscriptionKey::Id(id) => message.number("subscription", u64::from(id.0)),
        SubscriptionKey::Target(target) => targeted(message, target),
    }
}

fn about<W: Writer>(kind: &str, id: CommandId, channel: &ChannelName) -> W {
    begun::<W>(kind, id).text("channel", channel.as_str())
}

fn publish<W: Writer>(
    id: CommandId,
    channel: &ChannelName,
    (data, format): (&[u8], Format),
    tags: &Tags,
    key: Option<&Key>,
) -> W {
    // Base64 turns three bytes into four.
    let capacity = data.len().saturating_mul(4) / 3;
    let message = W::begin("publish", capacity.saturating_add(256)).number("id", id.0);
    let message = message.text("channel", channel.as_str());
    let mut message = message.content(data, format);
    if let Some(key) = key {
        message = message.text("key", key.as_str());
    }
    if !tags.is_empty() {
        message = message.named("tags", tags.iter());
    }
    message
}

fn since<W: Writer>(message: W, since: Since) -> W {
    match since {
        Since::Now => message.text("since", "now"),
        Since::Start => message.text("since", "start"),
        Since::State => message.text("since", "state"),
        Since::Last(count) => message.counted("since", "last", u64::from(count)),
        Since::Position(position) => message.position("since", position),
    }
}
