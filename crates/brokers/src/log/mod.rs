//! The log broker: durable streams in an embedded store, nothing else to install.
//!
//! **Which store, and why.** fjall 3.1 or redb 4.4. Both kept every acknowledged record through
//! kills and on a full disk; both refuse writes after a failed one until they are opened again,
//! which took either well under 100 ms. Under retention, which only fjall was put to here (100
//! channels, the newest 1,000 of each kept, 1 KiB records, 1.4 GB written, 100 MB retained) fjall
//! stayed between 110 and 290 MB on disk, with no growth over time. fjall appends four times as
//! fast (its journal is one sequential write and one fsync a group, redb's copy-on-write tree
//! writes a page path for each channel touched), and that is what an acknowledged publish waits
//! for. redb reads ranges three times as fast, but history pages are small and mostly in the
//! block cache. So: fjall. Nothing outside `store.rs` and `open_error.rs` knows it.
//!
//! **The way of a publication.** A worker's [`submit`](crate::Broker::submit) puts it into a
//! bounded queue. One writer thread takes everything that waits there, gives offsets, writes one
//! batch and makes it durable with one fsync: the longer an fsync takes, the more publications the
//! next one carries. Only then come the acknowledgements and the news to followers. Reads of
//! history go to a second thread, so that nobody's long read delays an fsync.
//!
//! **What is on disk**, five keyspaces in one journal, so that a batch is there whole or not at
//! all:
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `log` | channel number, offset | the publication |
//! | `keys` | channel number, user, idempotency key | offset, time |
//! | `cursors` | channel number, user, consumer | epoch, offset, time |
//! | `channels` | channel name | number, head, what is retained |
//! | `node` | `epochs`, `batch`, `channels` | this log's epochs, its newest batch, how many channels |
//!
//! Every start of a log begins a new epoch in all its channels, at the next offset of each; the
//! list of epochs is kept. So a position of an older epoch is good up to where that epoch ended,
//! and beyond it is known to be of another stream: of a log that was restored from an older copy,
//! or that lost its newest publications. A channel that nobody has published to costs nothing on
//! disk, and its position is good across restarts all the same.
//!
//! **What if the disk lies or breaks.** Blocks and journal entries carry checksums. Beside the
//! store lies a witness: 16 bytes with the number of the newest batch that was acknowledged,
//! written after the batch and outside its journal. A store that opens with an older batch than
//! its witness has lost something acknowledged, and is not served as good.

mod open_error;
mod queue;
mod reader;
mod record;
mod retained;
mod store;
mod witness;
mod writer;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use offhook_engine::{BrokerEvent, BrokerFailure, BrokerRequest, Now, RequestId, RuleBook};

pub use self::open_error::OpenError;
use self::{
    queue::{Job, JobQueue},
    reader::Reader,
    store::{SharedStore, Store},
    witness::Witness,
    writer::Writer,
};
use crate::{
    broker::{Broker, Health, WorkerId},
    hub::Hub,
    mailbox::Mailbox,
};

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The publication is on the disk: it survives a power cut.
    #[default]
    Fsync,
    /// The publication is with the operating system: it survives the death of this process, not
    /// that of the machine. Faster on slow disks.
    Os,
}

/// How a log is opened. Every bound says its default and why.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The directory; made if it is not there.
    pub path: PathBuf,
    /// What an acknowledgement promises. Default: `Fsync`.
    pub durability: Durability,
    /// Serve a log that has lost acknowledged publications; a subscriber that had them is told
    /// of a gap. Default: no; an operator decides that. With
    /// [`Durability::Os`] it is always accepted: a power cut may take what was promised to
    /// survive only this process.
    pub accept_loss: bool,
    /// Publications waiting for the writer. Default 65,536: half a second of a fast disk.
    pub queue_count: usize,
    /// Bytes of data waiting for the writer. Default 64 MiB.
    pub queue_bytes: usize,
    /// Bytes of memory for blocks read from disk. Default 64 MiB.
    pub cache_bytes: u64,
}

impl LogOptions {
    /// The defaults, in this directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::default(),
            accept_loss: false,
            queue_count: 65_536,
            queue_bytes: 64 << 20,
            cache_bytes: 64 << 20,
        }
    }
}

