//! The budget for the memory that clients can make the process use: unsent output, incomplete
//! messages, and what the broker holds for channels in memory.
//!
//! When memory is short, it is freed in this order:
//!
//! 1. From half of the budget on, the buffers of the slowest connections: they continue from
//!    history, and keep their cursor.
//! 2. From three quarters on, new connections are refused, and the bodies of requests once they take a
//!    sixteenth of the budget. The connections with the most unsent bytes are closed, and resume, until
//!    less than three quarters are used or unsent output takes no more than a quarter: a few that do not
//!    read must not keep everybody else out.
//! 3. Beyond it, the connections with the largest incomplete messages are closed; they resume, and
//!    send the message again. What a dialect keeps for its client counts as such: open transactions and
//!    unacknowledged messages of STOMP. So does data of HTTP/2 that was received and not read, because the
//!    client does not read either: the connections of HTTP/2 that hold most of it are closed.
//! 4. Then the connections with the most unsent bytes are closed, whatever unsent output takes.
//!
//! Channels in memory may take half of the budget; within that, the broker decides what to free
//! (see [`offhook_brokers::Budget`]). Members may take a quarter: beyond it, subscriptions that would add
//! a member are refused.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget, and how much each worker uses of it.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    /// By the workers' numbers; each worker writes its own.
    workers: Box<[Part]>,
    /// What the broker holds.
    channels: AtomicUsize,
    /// Incomplete bodies of requests.
    bodies: AtomicUsize,
}

/// The incomplete body of a request, which is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Incomplete<'m> {
    memory: &'m Memory,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Part {
    unsent: AtomicUsize,
    unfinished: AtomicUsize,
}

/// The memory of connections: those of one worker, or all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    /// Unsent output.
    pub(crate) unsent: usize,
    /// Incomplete messages, and data of HTTP/2 that was not read.
    pub(crate) unfinished: usize,
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
    /// All of it: connections with incomplete messages and the slowest connections are closed.
    Exceeded,
}

impl Memory {
    pub(crate) fn new(limit: usize, workers: usize) -> Self {
        Self {
            limit,
            workers: (0..workers).map(|_| Part::default()).collect(),
            channels: AtomicUsize::new(0),
            bodies: AtomicUsize::new(0),
        }
    }

    /// Begins to count a body that is being received.
    pub(crate) const fn begin_body(&self) -> Incomplete<'_> {
        Incomplete {
            memory: self,
            bytes: 0,
        }
    }

    /// The memory of all connections.
    pub(crate) fn connections(&self) -> Connections {
        let mut all = Connections::default();
        for part in &self.workers {
            all.unsent += part.unsent.load(Ordering::Relaxed);
            all.unfinished += part.unfinished.load(Ordering::Relaxed);
        }
        all
    }

    /// All incomplete bodies of requests.
    pub(crate) fn bodies(&self) -> usize {
        self.bodies.load(Ordering::Relaxed)
    }

    /// The total that counts against the budget.
    pub(crate) fn used(&self) -> usize {
        let Connections { unsent, unfinished } = self.connections();
        unsent + unfinished + self.bodies() + self.channels.load(Ordering::Relaxed)
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn pressure(&self) -> Pressure {
        let used = self.used();
        if used > self.limit {
            Pressure::Exceeded
        } else if used > self.limit / 4 * 3 {
            Pressure::Severe
        } else if used > self.limit / 2 {
            Pressure::High
        } else {
            Pressure::Low
        }
    }

    /// Records how much the broker holds now.
    pub(super) fn note_channels(&self, held: usize) {
        self.channels.store(held, Ordering::Relaxed);
    }

    /// Records how much a worker holds now. Returns what it has to free.
    pub(super) fn note(&self, worker: u16, held: Connections) -> Connections {
        if let Some(part) = self.workers.get(usize::from(worker)) {
            part.unsent.store(held.unsent, Ordering::Relaxed);
            part.unfinished.store(held.unfinished, Ordering::Relaxed);
        }
        let all = self.connections();
        let over = self.used().saturating_sub(self.limit);
        let of_unfinished = over.min(all.unfinished);
        let severe = self.used().saturating_sub(self.limit / 4 * 3);
        let crowding = severe.min(all.unsent.saturating_sub(self.limit / 4));
        let of_unsent = (over - of_unfinished).max(crowding).min(all.unsent);
        Connections {
            unsent: part(of_unsent, held.unsent, all.unsent),
            unfinished: part(of_unfinished, held.unfinished, all.unfinished),
        }
    }
}

