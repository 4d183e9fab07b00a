//! From a client's wishes to its messages.

use data_encoding::BASE64;
use offhook_engine::{ChannelName, Command, CommandId, Format, Key, Position, Since, Tags};

use super::super::{
    decode::{Request, SubscribeAll},
    object::{Object, json},
};
use crate::Connect;

/// Writes what [`decode`](super::super::decode) reads.
#[must_use]
pub fn encode_request(request: &Request) -> String {
    match request {
        Request::Connect(connect) => encode_connect(connect),
        Request::Command { id, command } => encode_command(*id, command),
        Request::SubscribeAll(all) => encode_subscribe_all(all),
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
    encode_positions(object, connect.positions.iter().cloned())
}

fn encode_subscribe_all(all: &SubscribeAll) -> String {
    let names = all.channels.iter().map(|(name, _)| json(name.as_str()));
    let object = Object::new("subscribe")
        .raw("id", all.id.0)
        .list("channels", names);
    let mut object = object.raw("since", since_json(all.since));
    if all.presence {
        object = object.raw("presence", true);
    }
    let own =
        |(name, position): &(ChannelName, Option<Position>)| Some((name.clone(), (*position)?));
    encode_positions(object, all.channels.iter().filter_map(own))
}

fn encode_positions(
    object: Object,
    positions: impl Iterator<Item = (ChannelName, Position)>,
) -> String {
    let mut positions = positions.peekable();
    if positions.peek().is_none() {
        return object.end();
    }
    let positions = positions.fold(Object::part(), |object, (channel, position)| {
        object.foreign(channel.as_str(), &position.to_string())
    });
    object.raw("positions", positions.end()).end()
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
        Command::Subscribe {
            channel,
            since,
            presence,
        } => {
            let object = about("subscribe", id, channel).raw("since", since_json(*since));
            if *presence {
                object.raw("presence", true).end()
            } else {
                object.end()
            }
        }
        Command::Unsubscribe { channel } => about("unsubscribe", id, channel).end(),
        Command::History {
            channel,
            since,
            limit,
        } => about("history", id, channel)
            .raw("since", since_json(*since))
            .raw("limit", limit)
            .end(),
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
    // Base64 makes four bytes of three.
    let capacity = data.len().saturating_mul(4) / 3;
    let object = Object::with_capacity("publish", capacity.saturating_add(256));
    let mut object = object.raw("id", id.0).text("channel", channel.as_str());
    object = match format {
        Format::Json => object.raw("data", String::from_utf8_lossy(data)),
        Format::Text => object.text("data", &String::from_utf8_lossy(data)),
        Format::Binary => object.raw("base64", format_args!("\"{}\"", BASE64.encode(data))),
    };
    if let Some(key) = key {
        object = object.text("key", key.as_str());
    }
    if !tags.is_empty() {
        let fold = |object: Object, (name, value): (&str, &str)| object.foreign(name, value);
        object = object.raw("tags", tags.iter().fold(Object::part(), fold).end());
    }
    object.end()
}

fn since_json(since: Since) -> String {
    match since {
        Since::Now => "\"now\"".to_owned(),
        Since::Start => "\"start\"".to_owned(),
        Since::Last(count) => Object::part().raw("last", count).end(),
        Since::Position(position) => quoted(position),
    }
}

fn quoted(position: Position) -> String {
    format!("\"{position}\"")
}
