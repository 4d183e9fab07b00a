//! Events for the backend, in order and in batches.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use offhook_brokers::{Changes, ChannelChange};
use offhook_engine::{Identity, SessionId};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::question::with_identity;

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
    events: VecDeque<Value>,
    /// Dropped since the last batch was made.
    dropped: u64,
    /// Dropped since the start.
    all_dropped: u64,
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

    pub(super) fn put(&self, event: Value) {
        self.queue().put(event, self.limit);
        self.wake.notify_one();
    }

    /// Takes the next batch from the queue, as the body of a request; none if the queue is empty.
    pub(super) fn batch(&self, now_ms: u64) -> Option<Value> {
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
        let many = queue.events.len().min(BATCH);
        let events: Vec<Value> = queue.events.drain(..many).collect();
        let dropped = std::mem::take(&mut queue.dropped);
        Some(json!({ "type": "events", "dropped": dropped, "events": events }))
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue().events.len()
    }

    pub(super) fn all_dropped(&self) -> u64 {
        self.queue().all_dropped
    }
}

impl Queue {
    fn put(&mut self, event: Value, limit: usize) {
        if self.events.len() >= limit {
            self.events.pop_front();
            self.dropped += 1;
            self.all_dropped += 1;
        }
        self.events.push_back(event);
    }
}

fn of_channel(change: &ChannelChange, now_ms: u64) -> Value {
    let (kind, member) = match change {
        ChannelChange::Occupied(_) => ("occupied", None),
        ChannelChange::Vacated(_) => ("vacated", None),
        ChannelChange::Member(change) if change.joined => ("joined", Some(&change.member)),
        ChannelChange::Member(change) => ("left", Some(&change.member)),
    };
    let mut event = json!({ "type": kind, "channel": change.channel().as_str(), "time": now_ms });
    if let Some(member) = member {
        let identity = Identity {
            info: member.info.clone(),
            ..Identity::user(&member.user)
        };
        with_identity(&mut event, &identity, Some(member.session));
    }
    event
}

/// The event that a session was `resumed` or `disconnected`.
pub(super) fn of_session(
    kind: &str,
    identity: &Identity,
    session: SessionId,
    now_ms: u64,
) -> Value {
    let mut event = json!({ "type": kind, "time": now_ms });
    with_identity(&mut event, identity, Some(session));
    event
}

/// The event that the server has started. State derived from events of an earlier process is no
/// longer valid.
pub(super) fn started(now_ms: u64) -> Value {
    json!({ "type": "started", "time": now_ms })
}