impl Incomplete<'_> {
    /// Sets the number of bytes that count. Returns `false` if the server is short of memory;
    /// nothing more may be received then.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        self.memory.bodies.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        match self.memory.pressure() {
            Pressure::Low | Pressure::High => true,
            // A publication or an operator's request must still get through.
            Pressure::Severe => self.memory.bodies() <= self.memory.limit / 16,
            Pressure::Exceeded => false,
        }
    }
}

impl Drop for Incomplete<'_> {
    fn drop(&mut self) {
        self.memory.bodies.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The part of `too_much` that one with `held` of `all` has to free.
pub(super) fn part(too_much: usize, held: usize, all: usize) -> usize {
    let part = too_much as u128 * held as u128 / all.max(1) as u128;
    usize::try_from(part).unwrap_or(usize::MAX)
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

    fn unsent(unsent: usize) -> Connections {
        Connections {
            unsent,
            unfinished: 0,
        }
    }

    #[test]
    fn memory_pressure_depends_on_the_sum_of_all_workers_and_the_broker() {
        let memory = Memory::new(1_000, 2);
        assert_eq!(memory.note(0, unsent(400)), unsent(0));
        assert_eq!(memory.pressure(), Pressure::Low);
        memory.note(1, unsent(200));
        assert_eq!((memory.used(), memory.pressure()), (600, Pressure::High));
        memory.note_channels(200);
        assert_eq!(memory.pressure(), Pressure::Severe);
        memory.note_channels(0);
        let unfinished = 300;
        memory.note(
            1,
            Connections {
                unsent: 200,
                unfinished,
            },
        );
        assert_eq!(memory.pressure(), Pressure::Severe);
        memory.note(0, unsent(0));
        assert_eq!((memory.used(), memory.pressure()), (500, Pressure::Low));
    }

    #[test]
    fn each_worker_frees_its_share_of_the_excess() {
        let memory = Memory::new(1_000, 2);
        memory.note(0, unsent(1_500));
        // Down to three quarters of the budget: 1250 of 2000.
        assert_eq!(memory.note(1, unsent(500)), unsent(312));
        assert_eq!(memory.note(0, unsent(1_500)), unsent(937));
        assert_eq!(memory.pressure(), Pressure::Exceeded);
    }

    #[test]
    fn connections_that_do_not_read_are_closed_before_they_keep_everybody_else_out() {
        let memory = Memory::new(1_000, 1);
        assert_eq!(memory.note(0, unsent(750)), unsent(0));
        assert_eq!(memory.note(0, unsent(900)), unsent(150));
        // Others take the memory: what is unsent is no more than a quarter.
        memory.note_channels(600);
        assert_eq!(memory.note(0, unsent(250)), unsent(0));
        assert_eq!(memory.pressure(), Pressure::Severe);
        assert_eq!(memory.note(0, unsent(500)), unsent(250));
    }

    #[test]
    fn small_requests_get_through_while_memory_is_short() {
        let memory = Memory::new(1_600, 1);
        memory.note(0, unsent(1_300));
        assert_eq!(memory.pressure(), Pressure::Severe);
        let (mut small, mut large) = (memory.begin_body(), memory.begin_body());
        assert!(small.grow_to(100));
        assert!(!large.grow_to(100), "together more than a sixteenth");
        drop(large);
        assert!(small.grow_to(100));
    }

    #[test]
    fn incomplete_messages_are_freed_before_unsent_output() {
        let memory = Memory::new(1_000, 1);
        let held = |unsent, unfinished| Connections { unsent, unfinished };
        assert_eq!(memory.note(0, held(200, 900)), held(0, 100));
        assert_eq!(memory.note(0, held(250, 1_400)), held(0, 650));
    }
}
