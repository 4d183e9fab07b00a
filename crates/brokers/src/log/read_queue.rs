//! The queue of the thread that reads.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use offhook_engine::{ChannelName, ReadLimit, ReadStart, RequestId, StreamState};

use super::{
    filters::FilterJob,
    loading::StateLoad,
    states::{Reading, ValuesJob},
};
use crate::{
    lineage::{Epochs, Lineage},
    mailbox::Mailbox,
};

/// How many reads can be queued: many times the reads in flight of all workers.
const READS: usize = 4096;
/// How many channels can be queued for loading for followers: enough for a crowd that reconnects,
/// each client to its own channel.
const LOADS: usize = 65_536;

/// How many loads the reader takes at once.
const AT_ONCE: usize = 64;

pub(super) struct ReadJob {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) id: RequestId,
    pub(super) channel: ChannelName,
    pub(super) number: u32,
    pub(super) epochs: Arc<Epochs>,
    pub(super) lineage: Arc<Lineage>,
    pub(super) stream: StreamState,
    pub(super) start: ReadStart,
    /// The newest up to `start.agreed`, and not what follows `start.after`.
    pub(super) backward: bool,
    pub(super) limit: ReadLimit,
}

/// A read of a channel's state.
pub(super) struct StateJob {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) id: RequestId,
    pub(super) channel: ChannelName,
    pub(super) number: u32,
    pub(super) stream: StreamState,
    /// Present once some of it was read.
    pub(super) reading: Option<Reading>,
}

/// Something to load from disk.
#[derive(Debug)]
pub(super) enum Load {
    /// A channel that is followed or read.
    ForBus(ChannelName),
    /// A channel that is published in.
    ForWriter(ChannelName),
    /// Some of all channels, to find old publications in those that are not in use.
    Sweep,
}

/// The reader's queue. Loads come before reads, because more depends on them; the kinds of reads take
/// turns, so that none can keep the others waiting.
#[derive(Default)]
pub(super) struct ReadQueue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    /// Something was queued of which the reader was not told.
    unannounced: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    loads: VecDeque<Load>,
    reads: VecDeque<ReadJob>,
    filters: VecDeque<FilterJob>,
    states: VecDeque<StateJob>,
    values: VecDeque<ValuesJob>,
    /// Channels of which the writer needs the keys of the state; limited by its own queue.
    state_loads: VecDeque<Box<StateLoad>>,
    /// The kind whose turn it is.
    turn: usize,
    closed: bool,
}

pub(super) enum Task {
    Load(Vec<Load>),
    Read(ReadJob),
    Filter(FilterJob),
    State(StateJob),
    Values(ValuesJob),
    StateLoad(Box<StateLoad>),
}

/// The kinds of reads in the order of their turns. History is read in small pages, and most often:
/// it has every other turn.
const TURNS: [Kind; 8] = [
    Kind::History,
    Kind::State,
    Kind::History,
    Kind::Filter,
    Kind::History,
    Kind::Values,
    Kind::History,
    Kind::StateLoad,
];

#[derive(Clone, Copy)]
enum Kind {
    History,
    State,
    Filter,
    Values,
    StateLoad,
}

impl Waiting {
    /// The next read of the kind whose turn it is, or of the first kind after it with one.
    fn next_read(&mut self) -> Option<Task> {
        for _ in TURNS {
            let kind = TURNS.get(self.turn).copied().unwrap_or(Kind::History);
            self.turn = (self.turn + 1) % TURNS.len();
            let task = match kind {
                Kind::History => self.reads.pop_front().map(Task::Read),
                Kind::State => self.states.pop_front().map(Task::State),
                Kind::Filter => self.filters.pop_front().map(Task::Filter),
                Kind::Values => self.values.pop_front().map(Task::Values),
                Kind::StateLoad => self.state_loads.pop_front().map(Task::StateLoad),
            };
            if task.is_some() {
                return task;
            }
        }
        None
    }
}

impl ReadQueue {
    /// Queues a load. `false` if too many are queued; those for the writer are limited by its own
    /// queue.
    pub(super) fn load(&self, load: Load) -> bool {
        let queued = self.load_later(load);
        self.wake();
        queued
    }

    /// As [`load`](Self::load), for a caller that calls [`wake`](Self::wake) once it has queued all
    /// loads that it knows of. A crowd opens thousands of channels, and waking a thread takes longer
    /// than looking one up.
    pub(super) fn load_later(&self, load: Load) -> bool {
        let mut waiting = self.lock();
        if matches!(load, Load::ForBus(_)) && waiting.loads.len() >= LOADS {
            return false;
        }
        waiting.loads.push_back(load);
        drop(waiting);
        self.unannounced.store(true, Ordering::Release);
        true
    }

    /// Wakes the reader if loads were queued without that.
    pub(super) fn wake(&self) {
        if self.unannounced.swap(false, Ordering::AcqRel) {
            self.filled.notify_one();
        }
    }

    /// Queues a read. `false` if too many are queued.
    pub(super) fn read(&self, job: ReadJob) -> bool {
        let mut waiting = self.lock();
        if waiting.reads.len() >= READS {
            return false;
        }
        waiting.reads.push_back(job);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Queues a read of a state. `false` if too many are queued.
    pub(super) fn state(&self, job: StateJob) -> bool {
        let mut waiting = self.lock();
        if waiting.states.len() >= READS {
            return false;
        }
        waiting.states.push_back(job);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Queues a read of all channels that match a filter. `false` if too many are queued.
    pub(super) fn filter(&self, job: FilterJob) -> bool {
        let mut waiting = self.lock();
        if waiting.filters.len() >= READS {
            return false;
        }
        waiting.filters.push_back(job);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Queues a read of the states of all channels that match a filter. `false` if too many are queued.
    pub(super) fn values(&self, job: ValuesJob) -> bool {
        let mut waiting = self.lock();
        if waiting.values.len() >= READS {
            return false;
        }
        waiting.values.push_back(job);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Takes back a read of a state of which a slice was done.
    pub(super) fn go_on_with_state(&self, job: StateJob) {
        self.lock().states.push_back(job);
    }

    /// Takes a load of which a slice is to be done, or was done.
    pub(super) fn load_state(&self, load: Box<StateLoad>) {
        self.lock().state_loads.push_back(load);
    }

    /// Takes back a read of states of which a slice was done.
    pub(super) fn go_on_with_values(&self, job: ValuesJob) {
        self.lock().values.push_back(job);
    }

    /// Takes back a read by filter of which a slice was done.
    pub(super) fn go_on(&self, job: FilterJob) {
        self.lock().filters.push_back(job);
    }

    /// The reader ends with what waits now.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    pub(super) fn take(&self) -> Option<Task> {
        let mut waiting = self.lock();
        loop {
            if !waiting.loads.is_empty() {
                let count = waiting.loads.len().min(AT_ONCE);
                return Some(Task::Load(waiting.loads.drain(..count).collect()));
            }
            if let Some(read) = waiting.next_read() {
                return Some(read);
            }
            if waiting.closed {
                return None;
            }
            waiting = self
                .filled
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
