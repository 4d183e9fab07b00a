//! The budget for what waits to be sent, over all connections of the process.
//!
//! Who loses what, in this order: first the buffers of the slowest connections, which read on from the
//! history instead, their cursor kept; then new connections, which are refused; then the connections
//! with the most unsent bytes, which are closed and can resume.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget, and what each worker uses of it.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    /// By the workers' numbers; each writes its own.
    unsent: Box<[AtomicUsize]>,
}

/// How much of the budget is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// Less than half of it.
    Low,
    /// More than half: outboxes are limited to a quarter of their normal size.
    High,
    /// More than three quarters: outboxes are limited to a sixteenth, and no connections are
    /// accepted.
    Severe,
    /// All of it: the slowest connections are closed.
    Exceeded,
}

impl Memory {
    pub(crate) fn new(limit: usize, workers: usize) -> Self {
        Self {
            limit,
            unsent: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// How many bytes are unsent.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent
            .iter()
            .map(|bytes| bytes.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn pressure(&self) -> Pressure {
        let unsent = self.unsent();
        if unsent > self.limit {
            Pressure::Exceeded
        } else if unsent > self.limit / 4 * 3 {
            Pressure::Severe
        } else if unsent > self.limit / 2 {
            Pressure::High
        } else {
            Pressure::Low
        }
    }

    /// A worker holds so much now. Returns how many bytes it has to free.
    pub(super) fn note(&self, worker: u16, held: usize) -> usize {
        if let Some(bytes) = self.unsent.get(usize::from(worker)) {
            bytes.store(held, Ordering::Relaxed);
        }
        let unsent = self.unsent();
        let over = unsent.saturating_sub(self.limit);
        // Its part of what is too much.
        let part = over as u128 * held as u128 / unsent.max(1) as u128;
        usize::try_from(part).unwrap_or(usize::MAX)
    }
}

impl Pressure {
    /// The limit of an outbox under this pressure.
    pub(super) const fn bound(self, bound: usize) -> usize {
        match self {
            Self::Low => bound,
            Self::High => bound / 4,
            Self::Severe | Self::Exceeded => bound / 16,
        }
    }

    /// The word in `/healthz`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::High => "high",
            Self::Severe => "severe",
            Self::Exceeded => "exceeded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_rises_with_what_all_workers_hold_together() {
        let memory = Memory::new(1_000, 2);
        assert_eq!(memory.note(0, 400), 0);
        assert_eq!(memory.pressure(), Pressure::Low);
        memory.note(1, 200);
        assert_eq!((memory.unsent(), memory.pressure()), (600, Pressure::High));
        memory.note(1, 500);
        assert_eq!(memory.pressure(), Pressure::Severe);
        memory.note(0, 0);
        assert_eq!((memory.unsent(), memory.pressure()), (500, Pressure::Low));
    }

    #[test]
    fn each_worker_frees_its_part_of_what_is_too_much() {
        let memory = Memory::new(1_000, 2);
        memory.note(0, 1_500);
        assert_eq!(memory.note(1, 500), 250);
        assert_eq!(memory.note(0, 1_500), 750);
        assert_eq!(memory.pressure(), Pressure::Exceeded);
    }
}
