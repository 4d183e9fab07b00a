//! Reports a connection to [`Metrics`](crate::Metrics), and as events of the feature `tracing`. A
//! connection without either has no observer.
//!
//! Counting is done under the connection's lock; telling runs code that is not ours, and is done
//! when the lock has been released.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use offhook_protocol::{Closed, Event};

use super::now;
use crate::metrics::{Counter, Traffic};
use crate::trace::Span;

/// The receivers of one connection's reports, and what has not been reported yet.
#[derive(Debug)]
pub(super) struct Observer {
    counter: Counter,
    span: Span,
    opened: Instant,
    bytes_received: Count,
    bytes_sent: Count,
    messages_received: Count,
    messages_sent: Count,
    /// The connection's own count, modulo 2^32, when it was last taken.
    sent_so_far: AtomicU32,
}

/// A number that only grows, and how much of it was reported.
#[derive(Debug, Default)]
struct Count {
    total: AtomicU64,
    told: AtomicU64,
}

impl Count {
    fn add(&self, more: u64) {
        self.total.fetch_add(more, Relaxed);
    }

    /// Takes what was not reported; two threads at the same time do not take the same.
    fn take(&self) -> u64 {
        let total = self.total.load(Relaxed);
        total.saturating_sub(self.told.fetch_max(total, Relaxed))
    }

    fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }
}

impl Observer {
    /// Starts to observe a connection that has opened, if there is a receiver.
    pub(super) fn begin(counter: &Counter, span: Span) -> Option<Box<Self>> {
        if counter.0.is_none() && !span.is_heard() {
            return None;
        }
        let observer = Box::new(Self {
            counter: counter.clone(),
            span,
            opened: now(),
            bytes_received: Count::default(),
            bytes_sent: Count::default(),
            messages_received: Count::default(),
            messages_sent: Count::default(),
            sent_so_far: AtomicU32::new(0),
        });
        if let Some(metrics) = &observer.counter.0 {
            metrics.opened();
        }
        observer.span.opened();
        Some(observer)
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes_received.add(bytes as u64);
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.bytes_sent.add(bytes as u64);
    }

    /// Counts an event if it is a message, or the last of one.
    pub(super) fn received(&self, event: &Event<'_>) {
        match event {
            Event::Message(_) => self.messages_received.add(1),
            Event::Chunk(chunk) if chunk.last => self.messages_received.add(1),
            Event::Chunk(_) | Event::Ping(_) | Event::Pong { .. } | Event::Close(_) => {}
        }
    }

    pub(super) fn received_messages(&self, messages: u64) {
        self.messages_received.add(messages);
    }

    /// Records the number of messages sent so far, modulo 2^32, under the connection's lock.
    #[cold]
    pub(super) fn sent_so_far(&self, messages: u32) {
        let before = self.sent_so_far.swap(messages, Relaxed);
        self.messages_sent.add(messages.wrapping_sub(before).into());
    }

    fn tell_traffic(&self) {
        let Some(metrics) = &self.counter.0 else {
            return;
        };
        let traffic = Traffic {
            bytes_received: self.bytes_received.take(),
            bytes_sent: self.bytes_sent.take(),
            messages_received: self.messages_received.take(),
            messages_sent: self.messages_sent.take(),
        };
        if traffic != Traffic::default() {
            metrics.transferred(&traffic);
        }
    }

    fn tell_round_trip(&self, time: Duration) {
        if let Some(metrics) = &self.counter.0 {
            metrics.round_trip(time);
        }
    }

    pub(super) fn tell_end(&self, closed: &Closed) {
        let open_for = now().saturating_duration_since(self.opened);
        if let Some(metrics) = &self.counter.0 {
            metrics.closed(closed, open_for);
        }
        let total = Traffic {
            bytes_received: self.bytes_received.total(),
            bytes_sent: self.bytes_sent.total(),
            messages_received: self.messages_received.total(),
            messages_sent: self.messages_sent.total(),
        };
        self.span.closed(closed, &total, open_for);
    }
}

/// What was recorded under the lock; reported on drop, after the lock is released.
pub(super) struct Told<'d> {
    pub(super) observer: Option<&'d Observer>,
    news: Option<Box<News>>,
}

/// What does not happen in every turn.
#[derive(Default)]
struct News {
    round_trips: Vec<Duration>,
    closed: Option<Closed>,
}

impl<'d> Told<'d> {
    #[inline]
    pub(super) const fn by(observer: Option<&'d Observer>) -> Self {
        Self {
            observer,
            news: None,
        }
    }

    pub(super) fn round_trip(&mut self, time: Duration) {
        if self.observer.is_some() {
            self.news.get_or_insert_default().round_trips.push(time);
        }
    }

    pub(super) fn closed(&mut self, closed: impl FnOnce() -> Option<Closed>) {
        if self.observer.is_some() {
            self.news.get_or_insert_default().closed = closed();
        }
    }

    #[cold]
    fn tell(&mut self, observer: &Observer) {
        observer.tell_traffic();
        let Some(news) = self.news.take() else {
            return;
        };
        for time in news.round_trips {
            observer.tell_round_trip(time);
        }
        if let Some(closed) = news.closed {
            observer.tell_end(&closed);
        }
    }
}

impl Drop for Told<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(observer) = self.observer {
            self.tell(observer);
        }
    }
}
