//! The content of what the server sends: acknowledgements, refusals and events.

use bytes::Bytes;
use offhook_engine::{
    Format, GapReason, Notice, Position, Refusal, Reply, SubscriptionName, Target,
};

use super::packet::{Kind, Packet};
use crate::{
    json::{Object, json},
    jsonrpc::answer::{self, place},
};

/// The placeholder of a packet's only attachment.
pub(super) const PLACEHOLDER: &str = r#"{"_placeholder":true,"num":0}"#;

/// A JSON object, and the bytes that its placeholder stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) json: String,
    pub(super) attachment: Option<Bytes>,
}

impl From<Object> for Content {
    fn from(object: Object) -> Self {
        Self {
            json: object.end(),
            attachment: None,
        }
    }
}

/// An acknowledgement.
pub(super) fn acknowledgement(namespace: &str, ack: u64, content: Content) -> Packet {
    Packet {
        ack: Some(ack),
        attachments: content.attachment.into_iter().collect(),
        ..Packet::new(Kind::Ack, namespace, format!("[{}]", content.json))
    }
}

/// An event, with an offset if the connection requested recovery.
pub(super) fn event(namespace: &str, name: &str, content: Content, offset: Option<&str>) -> Packet {
    let json = match offset {
        // An offset contains no characters that JSON escapes.
        Some(offset) => format!("[\"{name}\",{},\"{offset}\"]", content.json),
        None => format!("[\"{name}\",{}]", content.json),
    };
    Packet {
        attachments: content.attachment.into_iter().collect(),
        ..Packet::new(Kind::Event, namespace, json)
    }
}

/// The acknowledgement of a refused event.
pub(super) fn error(refusal: &Refusal) -> Content {
    let refusal = refused(Object::part(), refusal).end();
    Object::part().raw("error", refusal).into()
}

/// The code and the message of a refusal, and whether to try again.
pub(super) fn refused(object: Object, refusal: &Refusal) -> Object {
    let object = object
        .text("code", refusal.code.name())
        .text("message", &refusal.detail);
    answer::refusal_fields(object, refusal)
}

/// A packet that refuses to connect the client to a namespace.
pub(super) fn connect_error(namespace: &str, refusal: &Refusal) -> Packet {
    let data = Object::part().text("code", refusal.code.name());
    let data = answer::refusal_fields(data, refusal).end();
    let json = Object::part()
        .text("message", &refusal.detail)
        .raw("data", data);
    Packet::new(Kind::ConnectError, namespace, json.end())
}

/// The answer to a command.
pub(super) fn result(reply: &Reply) -> Result<Content, Refusal> {
    Ok(match reply {
        Reply::Refused(refusal) => return Err(refusal.clone()),
        Reply::Called { data, format } => data_of(data, *format),
        Reply::Subscribed { .. }
        | Reply::Unsubscribed { .. }
        | Reply::Done { .. }
        | Reply::InfoUpdated
        | Reply::Values { .. }
        | Reply::Remembered
        | Reply::Pong
        | Reply::Acked { position: None, .. } => Object::part().into(),
        Reply::Published { .. }
        | Reply::History { .. }
        | Reply::State { .. }
        | Reply::Members { .. }
        | Reply::Receipts { .. }
        | Reply::Acked { .. } => Content {
            json: answer::result(reply).map_err(answer::Failure::into_refusal)?,
            attachment: None,
        },
    })
}

/// The backend's answer to a custom event.
pub(super) fn bare(reply: &Reply) -> Result<Content, Refusal> {
    let Reply::Called { data, format } = reply else {
        return result(reply);
    };
    Ok(match format {
        Format::Json if data.is_empty() => Content {
            json: "null".to_owned(),
            attachment: None,
        },
        Format::Json => Content {
            json: String::from_utf8_lossy(data).into_owned(),
            attachment: None,
        },
        Format::Text => Content {
            json: json(&String::from_utf8_lossy(data)),
            attachment: None,
        },
        Format::Binary => Content {
            json: PLACEHOLDER.to_owned(),
            attachment: Some(data.clone()),
        },
    })
}

/// Data as the whole content.
pub(super) fn data_of(data: &Bytes, format: Format) -> Content {
    match format {
        Format::Json if data.is_empty() => Object::part().raw("data", "null").into(),
        Format::Binary => Content {
            json: Object::part().raw("data", PLACEHOLDER).end(),
            attachment: Some(data.clone()),
        },
        Format::Json | Format::Text => answer::content(Object::part(), data, format).into(),
    }
}

/// The acknowledgement of `subscribe`: the newest position and, if a position was requested,
/// whether the subscription continues from there without a gap.
pub(super) fn subscribed(position: Position, goes_on: bool, gap: Option<GapReason>) -> Content {
    let mut object = answer::position(Object::part(), position);
    if goes_on {
        object = object.raw("recovered", gap.is_none());
    }
    match gap {
        Some(reason) => object.text("reason", reason.name()).into(),
        None => object.into(),
    }
}

/// The subscription that an event is about.
pub(super) fn named(subscription: &SubscriptionName) -> Object {
    match &subscription.target {
        Target::Channel(channel) => Object::part().text("channel", channel.as_str()),
        Target::Filter(filter) => Object::part().text("filter", filter.as_str()),
    }
}

/// The event for a notice about a subscription, and the subscription's position after it; none for
/// other notices.
pub(super) fn about_subscription(
    notice: &Notice,
) -> Option<(&SubscriptionName, &'static str, Content, Option<Position>)> {
    Some(match notice {
        Notice::Gap {
            subscription,
            from,
            to,
            reason,
            agreed,
        } => {
            let gap = named(subscription)
                .raw("from", place(*from))
                .raw("to", place(*to))
                .text("reason", reason.name());
            let gap = match agreed {
                Some(agreed) => gap.raw("agreed", place(*agreed)),
                None => gap,
            };
            (subscription, "gap", gap.into(), Some(*to))
        }
        Notice::ChannelGap {
            subscription,
            channel,
            from,
            to,
            reason,
        } => {
            let gap = named(subscription)
                .text("channel", channel.as_str())
                .raw("from", place(*from))
                .raw("to", place(*to))
                .text("reason", reason.name());
            (subscription, "gap", gap.into(), None)
        }
        Notice::Own {
            subscription,
            channel,
            position,
            previous,
            at,
        } => {
            let own = named(subscription);
            let own = match at {
                Some(at) => own.text("channel", channel.as_str()).raw("at", place(*at)),
                None => own,
            };
            let own = answer::position(own, *position).raw("previous", place(*previous));
            (
                subscription,
                "own",
                own.into(),
                Some(at.unwrap_or(*position)),
            )
        }
        Notice::CatchingUp {
            subscription,
            position,
        } => {
            let at = answer::position(named(subscription), *position);
            (subscription, "catching_up", at.into(), Some(*position))
        }
        Notice::Live {
            subscription,
            position,
        } => {
            let at = answer::position(named(subscription), *position);
            (subscription, "live", at.into(), Some(*position))
        }
        Notice::Unsubscribed {
            subscription,
            refusal,
        } => {
            let ended = refused(named(subscription), refusal);
            (subscription, "unsubscribed", ended.into(), None)
        }
        Notice::Reply { .. }
        | Notice::Restored
        | Notice::Told { .. }
        | Notice::Reconnect { .. }
        | Notice::Close { .. } => return None,
    })
}
