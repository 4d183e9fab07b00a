//! Encodes deliveries as messages for clients.

use std::{sync::Arc, time::Duration};

use data_encoding::BASE64;
use offhook_engine::{
    ChannelName, CloseReason, CommandId, Format, GapReason, Member, Notice, Position,
    PresenceChange, Publication, Refusal, Reply, SubscriptionId, SubscriptionName, Target,
};

use super::decode::Rejection;
use crate::{dialect::Welcome, json::Object};

/// The answer to `connect`: the connection's identity, and the sealed session to resume with.
#[must_use]
pub fn encode_welcome(welcome: &Welcome<'_>) -> String {
    let object = Object::new("welcome")
        .raw("id", welcome.id.0)
        .raw("session", quoted(welcome.session));
    let object = object
        .text_unless_empty("user", welcome.user)
        .text("resume", welcome.resume);
    expires_in(object, welcome.expires_in).end()
}

/// The answer to `refresh`.
#[must_use]
pub fn encode_refreshed(id: CommandId, ends: Option<Duration>) -> String {
    let object = Object::new("refreshed").raw("id", id.0);
    expires_in(object, ends).end()
}

/// The session's identity expires soon.
#[must_use]
pub fn encode_expiring(ends: Duration) -> String {
    expires_in(Object::new("expiring"), Some(ends)).end()
}

fn expires_in(object: Object, ends: Option<Duration>) -> Object {
    match ends {
        Some(ends) => object.raw("expires_in_ms", ends.as_millis()),
        None => object,
    }
}

/// A freshly sealed session, which replaces the previous one.
#[must_use]
pub fn encode_token(resume: &str) -> String {
    Object::new("token").text("resume", resume).end()
}

/// A publication. The text is the same for every connection: encode it once.
#[must_use]
pub fn encode_publication(publication: &Publication) -> String {
    // The data is most of it; names and numbers fit in the rest.
    let capacity = publication.data.len().saturating_add(256);
    let object = Object::with_capacity("message", capacity);
    publication_fields(
        object.text("channel", publication.channel.as_str()),
        publication,
    )
    .end()
}

/// The message for a client that compares offsets, before a publication that starts an epoch:
/// nothing is missing, and positions continue in the new epoch. `None` for all other publications.
#[must_use]
pub fn encode_new_epoch(publication: &Publication) -> Option<String> {
    if publication.follows_in_epoch() {
        return None;
    }
    let gap = Notice::Gap {
        subscription: publication.channel.clone().into(),
        from: publication.previous,
        to: Position {
            epoch: publication.position.epoch,
            offset: publication.position.offset.saturating_sub(1),
        },
        reason: GapReason::EpochChanged,
        agreed: None,
    };
    Some(encode_notice(&gap))
}

/// Adds the fields of a publication except for its channel.
pub(crate) fn publication_fields(object: Object, publication: &Publication) -> Object {
    let mut object = object.position("position", publication.position);
    if !publication.follows_in_epoch() {
        object = object.position("previous", publication.previous);
    }
    object = content(object, &publication.data, publication.format);
    if let Some(publisher) = &publication.publisher {
        object = object.text_unless_empty("user", &publisher.user);
        object = object.raw("session", format_args!("\"{}\"", publisher.session));
    }
    if let Some(key) = &publication.key {
        object = object.text("key", key.as_str());
    }
    if !publication.tags.is_empty() {
        let tags = publication.tags.iter();
        let tags = tags.fold(Object::part(), |tags, (name, value)| {
            tags.foreign(name, value)
        });
        object = object.raw("tags", tags.end());
    }
    object.raw("time", publication.time_ms)
}

fn content(object: Object, data: &[u8], format: Format) -> Object {
    match format {
        Format::Json => object.raw("data", String::from_utf8_lossy(data)),
        Format::Text => object.text("data", &String::from_utf8_lossy(data)),
        Format::Binary => object.raw("base64", quoted(BASE64.encode(data))),
    }
}

