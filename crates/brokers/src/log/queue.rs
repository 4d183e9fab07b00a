//! The writer's queue.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use offhook_engine::{BrokerFailure, BrokerRequest, ChannelName, Now};

use super::{retained::Retained, shared::answered};
use crate::{broker::WorkerId, hub::Change};

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
    Request {
        worker: WorkerId,
        request: BrokerRequest,
    },
    /// A channel that is not in use and has something to trim.
    Swept {
        channel: ChannelName,
        retained: Box<Retained>,
    },
    /// A session to be saved with the next batch.
    Session(Change),
    Tick(Now),
    /// Other rules hold: what is known of channels was made by the old ones.
    NewRules,
    Stop,
}

impl Job {
    /// The wall-clock time it contains, if it does.
    pub(super) fn time(&self) -> Option<u64> {
        match self {
            Self::Tick(now) => Some(now.unix_ms),
            Self::Request { .. }
            | Self::Loaded { .. }
            | Self::Swept { .. }
            | Self::Session(_)
            | Self::NewRules
            | Self::Stop => None,
        }
    }

    /// Whether it may cause a publication.
    pub(super) fn may_publish(&self) -> bool {
        matches!(self, Self::Request { .. } | Self::Loaded { .. })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Request { request, .. } => request_bytes(request),
            Self::Loaded { .. }
            | Self::Swept { .. }
            | Self::Session(_)
            | Self::Tick(_)
            | Self::NewRules
            | Self::Stop => 0,
        }
    }

    /// Never rejected: jobs that free space, and those limited to one per connection.
    fn is_bounded_elsewhere(&self) -> bool {
        match self {
            Self::Request { request, .. } => answered(request).is_none(),
            Self::Loaded { .. }
            | Self::Swept { .. }
            | Self::Session(_)
            | Self::Tick(_)
            | Self::NewRules
            | Self::Stop => true,
        }
    }
}

/// Bytes that a request holds while it waits: data, and tags, which may be more.
pub(super) fn request_bytes(request: &BrokerRequest) -> usize {
    match request {
        BrokerRequest::Publish { draft, .. } => draft.weight(),
        BrokerRequest::Follow { .. }
        | BrokerRequest::Unfollow { .. }
        | BrokerRequest::FollowFilter { .. }
        | BrokerRequest::UnfollowFilter { .. }
        | BrokerRequest::FilterHistory { .. }
        | BrokerRequest::SaveSession { .. }
        | BrokerRequest::DropSession { .. }
        | BrokerRequest::LoadSession { .. }
        | BrokerRequest::History { .. }
        | BrokerRequest::State { .. }
        | BrokerRequest::Join { .. }
        | BrokerRequest::Leave { .. }
        | BrokerRequest::Members { .. }
        | BrokerRequest::Ack { .. }
        | BrokerRequest::Receipts { .. }
        | BrokerRequest::Found { .. }
        | BrokerRequest::Renew { .. } => 0,
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

    /// Queues a job, or returns it if the queue is full.
    pub(super) fn put(&self, job: Job) -> Option<Job> {
        let jobs = self.lock();
        let full = jobs.waiting.len() >= self.count || jobs.bytes >= self.bytes;
        if full && !job.is_bounded_elsewhere() {
            return Some(job);
        }
        self.push(jobs, job);
        None
    }

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

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
