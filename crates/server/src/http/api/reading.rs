//! Requests that only read: history, state, presence, receipts, cursors.

use hyper::StatusCode;
use offhook_engine::{Command, Key, Reply, Since};
use serde_json::json;

use super::{
    Call, Outcome,
    fields::{channel, position, shown, since},
    problem::Problem,
};
use crate::json_object::JsonObject;

/// The default number of publications in a page, as in the native dialect.
const PAGE: u32 = 100;

async fn ask(call: &Call<'_>, command: Command) -> Result<Reply, Problem> {
    let mut replies = call.worker.command(vec![command]).await;
    match replies.pop() {
        Some(Reply::Refused(refusal)) => Err(refusal.into()),
        Some(reply) => Ok(reply),
        None => Err(Problem::bad("there is no answer")),
    }
}

/// A reply that does not match the command, which the engine never sends.
pub(super) fn unexpected(reply: &Reply) -> Problem {
    tracing::error!(?reply, "the reply does not match the command");
    let detail = "the server's reply does not match the request";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}

/// An answer that contains what others have published.
type Published = Result<JsonObject, Problem>;

pub(super) async fn history(call: &Call<'_>) -> Published {
    let limit = call.query.number("limit", PAGE)?;
    let channel = channel(call.query.need("channel")?, call.key)?;
    let command = match (call.query.get("since")?, call.query.get("before")?) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad(
                "since and before: only one of them is allowed",
            ));
        }
        (None, Some(before)) => Command::HistoryBefore {
            channel,
            before: position("before", before)?,
            limit,
        },
        (since_text, None) => Command::History {
            channel,
            since: since_text.map_or(Ok(Since::Last(limit)), since)?,
            limit,
        },
    };
    let reply = ask(call, command).await?;
    let Reply::History {
        head,
        publications,
        gap,
        more,
        ..
    } = &reply
    else {
        return Err(unexpected(&reply));
    };
    let messages: Vec<_> = publications.iter().map(|p| shown(p)).collect();
    let mut answer = JsonObject::default();
    answer.set("head", head.to_string());
    answer.set("messages", messages);
    answer.set("more", more);
    if let Some(gap) = gap {
        answer.set("gap", gap.name());
    }
    Ok(answer)
}

pub(super) async fn state(call: &Call<'_>) -> Published {
    let after = call.query.get("after")?;
    let after = after.map(|after| position("after", after)).transpose()?;
    let command = Command::State {
        channel: channel(call.query.need("channel")?, call.key)?,
        after,
        limit: call.query.number("limit", PAGE)?,
    };
    let reply = ask(call, command).await?;
    let Reply::State {
        head, values, more, ..
    } = &reply
    else {
        return Err(unexpected(&reply));
    };
    let messages: Vec<_> = values.iter().map(|p| shown(p)).collect();
    let mut answer = JsonObject::default();
    answer.set("head", head.to_string());
    answer.set("messages", messages);
    answer.set("more", more);
    Ok(answer)
}

pub(super) async fn presence(call: &Call<'_>) -> Published {
    let channel = channel(call.query.need("channel")?, call.key)?;
    let reply = ask(call, Command::Presence { channel }).await?;
    let Reply::Members { members, total, .. } = &reply else {
        return Err(unexpected(&reply));
    };
    let members = members.iter().map(|member| {
        let mut shown = JsonObject::default();
        shown.set("session", member.session.to_string());
        if !member.user.is_empty() {
            shown.set("user", &*member.user);
        }
        shown.set_json("info", &member.info);
        shown
    });
    let members: Vec<_> = members.collect();
    let mut answer = JsonObject::default();
    answer.set("members", members);
    answer.set("total", total);
    Ok(answer)
}

/// The most channels of one page.
const MAX_CHANNELS: u32 = 1_000;

/// How many names are read at once. 1,000: the list of names is locked for less than a millisecond.
const NAMES_AT_ONCE: usize = 1_000;

/// Lists channels with subscribers. Channels that the key may not access are omitted. Their names are not
/// told in `next` either, so that it is always a channel of the page.
pub(super) async fn channels(call: &Call<'_>) -> Outcome {
    let prefix = call.query.get("prefix")?.unwrap_or_default();
    let limit = call.query.number("limit", PAGE)?.min(MAX_CHANNELS) as usize;
    if limit == 0 {
        return Err(Problem::bad("limit: is 0; the minimum is 1"));
    }
    let mut after = call.query.get("after")?.map(str::to_owned);
    let Some(prefix) = longer(prefix, call.key.prefix()) else {
        return Ok(json!({ "channels": [] }));
    };
    let mut page = Vec::new();
    loop {
        let broker = &call.worker.shared.broker;
        let found = broker.occupied(prefix, after.as_deref(), NAMES_AT_ONCE);
        after = found.last().map(|last| last.channel.as_str().to_owned());
        let is_last = found.len() < NAMES_AT_ONCE;
        let reached = found
            .into_iter()
            .filter(|one| call.key.reaches(&one.channel));
        page.extend(reached.take(limit - page.len()));
        if is_last || page.len() == limit {
            break;
        }
        // Yield to other tasks: many names may belong to others.
        tokio::task::yield_now().await;
    }
    let next = (page.len() == limit).then(|| page.last()).flatten();
    let next = next.map(|last| last.channel.as_str().to_owned());
    let channels = page.iter();
    let channels =
        channels.map(|one| json!({ "channel": one.channel.as_str(), "members": one.members }));
    let mut value = json!({ "channels": channels.collect::<Vec<_>>() });
    if let Some(next) = next {
        value["next"] = next.into();
    }
    Ok(value)
}

/// The longer one of two prefixes; none if no text starts with both.
fn longer<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    if one.starts_with(other) {
        Some(one)
    } else {
        other.starts_with(one).then_some(other)
    }
}

pub(super) async fn receipts(call: &Call<'_>) -> Outcome {
    let command = Command::Receipts {
        channel: channel(call.query.need("channel")?, call.key)?,
        position: position("position", call.query.need("position")?)?,
    };
    let reply = ask(call, command).await?;
    let Reply::Receipts { receipts, .. } = &reply else {
        return Err(unexpected(&reply));
    };
    Ok(json!({
        "received": receipts.received,
        "subscribers": receipts.subscribers,
    }))
}

/// The position of one of the backend's own consumers.
pub(super) async fn cursor(call: &Call<'_>) -> Outcome {
    let command = Command::Ack {
        channel: channel(call.query.need("channel")?, call.key)?,
        consumer: Key::new(call.query.need("consumer")?)?,
        position: None,
    };
    let reply = ask(call, command).await?;
    let Reply::Acked { position, .. } = &reply else {
        return Err(unexpected(&reply));
    };
    let position = position.map(|position| position.to_string());
    Ok(json!({ "position": position }))
}
