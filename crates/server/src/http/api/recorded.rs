//! What is known about a connection, as JSON: its subscriptions, and the entries of the flight
//! recorder.

use offhook_engine::{Progress, SubscriptionName};
use serde_json::{Map, Value, json};

use super::verdict::ended;
use crate::worker::{Entry, Outcome, Sighting, What, Why};

/// One connection.
pub(super) fn connection(seen: &Sighting) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut set = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    if let Some(number) = seen.number {
        set("connection", number.into());
    }
    set("session", seen.session.to_string().into());
    if !seen.user.is_empty() {
        set("user", (&*seen.user).into());
    }
    set("worker", seen.worker.into());
    set("open", seen.ended.is_none().into());
    if let Some((at_ms, end)) = &seen.ended {
        set("ended", (*at_ms).into());
        set("end", ended(end).into());
    } else {
        set("unsent_bytes", seen.unsent.into());
    }
    let subscriptions: Vec<Value> = seen.progress.iter().map(subscription).collect();
    set("subscriptions", subscriptions.into());
    if seen.has_more {
        set("more_subscriptions", true.into());
    }
    let decisions: Vec<Value> = seen.recorded.decisions.iter().map(entry).collect();
    set("decisions", decisions.into());
    if seen.recorded.dropped > 0 {
        set("earlier_decisions", seen.recorded.dropped.into());
    }
    let messages: Vec<Value> = seen.recorded.messages.iter().map(entry).collect();
    set("messages", messages.into());
    shown
}

fn subscription(one: &Progress) -> Value {
    let mut shown = named(&one.subscription);
    shown["state"] = one.activity.name().into();
    shown["began_after"] = one.began_after.into();
    if let Some(position) = one.handed_out {
        shown["position"] = position.to_string().into();
    }
    if one.received > 0 {
        shown["received"] = one.received.into();
    }
    shown
}

fn named(name: &SubscriptionName) -> Value {
    let kind = match name.target.channel() {
        Some(_) => "channel",
        None => "filter",
    };
    let mut shown = json!({ kind: name.target.as_str() });
    if let Some(id) = name.id {
        shown["subscription"] = id.0.into();
    }
    shown
}

fn set_why(shown: &mut Value, why: &Why) {
    shown["code"] = why.code.into();
    shown["detail"] = (&*why.detail).into();
}

/// Something that happened.
fn entry(entry: &Entry) -> Value {
    let mut shown = what(&entry.what);
    shown["time"] = entry.at_ms.into();
    if entry.times > 1 {
        shown["times"] = entry.times.into();
    }
    shown
}

fn what(what: &What) -> Value {
    let of = |name: &SubscriptionName, what: &str| {
        let mut shown = named(name);
        shown["what"] = what.into();
        shown
    };
    match what {
        What::Subscribed { subscription, at } => {
            let mut shown = of(subscription, "subscribed");
            shown["position"] = at.to_string().into();
            shown
        }
        What::Refused { verb, target, why } => {
            let mut shown = json!({ "what": "refused" });
            if !verb.is_empty() {
                shown["verb"] = (*verb).into();
            }
            if let Some(target) = target {
                let kind = target.channel().map_or("filter", |_| "channel");
                shown[kind] = target.as_str().into();
            }
            set_why(&mut shown, why);
            shown
        }
        What::Unsubscribed { subscription, why } => {
            let mut shown = of(subscription, "unsubscribed");
            if let Some(why) = why {
                set_why(&mut shown, why);
            }
            shown
        }
        What::Gap {
            subscription,
            channel,
            from,
            to,
            reason,
        } => {
            let mut shown = of(subscription, "gap");
            if let Some(channel) = channel {
                shown["channel"] = channel.as_str().into();
            }
            shown["from"] = from.to_string().into();
            shown["to"] = to.to_string().into();
            shown["reason"] = (*reason).into();
            shown
        }
        What::Behind { subscription, at } => {
            let mut shown = of(subscription, "behind");
            shown["position"] = at.to_string().into();
            shown
        }
        What::Live { subscription, at } => {
            let mut shown = of(subscription, "live");
            shown["position"] = at.to_string().into();
            shown
        }
        What::Reconnect { after_ms } => json!({ "what": "reconnect", "after_ms": after_ms }),
        What::Closing { reason } => json!({ "what": "closing", "reason": reason }),
        What::Called { method, .. } => json!({ "what": "called", "method": method }),
        What::Published {
            channel,
            bytes,
            key,
            outcome,
            ..
        } => {
            let mut shown = json!({ "channel": channel.as_str(), "bytes": bytes });
            if let Some(key) = key {
                shown["key"] = key.as_str().into();
            }
            match outcome {
                Outcome::Pending => shown["what"] = "publishing".into(),
                Outcome::Published {
                    position,
                    duplicate,
                } => {
                    shown["what"] = "published".into();
                    shown["position"] = position.to_string().into();
                    shown["duplicate"] = (*duplicate).into();
                }
                Outcome::Refused(why) => {
                    shown["what"] = "publish_refused".into();
                    set_why(&mut shown, why);
                }
            }
            shown
        }
    }
}