/// The embedded, durable broker. Dropping it finishes what is queued and closes the store.
///
/// ```
/// use std::{sync::Arc, time::Instant};
/// use offhook_brokers::{Broker, Log, LogOptions};
/// use offhook_engine::{ChannelRules, Now, RuleBook};
///
/// let directory = tempfile::tempdir()?;
/// let rules = Arc::new(RuleBook::everything(ChannelRules::default()));
/// let now = Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 };
/// let log = Log::open(LogOptions::new(directory.path()), rules, now)?;
/// assert!(log.health().is_good());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Log {
    queue: Arc<JobQueue>,
    health: Arc<Mutex<Health>>,
    /// The mailboxes are needed here only to say that the queue is full.
    mailboxes: Mutex<std::collections::BTreeMap<WorkerId, Arc<Mailbox>>>,
    next_worker: AtomicU64,
    threads: Vec<JoinHandle<()>>,
}

impl Log {
    /// Opens the log, or begins one.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the directory and what to do.
    pub fn open(options: LogOptions, rules: Arc<RuleBook>, now: Now) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let io = |error| OpenError::Io {
            path: path.clone(),
            error,
        };
        std::fs::create_dir_all(&path).map_err(io)?;
        let store = Store::open(&options).map_err(|error| OpenError::of(&path, error))?;
        let witness = Witness::open(&path).map_err(io)?;
        let accept_loss = options.accept_loss || options.durability == Durability::Os;
        let epochs = store.begin_epoch(&witness, now, accept_loss, &path)?;
        let newest = store
            .newest()
            .map_err(|error| OpenError::of(&path, error))?;
        let sequence = Arc::new(AtomicU64::new(newest.sequence));
        let queue = Arc::new(JobQueue::new(options.queue_count, options.queue_bytes));
        let health = Arc::new(Mutex::new(Health::Good));
        let store = SharedStore::new(options, store);
        let (reads, reader) = Reader::new(store.clone(), Arc::clone(&health));
        let hub = Hub::new(rules, sequence, now);
        let writer = Writer::new(store, witness, reads, hub, epochs, Arc::clone(&health));
        let jobs = Arc::clone(&queue);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(io)
        };
        let threads = vec![
            spawn("log-writer", Box::new(move || writer.run(&jobs)))?,
            spawn("log-reader", Box::new(move || reader.run()))?,
        ];
        let (mailboxes, next_worker) = (Mutex::default(), AtomicU64::new(1));
        Ok(Self {
            queue,
            health,
            mailboxes,
            next_worker,
            threads,
        })
    }

    fn busy(&self, worker: WorkerId, id: RequestId) {
        let mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(mailbox) = mailboxes.get(&worker) {
            mailbox.put(BrokerEvent::Failed {
                id,
                failure: BrokerFailure::Busy,
            });
        }
    }
}

impl Broker for Log {
    fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId {
        let worker = WorkerId(self.next_worker.fetch_add(1, Ordering::Relaxed));
        let mut mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        mailboxes.insert(worker, Arc::clone(&mailbox));
        self.queue.put_always(Job::Attach { worker, mailbox });
        worker
    }

    fn detach(&self, worker: WorkerId) {
        let mut mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        mailboxes.remove(&worker);
        self.queue.put_always(Job::Detach { worker });
    }

    fn submit(&self, worker: WorkerId, request: BrokerRequest) {
        if let Some(Job::Request { worker, request }) =
            self.queue.put(Job::Request { worker, request })
            && let Some(id) = answered(&request)
        {
            self.busy(worker, id);
        }
    }

    fn tick(&self, now: Now) {
        self.queue.put_always(Job::Tick(now));
    }

    fn health(&self) -> Health {
        if self.threads.iter().any(JoinHandle::is_finished) {
            let text = "a thread of the log died, its message is in the server's output; restart";
            return Health::Failing(text.to_owned());
        }
        self.health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The id of a request that wants an answer.
fn answered(request: &BrokerRequest) -> Option<RequestId> {
    match request {
        BrokerRequest::Publish { id, .. }
        | BrokerRequest::Follow { id, .. }
        | BrokerRequest::History { id, .. }
        | BrokerRequest::Members { id, .. }
        | BrokerRequest::Ack { id, .. }
        | BrokerRequest::FollowFilter { id, .. }
        | BrokerRequest::FilterHistory { id, .. }
        | BrokerRequest::LoadSession { id, .. }
        | BrokerRequest::Receipts { id, .. } => Some(*id),
        BrokerRequest::Unfollow { .. }
        | BrokerRequest::UnfollowFilter { .. }
        | BrokerRequest::SaveSession { .. }
        | BrokerRequest::DropSession { .. }
        | BrokerRequest::Join { .. }
        | BrokerRequest::Leave { .. }
        | BrokerRequest::Found { .. }
        | BrokerRequest::Renew { .. } => None,
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.put_always(Job::Stop);
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing more to say than its message.
            drop(thread.join());
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}
