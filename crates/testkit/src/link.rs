//! One direction of a simulated transport.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How a link splits its stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segments {
    /// As it was written.
    AsWritten,
    /// Into pieces of these sizes, repeated.
    Sizes(Vec<usize>),
}

/// One direction of a simulated transport: bytes arrive in order, late, in segments, or never.
#[derive(Debug)]
pub struct Link {
    in_flight: VecDeque<(Instant, Vec<u8>)>,
    /// The number of bytes in `in_flight`.
    held: usize,
    /// How long bytes are in flight.
    pub delay: Duration,
    /// How bytes are split.
    pub segments: Segments,
    /// The capacity in bytes; a write beyond it is not accepted.
    pub capacity: usize,
    next_size: usize,
    lost: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            in_flight: VecDeque::new(),
            held: 0,
            delay: Duration::ZERO,
            segments: Segments::AsWritten,
            capacity: usize::MAX,
            next_size: 0,
            lost: false,
        }
    }
}

impl Link {
    /// How many bytes a write would accept now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.held)
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: &[u8], now: Instant) {
        if self.lost {
            return;
        }
        let arrival = now + self.delay;
        self.held += bytes.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = match &self.segments {
                Segments::AsWritten => rest.len(),
                Segments::Sizes(sizes) => {
                    self.next_size += 1;
                    sizes[(self.next_size - 1) % sizes.len()].clamp(1, rest.len())
                }
            };
            self.in_flight.push_back((arrival, rest[..size].to_vec()));
            rest = &rest[size..];
        }
    }

    /// The next segment that has arrived.
    pub fn read(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (arrival, _) = self.in_flight.front()?;
        if *arrival > now {
            return None;
        }
        let (_, bytes) = self.in_flight.pop_front()?;
        self.held -= bytes.len();
        Some(bytes)
    }

    /// When the next segment arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.front().map(|(arrival, _)| *arrival)
    }

    /// Drops everything in flight, and everything written from now on.
    pub fn lose(&mut self) {
        self.lost = true;
        self.in_flight.clear();
        self.held = 0;
    }
}
