//! The queue of events for one receiver. Beyond its limits, the oldest events are dropped and counted.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::receiver::Receiver;

/// The most events in one request. 100: usually some tens of kilobytes.
const BATCH: usize = 100;

/// The most bytes of events in one request, unless one event alone has more. 1 MiB: what web servers
/// accept by default.
const BATCH_BYTES: usize = 1 << 20;

/// The most bytes of all events in a queue. 16 MiB: 1 KiB for each at the default of `backend.events`.
const BYTES: usize = 16 << 20;

/// Events that wait to be sent, each as JSON.
#[derive(Debug)]
pub(super) struct EventQueue {
    queue: Mutex<Queue>,
    limit: usize,
    told: AtomicU64,
    wake: Notify,
    closing: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<String>,
    bytes: usize,
    /// Dropped since the last batch was made.
    dropped: u64,
    /// Dropped since the start.
    all_dropped: u64,
}

/// Events that are sent in one request.
#[derive(Debug)]
pub(super) struct Batch {
    /// A JSON array.
    pub(super) events: String,
    pub(super) count: usize,
    /// How many were dropped before them.
    pub(super) dropped: u64,
}

impl EventQueue {
    /// A queue of at most this many events.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            queue: Mutex::default(),
            limit,
            told: AtomicU64::new(0),
            wake: Notify::new(),
            closing: AtomicBool::new(false),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change is whole before anything that could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, event: String) {
        self.queue().put(event, self.limit);
        self.wake();
    }

    /// Wakes the task that delivers the events.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Records that this many events were dropped before they were put.
    pub(super) fn note_dropped(&self, count: u64) {
        let mut queue = self.queue();
        queue.dropped = queue.dropped.saturating_add(count);
        queue.all_dropped = queue.all_dropped.saturating_add(count);
    }

    /// Takes the next batch; none if the queue is empty.
    pub(super) fn batch(&self) -> Option<Batch> {
        let mut queue = self.queue();
        let mut events = queue.take()?;
        let mut count = 1;
        while count < BATCH
            && let Some(next) = queue.events.front()
            && events.len() + next.len() < BATCH_BYTES
        {
            let next = queue.take()?;
            events = events + "," + &next;
            count += 1;
        }
        Some(Batch {
            events: format!("[{events}]"),
            count,
            dropped: std::mem::take(&mut queue.dropped),
        })
    }

    /// Delivers batch after batch, and repeats each until the receiver accepts it. Ends after the last
    /// batch once the queue is [closed](Self::close).
    pub(super) async fn deliver(
        &self,
        receiver: &Receiver,
        next: impl Fn() -> Option<(Bytes, usize)>,
    ) {
        loop {
            while let Some((body, count)) = next() {
                let many = u64::try_from(count).unwrap_or(u64::MAX);
                if receiver.deliver(body).await {
                    self.told.fetch_add(many, Ordering::Relaxed);
                } else {
                    // The next batch says that they were dropped.
                    self.note_dropped(many);
                }
            }
            if self.closing.load(Ordering::Relaxed) {
                return;
            }
            self.wake.notified().await;
        }
    }

    /// Nothing more is put.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// How many events the receiver has accepted.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue().events.len()
    }

    pub(super) fn all_dropped(&self) -> u64 {
        self.queue().all_dropped
    }
}

impl Queue {
    fn put(&mut self, event: String, limit: usize) {
        self.bytes += event.len();
        self.events.push_back(event);
        while (self.events.len() > limit || self.bytes > BYTES) && self.events.len() > 1 {
            self.take();
            self.dropped += 1;
            self.all_dropped += 1;
        }
    }

    fn take(&mut self) -> Option<String> {
        let event = self.events.pop_front()?;
        self.bytes -= event.len();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_are_dropped_if_there_are_too_many_or_too_large_ones() {
        let queue = EventQueue::new(3);
        for event in 0..5 {
            queue.put(event.to_string());
        }
        let batch = queue.batch().unwrap();
        assert_eq!((&*batch.events, batch.dropped), ("[2,3,4]", 2));
        for _ in 0..3 {
            queue.put("x".repeat(BYTES / 2));
        }
        assert_eq!((queue.waiting(), queue.all_dropped()), (2, 3));
    }

    #[test]
    fn a_batch_has_a_limited_number_of_events_and_bytes() {
        let queue = EventQueue::new(1_000);
        for _ in 0..=BATCH {
            queue.put("1".to_owned());
        }
        queue.put("2".repeat(BATCH_BYTES));
        queue.put("3".to_owned());
        let counts: Vec<_> = std::iter::from_fn(|| Some(queue.batch()?.count)).collect();
        assert_eq!(counts, [BATCH, 1, 1, 1]);
    }
}
