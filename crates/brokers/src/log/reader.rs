//! The thread that reads history, so that nobody's long read delays an fsync.

use std::sync::{
    Arc,
    mpsc::{Receiver, SyncSender, sync_channel},
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, ChannelName, Publication, ReadLimit, ReadStart, RequestId,
    StreamState, Trimmed,
};

use super::{
    condition::Condition,
    damage,
    record::{decode, offset_of},
    shared_store::SharedStore,
    store::Store,
};
use crate::{
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
    condition: Arc<Condition>,
}

impl Reader {
    pub(super) fn new(
        store: SharedStore,
        condition: Arc<Condition>,
    ) -> (SyncSender<ReadJob>, Self) {
        let (reads, jobs) = sync_channel(WAITING);
        (
            reads,
            Self {
                store,
                jobs,
                condition,
            },
        )
    }

    /// Until the writer is gone.
    pub(super) fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            let id = job.id;
            let event = match self.read(&job) {
                Ok((stream, start, publications)) => BrokerEvent::History {
                    id,
                    stream,
                    start,
                    publications,
                },
                Err(failure) => BrokerEvent::Failed { id, failure },
            };
            job.mailbox.put(event);
        }
    }

    fn read(&self, job: &ReadJob) -> Result<Read, BrokerFailure> {
        let store = self.store.get().ok_or(BrokerFailure::StorageFailed)?;
        let mut stream = job.stream;
        let head = stream.head.offset;
        let mut page = read_page(&store, job, job.start.after.offset + 1);
        if let Some(damage) = page.damage.take() {
            let Damage { offset, failure } = damage;
            if failure != BrokerFailure::StorageCorrupt {
                return Err(failure);
            }
            self.condition
                .damaged(&job.channel, format!("damaged at offset {offset}"));
            if page.publications.is_empty() {
                // What can be read behind it follows; what is before it came with an earlier page.
                let next = damage::next_readable(&store, &job.channel, job.number, offset, head);
                let next = next.unwrap_or(head + 1);
                page = read_page(&store, job, next);
                page.first_found = Some(next);
                stream.trimmed = Trimmed::Damaged;
            }
        }
        // What was trimmed since the job was made is no longer there, and said so.
        let first = stream.first.max(page.first_found.unwrap_or(0));
        stream.first = first;
        let after = job.start.after.offset.max(first.saturating_sub(1));
        let start = ReadStart {
            after: job.lineage.at(&job.epochs, after),
            ..job.start
        };
        Ok((stream, start, page.publications))
    }
}

/// Where something can't be read.
struct Damage {
    offset: u64,
    failure: BrokerFailure,
}

type Read = (StreamState, ReadStart, Vec<Arc<Publication>>);

#[derive(Default)]
struct Page {
    publications: Vec<Arc<Publication>>,
    /// The first offset on disk, when it is later than what was asked for.
    first_found: Option<u64>,
    /// Where the page ends although more was asked for.
    damage: Option<Damage>,
}

fn read_page(store: &Store, job: &ReadJob, from: u64) -> Page {
    let stream = job.stream;
    let head = stream.head.offset;
    let mut page = Page::default();
    if from > head || job.limit.count == 0 {
        return page;
    }
    let (mut next, mut bytes, mut hole) = (from, 0, false);
    let each = |key: &[u8], value: &[u8]| {
        let offset = offset_of(key).unwrap_or(0);
        if offset > head {
            return false;
        }
        if page.publications.is_empty() && offset > next && from == stream.first {
            page.first_found = Some(offset);
            next = offset;
        }
        let at = |offset| job.lineage.at(&job.epochs, offset);
        let place = (at(offset.saturating_sub(1)), at(offset));
        let publication = decode(&job.channel, place, value).filter(|_| offset == next);
        let Some(publication) = publication else {
            hole = true;
            return false;
        };
        next += 1;
        bytes += publication.weight();
        if bytes > job.limit.bytes && !page.publications.is_empty() {
            return false;
        }
        page.publications.push(Arc::new(publication));
        page.publications.len() < job.limit.count as usize
    };
    let read = damage::read(store, job.number, from, each);
    let failure = read.err().or(hole.then_some(BrokerFailure::StorageCorrupt));
    page.damage = failure.map(|failure| Damage {
        offset: next,
        failure,
    });
    if page.publications.is_empty() && page.damage.is_none() {
        page.first_found = Some(head + 1);
    }
    page
}