/// Adds the subscription that a message refers to.
fn named(object: Object, subscription: &SubscriptionName) -> Object {
    let object = match &subscription.target {
        Target::Channel(channel) => object.text("channel", channel.as_str()),
        Target::Filter(filter) => object.text("filter", filter.as_str()),
    };
    subscription_number(object, subscription.id)
}

fn subscription_number(object: Object, id: Option<SubscriptionId>) -> Object {
    match id {
        Some(id) => object.raw("subscription", id.0),
        None => object,
    }
}

/// A join or a leave. The text is the same for every connection.
#[must_use]
pub fn encode_presence(change: &PresenceChange) -> String {
    let kind = if change.joined { "join" } else { "leave" };
    let object = Object::new(kind).text("channel", change.channel.as_str());
    member(object, &change.member).end()
}

fn member(object: Object, member: &Member) -> Object {
    let object = object.raw("session", quoted(member.session));
    let object = object.text_unless_empty("user", &member.user);
    if member.info.is_empty() {
        return object;
    }
    object.raw("info", String::from_utf8_lossy(&member.info))
}

/// Everything else that is sent to one connection.
#[must_use]
pub fn encode_notice(notice: &Notice) -> String {
    match notice {
        Notice::Reply { id, reply } => encode_reply(*id, reply),
        Notice::Gap {
            subscription,
            from,
            to,
            reason,
            agreed,
        } => {
            let object = named(Object::new("gap"), subscription)
                .position("from", *from)
                .position("to", *to)
                .text("reason", reason.name());
            match agreed {
                Some(agreed) => object.position("agreed", *agreed).end(),
                None => object.end(),
            }
        }
        Notice::ChannelGap {
            subscription,
            channel,
            from,
            to,
            reason,
        } => named(Object::new("gap"), subscription)
            .text("channel", channel.as_str())
            .position("from", *from)
            .position("to", *to)
            .text("reason", reason.name())
            .end(),
        Notice::Own {
            subscription,
            channel,
            position,
            previous,
            at,
        } => {
            let object = named(Object::new("own"), subscription);
            let object = match at {
                Some(at) => object.text("channel", channel.as_str()).position("at", *at),
                None => object,
            };
            object
                .position("position", *position)
                .position("previous", *previous)
                .end()
        }
        Notice::Restored => Object::new("restored").end(),
        Notice::Told { data, format } => content(Object::new("told"), data, *format).end(),
        Notice::CatchingUp {
            subscription,
            position,
        } => named(Object::new("catching_up"), subscription)
            .position("position", *position)
            .end(),
        Notice::Live {
            subscription,
            position,
        } => named(Object::new("live"), subscription)
            .position("position", *position)
            .end(),
        Notice::Unsubscribed {
            subscription,
            refusal,
        } => {
            let object = named(Object::new("unsubscribed"), subscription);
            encode_refusal(object, refusal).end()
        }
        Notice::Reconnect { after } => Object::new("reconnect")
            .raw("after_ms", after.as_millis())
            .end(),
        Notice::Close { reason } => Object::new("closing").text("reason", reason.name()).end(),
    }
}

/// The WebSocket close code that follows a `closing`.
#[must_use]
pub fn close_code(reason: CloseReason) -> u16 {
    match reason {
        // RFC 6455 §7.4.1: 1008 is for a violated policy.
        CloseReason::TooSlow | CloseReason::Flood => 1008,
        // RFC 6455 §7.4.2: 4000 to 4999 are for applications. Clients do not reconnect after these.
        CloseReason::Replaced => 4001,
        CloseReason::Disconnected => 4002,
        CloseReason::Expired => 4003,
    }
}

/// The answer to an invalid message.
#[must_use]
pub fn encode_rejection(rejection: &Rejection) -> String {
    encode_refusal(numbered("error", rejection.id), &rejection.refusal).end()
}

