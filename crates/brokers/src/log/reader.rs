//! The thread that reads history, so that nobody's long read delays an fsync.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, ChannelName, Publication, ReadLimit, ReadStart, RequestId,
    StreamState,
};

use super::{
    open_error::failure_of,
    record::{decode, offset_of},
    store::{SharedStore, Store},
};
use crate::{
    broker::Health,
    lineage::{Epochs, Lineage},
    mailbox::Mailbox,
};

/// Reads that may wait: all workers' reads under way fit many times.
const WAITING: usize = 4096;

pub(super) struct ReadJob {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) id: RequestId,
    pub(super) channel: ChannelName,
    pub(super) number: u32,
    pub(super) epochs: Arc<Epochs>,
    pub(super) lineage: Lineage,
    pub(super) stream: StreamState,
    pub(super) start: ReadStart,
    pub(super) limit: ReadLimit,
}

pub(super) struct Reader {
    store: SharedStore,
    jobs: Receiver<ReadJob>,
    health: Arc<Mutex<Health>>,
}

impl Reader {
    pub(super) fn new(
        store: SharedStore,
        health: Arc<Mutex<Health>>,
    ) -> (SyncSender<ReadJob>, Self) {
        let (reads, jobs) = sync_channel(WAITING);
        (
            reads,
            Self {
                store,
                jobs,
                health,
            },
        )
    }

    /// Until the writer is gone.
    pub(super) fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            let id = job.id;
            // The store may panic over a damaged block; that is one failed read, not a dead thread.
            let event = match catch_unwind(AssertUnwindSafe(|| self.read(&job))) {
                Ok(Ok((stream, start, publications))) => BrokerEvent::History {
                    id,
                    stream,
                    start,
                    publications,
                },
                Ok(Err(failure)) => BrokerEvent::Failed { id, failure },
                Err(_) => {
                    self.report(&format!("channel {}", job.channel));
                    BrokerEvent::Failed {
                        id,
                        failure: BrokerFailure::StorageCorrupt,
                    }
                }
            };
            job.mailbox.put(event);
        }
    }

    fn read(&self, job: &ReadJob) -> Result<Read, BrokerFailure> {
        let store = self.store.get().ok_or(BrokerFailure::StorageFailed)?;
        let page = read_page(&store, job).map_err(|error| {
            let failure = failure_of(&error);
            if failure == BrokerFailure::StorageCorrupt {
                self.report(&format!("channel {}: {error}", job.channel));
            }
            failure
        })?;
        if let Some(offset) = page.unreadable {
            self.report(&format!("channel {}, offset {offset}", job.channel));
            return Err(BrokerFailure::StorageCorrupt);
        }
        // What was trimmed since the job was made is no longer there, and said so.
        let first = page
            .first_found
            .map_or(job.stream.first, |first| first.max(job.stream.first));
        let stream = StreamState {
            first,
            ..job.stream
        };
        let after = job.start.after.offset.max(first.saturating_sub(1));
        let start = ReadStart {
            after: job.lineage.at(&job.epochs, after),
            ..job.start
        };
        Ok((stream, start, page.publications))
    }

    fn report(&self, what: &str) {
        let text = format!(
            "the log can't be read at {what}; restore it from a backup. What can be read is \
             served, the rest is refused with storage_corrupt"
        );
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::Corrupt(text);
    }
}

type Read = (StreamState, ReadStart, Vec<Arc<Publication>>);

#[derive(Default)]
struct Page {
    publications: Vec<Arc<Publication>>,
    /// The first offset on disk, when it is later than what was asked for.
    first_found: Option<u64>,
    /// The first offset that is not what it should be.
    unreadable: Option<u64>,
}

fn read_page(store: &Store, job: &ReadJob) -> fjall::Result<Page> {
    let stream = job.stream;
    let head = stream.head.offset;
    let from = job.start.after.offset + 1;
    let mut page = Page::default();
    if from > head || job.limit.count == 0 {
        return Ok(page);
    }
    let (mut next, mut bytes) = (from, 0);
    store.read(job.number, from, |key, value| {
        let offset = offset_of(key).unwrap_or(0);
        if offset > head {
            return false;
        }
        if page.publications.is_empty() && offset > next {
            page.first_found = Some(offset);
            next = offset;
        }
        let at = |offset| job.lineage.at(&job.epochs, offset);
        let place = (at(offset.saturating_sub(1)), at(offset));
        let publication = decode(&job.channel, place, value).filter(|_| offset == next);
        let Some(publication) = publication else {
            page.unreadable = Some(next);
            return false;
        };
        next += 1;
        bytes += publication.weight();
        if bytes > job.limit.bytes && !page.publications.is_empty() {
            return false;
        }
        page.publications.push(Arc::new(publication));
        page.publications.len() < job.limit.count as usize
    })?;
    if page.publications.is_empty() && page.unreadable.is_none() {
        page.first_found = Some(head + 1);
    }
    Ok(page)
}
