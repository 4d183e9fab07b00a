//! One webhook: the events that it reports, in the form of Pusher.

use bytes::Bytes;
use offhook_auth::App;
use offhook_brokers::ChannelChange;
use offhook_dialects::pusher::{
    ClientEvent, Kind, Report, kind_of, name_of, user_came, visible_user,
};
use offhook_engine::ChannelName;

use super::super::{queue::EventQueue, receiver::Receiver};
use crate::{config::PusherEvent, json_object::JsonObject};

/// A webhook of an app.
pub(super) struct Hook {
    pub(super) app: Box<str>,
    pub(super) prefix: Box<str>,
    pub(super) wanted: Vec<PusherEvent>,
    pub(super) queue: EventQueue,
    pub(super) receiver: Receiver,
}

impl Hook {
    pub(super) fn is_of(&self, app: &App) -> bool {
        *self.app == *app.id()
    }

    /// Queues an event, if it is wanted.
    fn put(&self, kind: PusherEvent, channel: &ChannelName, details: impl FnOnce(&mut JsonObject)) {
        if !self.wanted.contains(&kind) {
            return;
        }
        let Some(name) = name_of(&self.prefix, channel.as_str()) else {
            return;
        };
        let mut event = JsonObject::default();
        event.set("name", kind.name());
        event.set("channel", &name);
        details(&mut event);
        self.queue.put(event.text());
    }

    /// Queues the event of a channel's change.
    pub(super) fn changed(&self, change: &ChannelChange) {
        match change {
            ChannelChange::Occupied(channel) => {
                self.put(PusherEvent::ChannelOccupied, channel, |_| {});
            }
            ChannelChange::Vacated(channel) => {
                self.put(PusherEvent::ChannelVacated, channel, |_| {});
            }
            ChannelChange::Member { change, .. } => {
                let name = name_of(&self.prefix, change.channel.as_str());
                let kind = match user_came(change) {
                    Some(true) => PusherEvent::MemberAdded,
                    Some(false) => PusherEvent::MemberRemoved,
                    None => return,
                };
                if name.is_some_and(|name| kind_of(&name) == Kind::Presence) {
                    self.put(kind, &change.channel, |event| {
                        event.set("user_id", visible_user(&self.prefix, &change.member));
                    });
                }
            }
        }
    }

    /// Queues the event of a report.
    pub(super) fn report(&self, report: &Report) {
        match report {
            Report::CacheMiss { channel } => self.put(PusherEvent::CacheMiss, channel, |_| {}),
            Report::ClientEvent(ClientEvent {
                channel,
                event: name,
                data,
                socket_id,
                user,
            }) => self.put(PusherEvent::ClientEvent, channel, |event| {
                event.set("event", name);
                event.set("data", String::from_utf8_lossy(data));
                event.set("socket_id", socket_id);
                if let Some(user) = user {
                    event.set("user_id", user);
                }
            }),
        }
    }

    /// Queues the event that the number of a channel's subscribers has changed.
    pub(super) fn counted(&self, channel: &ChannelName, count: u64) {
        self.put(PusherEvent::SubscriptionCount, channel, |event| {
            event.set("subscription_count", count);
        });
    }

    /// The next request; none if no events wait.
    pub(super) fn next(&self, now_ms: u64) -> Option<(Bytes, usize)> {
        let batch = self.queue.batch()?;
        let mut body = JsonObject::default();
        body.set("time_ms", now_ms);
        body.set_json("events", batch.events.as_bytes());
        Some((body.text().into(), batch.count))
    }
}