fn encode_reply(id: Option<CommandId>, reply: &Reply) -> String {
    match reply {
        Reply::Published {
            position,
            duplicate,
        } => {
            let object = numbered("published", id).position("position", *position);
            if *duplicate {
                object.raw("duplicate", true).end()
            } else {
                object.end()
            }
        }
        Reply::Subscribed {
            subscription,
            position,
            live,
            by_server,
            acknowledged: _,
        } => {
            let object = named(numbered("subscribed", id), subscription);
            let object = object.position("position", *position).raw("live", live);
            // Clients give back subscriptions that their resume token has restored and that they do not know.
            if *by_server {
                object.text("by", "server").end()
            } else {
                object.end()
            }
        }
        Reply::Unsubscribed { subscription } => {
            named(numbered("unsubscribed", id), subscription).end()
        }
        Reply::Done { subscription } => named(numbered("done", id), subscription).end(),
        Reply::InfoUpdated => numbered("presence_updated", id).end(),
        Reply::Called { data, format } => content(numbered("called", id), data, *format).end(),
        Reply::History {
            channel,
            head,
            publications,
            gap,
            more,
        } => {
            let object = numbered("history", id);
            let object = page(object, channel, *head, publications);
            let object = match gap.map(GapReason::name) {
                Some(reason) => object.text("gap", reason),
                None => object,
            };
            and_more(object, *more).end()
        }
        Reply::State {
            channel,
            head,
            values,
            more,
        } => and_more(page(numbered("state", id), channel, *head, values), *more).end(),
        Reply::Members {
            channel,
            subscription,
            members,
            total,
        } => subscription_number(numbered("members", id), *subscription)
            .text("channel", channel.as_str())
            .list(
                "members",
                members.iter().map(|m| member(Object::part(), m).end()),
            )
            .raw("total", total)
            .end(),
        Reply::Acked { channel, position } => {
            let object = numbered("acked", id).text("channel", channel.as_str());
            match position {
                Some(position) => object.position("position", *position).end(),
                None => object.end(),
            }
        }
        Reply::Receipts {
            channel,
            position,
            receipts,
        } => numbered("received", id)
            .text("channel", channel.as_str())
            .position("position", *position)
            .raw("received", receipts.received)
            .raw("subscribers", receipts.subscribers)
            .list("sessions", receipts.sessions.iter().map(quoted))
            .end(),
        // Native clients can't ask for the first two.
        Reply::Values { .. } | Reply::Remembered | Reply::Pong => numbered("pong", id).end(),
        Reply::Refused(refusal) => encode_refusal(numbered("error", id), refusal).end(),
    }
}

/// Publications of a channel, read once.
fn page(
    object: Object,
    channel: &ChannelName,
    head: Position,
    publications: &[Arc<Publication>],
) -> Object {
    let messages = publications
        .iter()
        .map(|p| publication_fields(Object::part(), p).end());
    let object = object.text("channel", channel.as_str());
    object.position("head", head).list("messages", messages)
}

fn and_more(object: Object, more: bool) -> Object {
    match more {
        true => object.raw("more", true),
        false => object,
    }
}

fn numbered(kind: &str, id: Option<CommandId>) -> Object {
    match id {
        Some(id) => Object::new(kind).raw("id", id.0),
        None => Object::new(kind),
    }
}

/// Adds the fields of a refusal.
pub(crate) fn encode_refusal(object: Object, refusal: &Refusal) -> Object {
    let object = object
        .text("code", refusal.code.name())
        .text("message", &refusal.detail);
    let object = object.text("retry", refusal.code.retry().name());
    let object = match &refusal.backend {
        Some(told) => object.raw("backend", told),
        None => object,
    };
    match refusal.retry_after {
        Some(pause) => object.raw("retry_after_ms", pause.as_millis()),
        None => object,
    }
}

/// A quoted value without characters that JSON escapes.
fn quoted(text: impl std::fmt::Display) -> String {
    format!("\"{text}\"")
}
