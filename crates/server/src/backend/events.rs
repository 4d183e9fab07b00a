//! Events for the backend, in order and in batches.

use bytes::Bytes;
use offhook_brokers::{Changes, ChannelChange};
use offhook_engine::{Identity, SessionId};

use super::{question::set_identity, queue::EventQueue};
use crate::json_object::JsonObject;

/// The next request with events; none if there are none.
pub(super) fn next(queue: &EventQueue, changes: &Changes, now_ms: u64) -> Option<(Bytes, usize)> {
    let (changes, dropped) = changes.take();
    queue.note_dropped(dropped);
    for change in changes {
        queue.put(of_channel(&change, now_ms));
    }
    let batch = queue.batch()?;
    let mut body = JsonObject::of("events");
    body.set("dropped", batch.dropped);
    body.set_json("events", batch.events.as_bytes());
    Some((body.text().into(), batch.count))
}

fn of_channel(change: &ChannelChange, now_ms: u64) -> String {
    let (kind, member) = match change {
        ChannelChange::Occupied(_) => ("occupied", None),
        ChannelChange::Vacated(_) => ("vacated", None),
        ChannelChange::Member { change, .. } if change.joined => ("joined", Some(&change.member)),
        ChannelChange::Member { change, .. } => ("left", Some(&change.member)),
    };
    let mut event = event(kind, now_ms);
    event.set("channel", change.channel().as_str());
    if let Some(member) = member {
        let identity = Identity {
            info: member.info.clone(),
            ..Identity::user(&member.user)
        };
        set_identity(&mut event, &identity, Some(member.session));
    }
    event.text()
}

/// The event that a session was `resumed` or `disconnected`.
pub(super) fn of_session(
    kind: &str,
    identity: &Identity,
    session: SessionId,
    now_ms: u64,
) -> String {
    let mut event = event(kind, now_ms);
    set_identity(&mut event, identity, Some(session));
    event.text()
}

/// The event that the server has started. State derived from events of an earlier process is no
/// longer valid.
pub(super) fn started(now_ms: u64) -> String {
    event("started", now_ms).text()
}

fn event(kind: &str, now_ms: u64) -> JsonObject {
    let mut event = JsonObject::of(kind);
    event.set("time", now_ms);
    event
}
