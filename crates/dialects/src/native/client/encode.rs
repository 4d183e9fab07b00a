//! Encodes a client's requests.

use data_encoding::BASE64;
use offhook_engine::{
    ChannelName, Command, CommandId, Flow, Format, Key, Position, Since, Subscribe,
    SubscriptionKey, Tags, Target,
};

use super::super::decode::{Request, SubscribeAll};
use crate::{
    Connect,
    json::{Object, json},
};

/// Encodes a request; [`decode`](super::super::decode) reads it.
#[must_use]
pub fn encode_request(request: &Request) -> String {
    match request {
        Request::Connect(connect) => encode_connect(connect),
        Request::Command { id, command } => encode_command(*id, command),
        Request::SubscribeAll(all) => encode_subscribe_all(all),
        Request::Granted { id, token, command } => {
            let mut text = encode_command(*id, command);
            text.truncate(text.len().saturating_sub(1));
            format!("{text},\"token\":{}}}", json(token))
        }
        Request::Refresh { id, token } => Object::new("refresh")
            .raw("id", id.0)
            .text("token", token)
            .end(),
    }
}

fn encode_connect(connect: &Connect) -> String {
    let mut object = Object::new("connect").raw("id", connect.id.0);
    if let Some(token) = &connect.token {
        object = object.text("token", token);
    }
    if let Some(resume) = &connect.resume {
        object = object.text("resume", resume);
    }
    if !connect.info.is_empty() {
        object = object.raw("info", String::from_utf8_lossy(&connect.info));
    }
    if connect.lineage {
        object = object.raw("lineage", true);
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
    let object = positions(object, "positions", channels);
    positions(object, "subscription_positions", numbers).end()
}

fn encode_subscribe_all(all: &SubscribeAll) -> String {
    // Names that are refused are not sent.
    let channels = all.channels.iter().flatten();
    let names = channels.clone().map(|(name, _)| json(name.as_str()));
    let object = Object::new("subscribe")
        .raw("id", all.id.0)
        .list("channels", names);
    let mut object = object.raw("since", since_json(all.since));
    if all.presence {
        object = object.raw("presence", true);
    }
    if !all.echo {
        object = object.raw("echo", false);
    }
    let own = channels.filter_map(|(name, position)| {
        let position = (*position)?;
        Some((name.as_str().to_owned(), position))
    });
    positions(object, "positions", own.collect()).end()
}

/// Positions by name; no field if there are none.
fn positions(object: Object, field: &str, positions: Vec<(String, Position)>) -> Object {
    if positions.is_empty() {
        return object;
    }
    let all = positions.into_iter();
    let all = all.fold(Object::part(), |object, (name, position)| {
        object.foreign(&name, &position.to_string())
    });
    object.raw(field, all.end())
}

fn encode_command(id: CommandId, command: &Command) -> String {
    match command {
        Command::Publish {
            channel,
            data,
            format,
            tags,
            key,
        } => publish(id, channel, (data, *format), tags, key.as_ref()),
        Command::Subscribe(wish) => subscribe(id, wish),
        Command::Unsubscribe { subscription } => {
            keyed(command_object("unsubscribe", id), subscription).end()
        }
        Command::Done {
            subscription,
            position,
            cumulative,
        } => keyed(command_object("done", id), subscription)
            .position("position", *position)
            .raw("cumulative", cumulative)
            .end(),
        Command::Return {
            subscription,
            position,
        } => keyed(command_object("return", id), subscription)
            .position("position", *position)
            .end(),
        Command::UpdateInfo { info } => {
            let object = command_object("presence_update", id);
            object.raw("info", String::from_utf8_lossy(info)).end()
        }
        Command::Call {
            method,
            data,
            format,
            within,
            key,
        } => {
            let object = content(
                command_object("call", id).text("method", method),
                data,
                *format,
            );
            let object = match key {
                Some(key) => object.text("key", key.as_str()),
                None => object,
            };
            match within {
                Some(within) => object.raw("deadline_ms", within.as_millis()).end(),
                None => object.end(),
            }
        }
        Command::History {
            channel,
            since,
            limit,
        } => about("history", id, channel)
            .raw("since", since_json(*since))
            .raw("limit", limit)
            .end(),
        Command::HistoryBefore {
            channel,
            before,
            limit,
        } => about("history", id, channel)
            .position("before", *before)
            .raw("limit", limit)
            .end(),
        Command::State {
            channel,
            after,
            limit,
        } => {
            let object = about("state", id, channel).raw("limit", limit);
            match after {
                Some(after) => object.position("since", *after).end(),
                None => object.end(),
            }
        }
        // These are of other dialects: the server does not know them from a native client.
        Command::Values { filter, .. } => command_object("values", id)
            .text("filter", filter.as_str())
            .end(),
        Command::Remember { .. } => command_object("remember", id).end(),
        Command::Presence { channel } => about("presence", id, channel).end(),
        Command::Ack {
            channel,
            consumer,
            position,
        } => {
            let object = about("ack", id, channel).text("consumer", consumer.as_str());
            match position {
                Some(position) => object.position("position", *position).end(),
                None => object.end(),
            }
        }
        Command::Receipts { channel, position } => about("receipts", id, channel)
            .position("position", *position)
            .end(),
        Command::Ping => Object::new("ping").raw("id", id.0).end(),
    }
}

fn subscribe(id: CommandId, wish: &Subscribe) -> String {
    let mut object = targeted(command_object("subscribe", id), &wish.target);
    if let Some(id) = wish.id {
        object = object.raw("subscription", id.0);
    }
    object = object.raw("since", since_json(wish.since));
    if wish.presence {
        object = object.raw("presence", true);
    }
    if !wish.echo {
        object = object.raw("echo", false);
    }
    match wish.flow {
        Flow::Pushed => object.end(),
        Flow::Acknowledged { window } => object.raw("window", window).end(),
    }
}

fn command_object(kind: &str, id: CommandId) -> Object {
    Object::new(kind).raw("id", id.0)
}

fn targeted(object: Object, target: &Target) -> Object {
    match target {
        Target::Channel(channel) => object.text("channel", channel.as_str()),
        Target::Filter(filter) => object.text("filter", filter.as_str()),
    }
}

fn keyed(object: Object, subscription: &SubscriptionKey) -> Object {
    match subscription {
        SubscriptionKey::Id(id) => object.raw("subscription", id.0),
        SubscriptionKey::Target(target) => targeted(object, target),
    }
}

fn about(kind: &str, id: CommandId, channel: &ChannelName) -> Object {
    Object::new(kind)
        .raw("id", id.0)
        .text("channel", channel.as_str())
}

fn publish(
    id: CommandId,
    channel: &ChannelName,
    (data, format): (&[u8], Format),
    tags: &Tags,
    key: Option<&Key>,
) -> String {
    // Base64 turns three bytes into four.
    let capacity = data.len().saturating_mul(4) / 3;
    let object = Object::with_capacity("publish", capacity.saturating_add(256));
    let object = object.raw("id", id.0).text("channel", channel.as_str());
    let mut object = content(object, data, format);
    if let Some(key) = key {
        object = object.text("key", key.as_str());
    }
    if !tags.is_empty() {
        let fold = |object: Object, (name, value): (&str, &str)| object.foreign(name, value);
        object = object.raw("tags", tags.iter().fold(Object::part(), fold).end());
    }
    object.end()
}

fn content(object: Object, data: &[u8], format: Format) -> Object {
    match format {
        Format::Json => object.raw("data", String::from_utf8_lossy(data)),
        Format::Text => object.text("data", &String::from_utf8_lossy(data)),
        Format::Binary => object.raw("base64", format_args!("\"{}\"", BASE64.encode(data))),
    }
}

fn since_json(since: Since) -> String {
    match since {
        Since::Now => "\"now\"".to_owned(),
        Since::Start => "\"start\"".to_owned(),
        Since::State => "\"state\"".to_owned(),
        Since::Last(count) => Object::part().raw("last", count).end(),
        Since::Position(position) => quoted(position),
    }
}

fn quoted(position: Position) -> String {
    format!("\"{position}\"")
}
