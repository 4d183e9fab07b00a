//! A queue in which a broker puts answers and updates for one worker.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use offhook_engine::BrokerEvent;

/// A queue from a broker's threads to one worker. Answers always fit: the worker limits them by its
/// requests. Updates (publications, joins and leaves) are limited in bytes. Those that do not fit
/// are dropped and replaced by a [`BrokerEvent::Lagged`], after which the engine looks up what it
/// missed.
pub struct Mailbox {
    queue: Mutex<Queue>,
    bytes: usize,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    events: Vec<BrokerEvent>,
    /// The weight of the updates in `events`; at most `Mailbox::bytes` plus one publication.
    news: usize,
}

impl Mailbox {
    /// A mailbox for this many bytes of updates. `wake` is called, from any thread, when an event
    /// is put into an empty mailbox; it must not block.
    pub fn new(bytes: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            queue: Mutex::default(),
            bytes,
            wake: Box::new(wake),
        }
    }

    /// Takes all events, in order.
    #[must_use]
    pub fn take(&self) -> Vec<BrokerEvent> {
        let mut queue = self.lock();
        queue.news = 0;
        std::mem::take(&mut queue.events)
    }

    /// Adds an event.
    pub fn put(&self, event: BrokerEvent) {
        if self.put_later(event) {
            self.wake();
        }
    }

    /// As [`put`](Self::put), without waking the worker. Returns whether it must be woken.
    pub(crate) fn put_later(&self, event: BrokerEvent) -> bool {
        let mut queue = self.lock();
        let was_empty = queue.events.is_empty();
        queue.put(event, self.bytes);
        was_empty
    }

    pub(crate) fn wake(&self) {
        (self.wake)();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic elsewhere leaves the queue in a valid state.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn put(&mut self, event: BrokerEvent, limit: usize) {
        let weight = match &event {
            BrokerEvent::Publication(publication) => publication.weight(),
            BrokerEvent::Presence(change) => change.member.info.len() + NEWS_OVERHEAD,
            BrokerEvent::Returned { .. } => NEWS_OVERHEAD,
            BrokerEvent::Published { .. }
            | BrokerEvent::Followed { .. }
            | BrokerEvent::History { .. }
            | BrokerEvent::Members { .. }
            | BrokerEvent::Acked { .. }
            | BrokerEvent::Receipts { .. }
            | BrokerEvent::AskReceipts { .. }
            | BrokerEvent::Failed { .. }
            | BrokerEvent::State { .. }
            | BrokerEvent::Values { .. }
            | BrokerEvent::SessionSaved { .. }
            | BrokerEvent::FilterHistory { .. }
            | BrokerEvent::Session { .. }
            | BrokerEvent::Claimed { .. }
            | BrokerEvent::LeaseEnded
            | BrokerEvent::Lagged => 0,
        };
        if weight > 0 && self.news >= limit {
            if self.events.last() != Some(&BrokerEvent::Lagged) {
                self.events.push(BrokerEvent::Lagged);
            }
            return;
        }
        self.news += weight;
        self.events.push(event);
    }
}

/// The weight of a join or leave in addition to the member's info, and of what was returned.
const NEWS_OVERHEAD: usize = 128;

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
