//! Notifications: messages that the server sends unasked.

use offhook_engine::{Notice, Reply, SubscriptionId, SubscriptionName, Target};

use super::answer;
use crate::{dialect::Payload, json::Object};

/// The position that a client stores before the first publication. If history is delivered first,
/// the engine announces the position after that.
pub(super) fn live_at_once(reply: &Reply) -> Option<Payload> {
    let Reply::Subscribed {
        subscription,
        position,
        live: true,
        ..
    } = reply
    else {
        return None;
    };
    push(&Notice::Live {
        subscription: subscription.clone(),
        position: *position,
    })
}

/// The subscription that a notification concerns.
pub(super) fn named(subscription: &SubscriptionName) -> Object {
    let object = match subscription.id {
        Some(SubscriptionId(number)) => Object::part().raw("subscription", number),
        None => Object::part(),
    };
    match &subscription.target {
        Target::Channel(channel) => object.text("channel", channel.as_str()),
        Target::Filter(filter) => object.text("filter", filter.as_str()),
    }
}

/// A notification about a subscription, or about the connection.
pub(super) fn push(notice: &Notice) -> Option<Payload> {
    let (method, params) = match notice {
        Notice::Gap {
            subscription,
            from,
            to,
            reason,
            agreed,
        } => {
            let params = named(subscription)
                .raw("from", answer::place(*from))
                .raw("to", answer::place(*to))
                .text("reason", reason.name());
            let params = match agreed {
                Some(agreed) => params.raw("agreed", answer::place(*agreed)),
                None => params,
            };
            ("gap", params)
        }
        Notice::ChannelGap {
            subscription,
            channel,
            from,
            to,
            reason,
        } => {
            let params = named(subscription)
                .text("channel", channel.as_str())
                .raw("from", answer::place(*from))
                .raw("to", answer::place(*to))
                .text("reason", reason.name());
            ("gap", params)
        }
        Notice::Own {
            subscription,
            channel,
            position,
            previous,
            at,
        } => {
            let params = match at {
                Some(at) => named(subscription)
                    .text("channel", channel.as_str())
                    .raw("at", answer::place(*at)),
                None => named(subscription),
            };
            let params = params
                .raw("position", answer::place(*position))
                .raw("previous", answer::place(*previous));
            ("own", params)
        }
        Notice::CatchingUp {
            subscription,
            position,
        } => (
            "catching_up",
            answer::position(named(subscription), *position),
        ),
        Notice::Live {
            subscription,
            position,
        } => ("live", answer::position(named(subscription), *position)),
        Notice::Told { data, format } => ("told", answer::content(Object::part(), data, *format)),
        Notice::Reconnect { after } => {
            let params = Object::part().raw("after_ms", after.as_millis());
            ("reconnect", params)
        }
        // Sessions are not resumed in this dialect, and the other variants are not notifications.
        Notice::Restored
        | Notice::Reply { .. }
        | Notice::Unsubscribed { .. }
        | Notice::Close { .. } => return None,
    };
    Some(answer::push(method, params).into())
}
