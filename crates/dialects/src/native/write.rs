//! The messages for clients, field by field, for both forms.

use std::{sync::Arc, time::Duration};

use offhook_engine::{
    ChannelName, CommandId, GapReason, Member, Notice, Position, PresenceChange, Publication,
    Refusal, Reply, SubscriptionId, SubscriptionName, Target,
};

use super::writer::Writer;
use crate::dialect::Welcome;

pub(super) fn welcome<W: Writer>(welcome: &Welcome<'_>) -> W {
    let message = W::short("welcome")
        .number("id", welcome.id.0)
        .plain("session", welcome.session);
    let message = message
        .text_unless_empty("user", welcome.user)
        .text("resume", welcome.resume);
    expires_in(message, welcome.expires_in)
}

pub(super) fn refreshed<W: Writer>(id: CommandId, ends: Option<Duration>) -> W {
    expires_in(W::short("refreshed").number("id", id.0), ends)
}

pub(super) fn expiring<W: Writer>(ends: Duration) -> W {
    expires_in(W::short("expiring"), Some(ends))
}

fn expires_in<W: Writer>(message: W, ends: Option<Duration>) -> W {
    match ends {
        Some(ends) => message.number("expires_in_ms", millis(ends)),
        None => message,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn publication<W: Writer>(publication: &Publication) -> W {
    // The data is most of it; names and numbers fit in the rest.
    let capacity = publication.data.len().saturating_add(256);
    let message = W::begin("message", capacity);
    publication_fields(
        message.text("channel", publication.channel.as_str()),
        publication,
    )
}

/// Adds the fields of a publication except for its channel.
pub(crate) fn publication_fields<W: Writer>(message: W, publication: &Publication) -> W {
    let mut message = message.position("position", publication.position);
    if !publication.follows_in_epoch() {
        message = message.position("previous", publication.previous);
    }
    message = message.content(&publication.data, publication.format);
    if let Some(publisher) = &publication.publisher {
        message = message.text_unless_empty("user", &publisher.user);
        message = message.plain("session", publisher.session);
    }
    if let Some(key) = &publication.key {
        message = message.text("key", key.as_str());
    }
    if !publication.tags.is_empty() {
        message = message.named("tags", publication.tags.iter());
    }
    message.number("time", publication.time_ms)
}

/// Adds the subscription that a message refers to.
fn named<W: Writer>(message: W, subscription: &SubscriptionName) -> W {
    let message = match &subscription.target {
        Target::Channel(channel) => message.text("channel", channel.as_str()),
        Target::Filter(filter) => message.text("filter", filter.as_str()),
    };
    subscription_number(message, subscription.id)
}

fn subscription_number<W: Writer>(message: W, id: Option<SubscriptionId>) -> W {
    match id {
        Some(id) => message.number("subscription", u64::from(id.0)),
        None => message,
    }
}

pub(super) fn presence<W: Writer>(change: &PresenceChange) -> W {
    let message = W::short(presence_kind(change)).text("channel", change.channel.as_str());
    member(message, &change.member)
}

pub(super) const fn presence_kind(change: &PresenceChange) -> &'static str {
    if change.joined { "join" } else { "leave" }
}

fn member<W: Writer>(message: W, member: &Member) -> W {
    let message = message.plain("session", member.session);
    let message = message.text_unless_empty("user", &member.user);
    if member.info.is_empty() {
        return message;
    }
    message.json("info", &member.info)
}

pub(super) fn notice<W: Writer>(notice: &Notice) -> W {
    match notice {
        Notice::Reply { id, reply } => answer(*id, reply),
        Notice::Gap {
            subscription,
            from,
            to,
            reason,
            agreed,
        } => {
            let message = named(W::short("gap"), subscription)
                .position("from", *from)
                .position("to", *to)
                .text("reason", reason.name());
            match agreed {
                Some(agreed) => message.position("agreed", *agreed),
                None => message,
            }
        }
        Notice::ChannelGap {
            subscription,
            channel,
            from,
            to,
            reason,
        } => named(W::short("gap"), subscription)
            .text("channel", channel.as_str())
            .position("from", *from)
            .position("to", *to)
            .text("reason", reason.name()),
        Notice::Own {
            subscription,
            channel,
            position,
            previous,
            at,
        } => {
            let message = named(W::short("own"), subscription);
            let message = match at {
                Some(at) => message
                    .text("channel", channel.as_str())
                    .position("at", *at),
                None => message,
            };
            message
                .position("position", *position)
                .position("previous", *previous)
        }
        Notice::Restored => W::short("restored"),
        Notice::Told { data, format } => W::short("told").content(data, *format),
        Notice::CatchingUp {
            subscription,
            position,
        } => named(W::short("catching_up"), subscription).position("position", *position),
        Notice::Live {
            subscription,
            position,
        } => named(W::short("live"), subscription).position("position", *position),
        Notice::Unsubscribed {
            subscription,
            refusal,
        } => refusal_fields(named(W::short("unsubscribed"), subscription), refusal),
        Notice::Reconnect { after } => W::short("reconnect").number("after_ms", millis(*after)),
        Notice::Close { reason } => W::short("closing").text("reason", reason.name()),
    }
}

pub(super) fn rejection<W: Writer>(id: Option<CommandId>, refusal: &Refusal) -> W {
    refusal_fields(numbered("error", id), refusal)
}

fn answer<W: Writer>(id: Option<CommandId>, reply: &Reply) -> W {
    match reply {
        Reply::Published {
            position,
            duplicate,
        } => {
            let message: W = numbered("published", id);
            let message = message.position("position", *position);
            match duplicate {
                true => message.flag("duplicate", true),
                false => message,
            }
        }
        Reply::Subscribed {
            subscription,
            position,
            live,
            by_server,
            acknowledged: _,
        } => {
            let object = named::<W>(numbered("subscribed", id), subscription);
            let object = object.position("position", *position).flag("live", *live);
            // Clients give back subscriptions that their resume token has restored and that they do
            // not know.
            match *by_server {
                true => object.text("by", "server"),
                false => object,
            }
        }
        Reply::Unsubscribed { subscription } => named(numbered("unsubscribed", id), subscription),
        Reply::Done { subscription } => named(numbered("done", id), subscription),
        Reply::InfoUpdated => numbered("presence_updated", id),
        Reply::Called { data, format } => numbered::<W>("called", id).content(data, *format),
        Reply::History {
            channel,
            head,
            publications,
            gap,
            more,
        } => {
            let message = page(numbered::<W>("history", id), channel, *head, publications);
            let message = match gap.map(GapReason::name) {
                Some(reason) => message.text("gap", reason),
                None => message,
            };
            and_more(message, *more)
        }
        Reply::State {
            channel,
            head,
            values,
            more,
        } => and_more(page(numbered("state", id), channel, *head, values), *more),
        Reply::Members {
            channel,
            subscription,
            members,
            total,
        } => subscription_number::<W>(numbered("members", id), *subscription)
            .text("channel", channel.as_str())
            .objects("members", members, |message, one| member(message, one))
            .number("total", *total),
        Reply::Acked { channel, position } => {
            let message = numbered::<W>("acked", id).text("channel", channel.as_str());
            match position {
                Some(position) => message.position("position", *position),
                None => message,
            }
        }
        Reply::Receipts {
            channel,
            position,
            receipts,
        } => numbered::<W>("received", id)
            .text("channel", channel.as_str())
            .position("position", *position)
            .number("received", receipts.received)
            .number("subscribers", receipts.subscribers)
            .texts(
                "sessions",
                receipts.sessions.iter().map(ToString::to_string),
            ),
        // Native clients can't ask for the first two.
        Reply::Values { .. } | Reply::Remembered | Reply::Pong => numbered("pong", id),
        Reply::Refused(refusal) => refusal_fields(numbered("error", id), refusal),
    }
}

/// Publications of a channel, read once.
fn page<W: Writer>(
    message: W,
    channel: &ChannelName,
    head: Position,
    publications: &[Arc<Publication>],
) -> W {
    let message = message.text("channel", channel.as_str());
    message
        .position("head", head)
        .objects("messages", publications, |message, one| {
            publication_fields(message, one)
        })
}

fn and_more<W: Writer>(message: W, more: bool) -> W {
    match more {
        true => message.flag("more", true),
        false => message,
    }
}

fn numbered<W: Writer>(kind: &str, id: Option<CommandId>) -> W {
    match id {
        Some(id) => W::short(kind).number("id", id.0),
        None => W::short(kind),
    }
}

/// Adds the fields of a refusal.
pub(crate) fn refusal_fields<W: Writer>(message: W, refusal: &Refusal) -> W {
    let message = message
        .text("code", refusal.code.name())
        .text("message", &refusal.detail);
    let message = message.text("retry", refusal.code.retry().name());
    let message = match &refusal.backend {
        Some(told) => message.json("backend", told.as_bytes()),
        None => message,
    };
    match refusal.retry_after {
        Some(pause) => message.number("retry_after_ms", millis(pause)),
        None => message,
    }
}
