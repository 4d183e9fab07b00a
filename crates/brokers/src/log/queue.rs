//! The writer's queue.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use offhook_engine::{BrokerFailure, ChannelName, Now, RequestId};

use super::{retained::Retained, write::Write};
use crate::broker::WorkerId;

/// The most requests that the writer takes at once, covered by one fsync.
const BATCH: usize = 8192;

#[derive(Debug)]
pub(super) enum Job {
    /// A channel that the writer requested.
    Loaded {
        channel: ChannelName,
        /// None if nothing was ever published in it.
        found: Result<Option<Box<Retained>>, BrokerFailure>,
        /// The value of `Shared::reopened` before it was loaded.
        reopened: u64,
    },
    Write {
        worker: WorkerId,
        write: Write,
    },
    /// A channel that is not in use and has something to trim.
    Swept {
        channel: ChannelName,
        retained: Box<Retained>,
    },
    /// All sessions saved before this must become durable, and then the worker is notified.
    Saved {
        worker: WorkerId,
        id: RequestId,
    },
    Tick(Now),
    /// The rules changed: cached channels were loaded with the old ones.
    NewRules,
    Stop,
}

impl Job {
    /// The wall-clock time it contains, if it does.
    pub(super) fn time(&self) -> Option<u64> {
        match self {
            Self::Tick(now) => Some(now.unix_ms),
            Self::Write { .. }
            | Self::Loaded { .. }
            | Self::Swept { .. }
            | Self::Saved { .. }
            | Self::NewRules
            | Self::Stop => None,
        }
    }

    /// Whether it may cause a publication.
    pub(super) fn may_publish(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Loaded { .. })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Write { write, .. } => write.bytes(),
            Self::Loaded { .. }
            | Self::Swept { .. }
            | Self::Saved { .. }
            | Self::Tick(_)
            | Self::NewRules
            | Self::Stop => 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct JobQueue {
    jobs: Mutex<Jobs>,
    filled: Condvar,
    count: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    bytes: usize,
    /// How many requests the writer has taken that wait until their channel is loaded, and their
    /// bytes. They take up room as if they were still here.
    parked: (usize, usize),
}

impl JobQueue {
    pub(super) fn new(count: usize, bytes: usize) -> Self {
        Self {
            jobs: Mutex::default(),
            filled: Condvar::new(),
            count,
            bytes,
        }
    }

    /// Queues requests, and wakes the writer once. Returns those for which the queue has no room: the
    /// last ones, since nothing is taken from the queue meanwhile.
    pub(super) fn put(&self, worker: WorkerId, writes: impl Iterator<Item = Write>) -> Vec<Write> {
        let mut left = Vec::new();
        let mut jobs = self.lock();
        let was_empty = jobs.waiting.is_empty();
        let (parked, parked_bytes) = jobs.parked;
        for write in writes {
            let is_full = jobs.waiting.len() + parked >= self.count
                || jobs.bytes + parked_bytes >= self.bytes;
            if is_full {
                left.push(write);
                continue;
            }
            jobs.bytes += write.bytes();
            jobs.waiting.push_back(Job::Write { worker, write });
        }
        let is_filled = was_empty && !jobs.waiting.is_empty();
        drop(jobs);
        if is_filled {
            self.filled.notify_one();
        }
        left
    }

    /// Sets how many requests the writer has parked, and their bytes.
    pub(super) fn set_parked(&self, count: usize, bytes: usize) {
        self.lock().parked = (count, bytes);
    }

    /// Queues a job that frees space, or of which there is a bounded number.
    pub(super) fn put_always(&self, job: Job) {
        self.push(self.lock(), job);
    }

    fn push(&self, mut jobs: MutexGuard<'_, Jobs>, job: Job) {
        if let (Some(Job::Tick(last)), Job::Tick(now)) = (jobs.waiting.back_mut(), &job) {
            // While an fsync takes long, only the latest time is needed.
            *last = *now;
            return;
        }
        jobs.bytes += job.bytes();
        jobs.waiting.push_back(job);
        let was_empty = jobs.waiting.len() == 1;
        drop(jobs);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Waits until the queue is not empty, and takes what one batch covers.
    pub(super) fn take(&self) -> Vec<Job> {
        let mut jobs = self.lock();
        while jobs.waiting.is_empty() {
            jobs = self
                .filled
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let count = jobs.waiting.len().min(BATCH);
        let taken: Vec<_> = jobs.waiting.drain(..count).collect();
        let bytes: usize = taken.iter().map(Job::bytes).sum();
        jobs.bytes = jobs.bytes.saturating_sub(bytes);
        taken
    }

    /// How many jobs wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
