//! Events for the backend, in order and in batches.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use offhook_brokers::{Changes, ChannelChange};
use offhook_engine::{Identity, SessionId};
use tokio::sync::Notify;

use super::question::set_identity;
use crate::json_object::JsonObject;

/// The most events in one request. 100: some tens of kilobytes.
const BATCH: usize = 100;

/// The queue of events. Beyond a limit, the oldest events are dropped and counted.
#[derive(Debug)]
pub(super) struct Events {
    queue: Mutex<Queue>,
    limit: usize,
    wake: Arc<Notify>,
    /// Changes of channels reported by the broker.
    changes: Arc<Changes>,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<JsonObject>,
    /// Dropped since the last batch was made.
    dropped: u64,
    /// Dropped since the start.
    all_dropped: u64,
}

/// Events that are sent in one request.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) body: String,
    pub(super) count: usize,
}

impl Events {
    pub(super) fn new(limit: usize, wake: Arc<Notify>, changes: Arc<Changes>) -> Self {
        Self {
            queue: Mutex::default(),
            limit,
            wake,
            changes,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change is whole before anything that could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, event: JsonObject) {
        self.queue().put(event, self.limit);
        self.wake.notify_one();
    }

    /// Takes the next batch from the queue, as the body of a request; none if the queue is empty.
    pub(super) fn batch(&self, now_ms: u64) -> Option<Batch> {
        let (changes, dropped) = self.changes.take();
        let mut queue = self.queue();
        queue.dropped += dropped;
        queue.all_dropped += dropped;
        for change in changes {
            queue.put(of_channel(&change, now_ms), self.limit);
        }
        if queue.events.is_empty() {
            return None;
        }
        let count = queue.events.len().min(BATCH);
        let events: Vec<_> = queue.events.drain(..count).collect();
        let mut body = JsonObject::of("events");
        body.set("dropped", std::mem::take(&mut queue.dropped));
        body.set("events", events);
        Some(Batch {
            body: body.text(),
            count,
        })
    }

    /// Records that the backend has refused this many events. The next batch says that they were
    /// dropped.
    pub(super) fn refused(&self, count: usize) {
        let mut queue = self.queue();
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        queue.dropped = queue.dropped.saturating_add(count);
        queue.all_dropped = queue.all_dropped.saturating_add(count);
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue().events.len()
    }

    pub(super) fn all_dropped(&self) -> u64 {
        self.queue().all_dropped
    }
}

impl Queue {
    fn put(&mut self, event: JsonObject, limit: usize) {
        if self.events.len() >= limit {
            self.events.pop_front();
            self.dropped += 1;
            self.all_dropped += 1;
        }
        self.events.push_back(event);
    }
}

fn of_channel(change: &ChannelChange, now_ms: u64) -> JsonObject {
    let (kind, member) = match change {
        ChannelChange::Occupied(_) => ("occupied", None),
        ChannelChange::Vacated(_) => ("vacated", None),
        ChannelChange::Member(change) if change.joined => ("joined", Some(&change.member)),
        ChannelChange::Member(change) => ("left", Some(&change.member)),
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
    event
}

/// The event that a session was `resumed` or `disconnected`.
pub(super) fn of_session(
    kind: &str,
    identity: &Identity,
    session: SessionId,
    now_ms: u64,
) -> JsonObject {
    let mut event = event(kind, now_ms);
    set_identity(&mut event, identity, Some(session));
    event
}

/// The event that the server has started. State derived from events of an earlier process is no
/// longer valid.
pub(super) fn started(now_ms: u64) -> JsonObject {
    event("started", now_ms)
}

fn event(kind: &str, now_ms: u64) -> JsonObject {
    let mut event = JsonObject::of(kind);
    event.set("time", now_ms);
    event
}
