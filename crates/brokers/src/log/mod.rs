//! The log broker: durable streams in an embedded store, with nothing else to install.
//!
//! **Which store, and why.** fjall 3.1 or redb 4.4. Both kept every acknowledged record through
//! kills and on a full disk. Both refuse writes after a failed one until they are opened again,
//! which took either well under 100 ms. Under retention, which was tested here only with fjall (100
//! channels, the newest 1,000 of each kept, 1 KiB records, 1.4 GB written, 100 MB retained), fjall
//! stayed between 110 and 290 MB on disk, with no growth over time. fjall appends four times as
//! fast (its journal is one sequential write and one fsync per group; redb's copy-on-write tree
//! writes a page path for each channel touched), and acknowledged publishes wait for that. redb
//! reads ranges three times as fast, but history pages are small and mostly in the block cache.
//! Therefore: fjall. Only `store.rs` and `open_error.rs` depend on it.
//!
//! **The path of a publication.** A worker's [`submit`](crate::Broker::submit) puts it into a
//! bounded queue. One writer thread takes everything that is queued, assigns offsets, writes one
//! batch and makes it durable with one fsync: the longer an fsync takes, the more publications the
//! next one covers. Only then are acknowledgements and updates for followers sent.
//!
//! **Everything else** is done in the caller's thread (`shared.rs`), based on what the bus knows of
//! each stream as of the last commit: the writer updates it under the same lock as its followers,
//! after the fsync and never during it. History, and channels that are not in use, are read by a
//! second thread. A slow fsync therefore delays durable acknowledgements and nothing else.
//!
//! **What is on disk**: five keyspaces in one journal, so that a batch is present as a whole or not
//! at all:
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `log` | channel number, offset | the publication |
//! | `keys` | channel number, user, idempotency key | offset, time |
//! | `cursors` | channel number, user, consumer | epoch, offset, time |
//! | `channels` | channel name | number, head, what is retained |
//! | `node` | `epochs`, `batch`, `channels`, `rules`, `clock` | this log's epochs, its newest batch, how many channels, which are on disk, steps of the wall clock |
//!
//! Every start of a log begins a new epoch in all its channels, at the next offset of each; the
//! list of epochs is kept. A position of an older epoch is therefore valid up to where that epoch
//! ended. Beyond that it is known to belong to another stream: of a log that was restored from an
//! older copy, or that lost its newest publications. A channel without publications costs nothing
//! on disk, and its position is still valid across restarts.
//!
//! Every keyspace also has an entry that says to which log it belongs.
//!
//! **If files are missing, or from another log.** The `manifest` lists what a log consists of;
//! `inventory.rs` compares it with the directory before the store may change anything, because the
//! store assumes that what is missing never existed. If something named in the manifest is missing,
//! the log is not opened.
//!
//! **If the disk fails or returns wrong data.** Blocks and journal entries carry checksums. A
//! separate file, the `witness`, contains the number of the newest acknowledged batch, written
//! after the batch and outside its journal. A store that opens with an older batch than its witness
//! has lost acknowledged data, and is not used. One that opens with a newer batch contains data
//! whose fsync may have failed: its journals are first copied into new files (`copy_forward.rs`).
//! After a failed write the store is only read until the disk accepts writes again. A publication
//! that cannot be read causes a gap with its own reason, and nothing else (`damage.rs`).

mod backward;
mod checker;
mod condition;
mod copy_forward;
mod damage;
mod filters;
mod inventory;
mod kept_states;
mod loading;
mod manifest;
mod older;
mod open_error;
mod opening;
mod past_rules;
mod private;
mod queue;
mod read_queue;
mod reader;
mod record;
mod retained;
mod shared;
mod shared_store;
mod snapshot;
mod states;
mod store;
#[cfg(test)]
mod tests;
mod view;
mod witness;
mod write;
mod writer;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use offhook_engine::{BrokerRequest, Now, RuleBook, SessionId};

use self::{
    checker::Checker,
    condition::Condition,
    inventory::Inventory,
    opening::Opened,
    queue::{Job, JobQueue},
    read_queue::ReadQueue,
    reader::Reader,
    shared::{Disk, Shared, WriterTimings},
    shared_store::SharedStore,
    store::Store,
    witness::Witness,
    writer::Writer,
};
pub use self::{
    open_error::OpenError,
    private::private_directory,
    snapshot::{Snapshot, SnapshotError},
    view::{ChannelSummary, CheckReport, Entry, LogView},
};
use crate::{
    broker::{Broker, Budget, Health, Held, Occupied, Timings, WorkerId},
    changes::Changes,
    hub::{Hub, Saved},
    mailbox::Mailbox,
};

/// What an acknowledgement guarantees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The publication is on the disk: it survives a power failure.
    #[default]
    Fsync,
    /// The operating system has the publication: it survives the death of this process, but not of
    /// the machine. Faster on slow disks.
    Os,
}

/// Options for opening a log. Each limit states its default and the reason.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The directory; created if it does not exist.
    pub path: PathBuf,
    /// What an acknowledgement guarantees. Default: `Fsync`.
    pub durability: Durability,
    /// Whether to open a log that has lost acknowledged publications; subscribers that had them are
    /// told of a gap. Default: no, since an operator should decide. With [`Durability::Os`] loss is
    /// always accepted: a power failure may take what was only guaranteed to survive this process.
    pub accept_loss: bool,
    /// Publications queued for the writer. Default 65,536: half a second of a fast disk.
    pub queue_count: usize,
    /// Bytes of data queued for the writer. Default 64 MiB.
    pub queue_bytes: usize,
    /// Bytes of memory to cache blocks from disk. Default 64 MiB.
    pub cache_bytes: u64,
    /// Bytes read per tick to find damage, so that everything is read repeatedly; 0 disables it.
    /// Default 4 MiB: 14 GB an hour, a small part of what any disk can read.
    pub check_bytes: usize,
    /// What the log may hold, in memory and on disk. Default: [`Budget::default`].
    pub budget: Budget,
}

impl LogOptions {
    /// Default options, with this directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::default(),
            accept_loss: false,
            queue_count: 65_536,
            queue_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            check_bytes: 4 << 20,
            budget: Budget::default(),
        }
    }
}

/// The embedded, durable broker. Dropping it completes queued requests and closes the store.
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
    shared: Arc<Shared>,
    condition: Arc<Condition>,
    /// Dropping it ends the checker thread.
    ticks: Option<SyncSender<()>>,
    threads: Vec<JoinHandle<()>>,
    warnings: Vec<String>,
    _lock: std::fs::File,
}

/// The files that the writer maintains besides the store.
struct Files {
    witness: Witness,
    inventory: Inventory,
}

impl Log {
    /// Opens the log, or creates one.
    ///
    /// # Errors
    /// [`OpenError`], which says what is wrong with the directory and what to do.
    pub fn open(options: LogOptions, rules: Arc<RuleBook>, now: Now) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let io = |error| OpenError::Io {
            path: path.clone(),
            error,
        };
        let Opened {
            store,
            epochs,
            witness,
            inventory,
            lock,
            mut warnings,
        } = opening::open(&options, now)?;
        let newest = store
            .newest()
            .map_err(|error| OpenError::of(&path, error))?;
        let past_rules = store
            .begin_rules(epochs.current(), &rules)
            .map_err(|error| OpenError::of(&path, error))?;
        let memory = options.budget.memory_bytes;
        let hub = Hub::new(rules, epochs.current(), newest.sequence, memory, now);
        hub.restore_sessions(sessions_of(&store, &options, &mut warnings)?);
        let ages = store.ages().map_err(|error| OpenError::of(&path, error))?;
        if let Some(ages) = ages {
            hub.restore_ages(ages);
        }
        let shared = Arc::new(Shared {
            hub,
            jobs: JobQueue::new(options.queue_count, options.queue_bytes),
            reads: ReadQueue::default(),
            epochs: Arc::new(epochs),
            past_rules: Mutex::new(past_rules),
            reopened: AtomicU64::new(0),
            disk: Disk::default(),
            timings: WriterTimings::default(),
        });
        let budget = options.budget;
        let condition = Arc::new(Condition::default());
        let check_bytes = options.check_bytes;
        let store = SharedStore::new(options, store);
        let (ticks, told) = sync_channel(1);
        let checker = Checker::new(store.clone(), Arc::clone(&condition), check_bytes, told);
        let reader = Reader::new(Arc::clone(&shared), store.clone(), Arc::clone(&condition));
        let files = Files { witness, inventory };
        let writer = Writer::new(
            Arc::clone(&shared),
            store,
            files,
            Arc::clone(&condition),
            budget,
        );
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(io)
        };
        let threads = vec![
            spawn("log-writer", Box::new(move || writer.run()))?,
            spawn("log-reader", Box::new(move || reader.run()))?,
            spawn("log-checker", Box::new(move || checker.run()))?,
        ];
        Ok(Self {
            shared,
            condition,
            ticks: Some(ticks),
            threads,
            warnings,
            _lock: lock,
        })
    }

    /// What an operator should know about the state in which the log was found.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The saved sessions. If some cannot be read, an operator decides whether the others are enough.
fn sessions_of(
    store: &Store,
    options: &LogOptions,
    warnings: &mut Vec<String>,
) -> Result<Vec<(SessionId, Saved)>, OpenError> {
    let error = match store.sessions() {
        Ok(sessions) => return Ok(sessions),
        Err(error) => error,
    };
    let path = &options.path;
    if !options.accept_loss {
        return Err(OpenError::LostAcknowledged {
            path: path.clone(),
            found: format!("states of sessions cannot be read: {error}"),
        });
    }
    let sessions = store.readable_sessions();
    warnings.push(format!(
        "{}: states of sessions cannot be read: {error}; {} sessions are kept, the others begin \
         anew",
        path.display(),
        sessions.len()
    ));
    Ok(sessions)
}

impl Broker for Log {
    fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId {
        self.shared.hub.attach(mailbox)
    }

    fn detach(&self, worker: WorkerId) {
        self.shared.hub.detach(worker);
    }

    fn submit(&self, worker: WorkerId, request: BrokerRequest) -> Option<BrokerRequest> {
        let not_accepted = self.submit_all(worker, &mut std::iter::once(request));
        not_accepted.into_iter().next()
    }

    fn submit_all(
        &self,
        worker: WorkerId,
        requests: &mut dyn Iterator<Item = BrokerRequest>,
    ) -> Vec<BrokerRequest> {
        self.shared.submit_all(worker, requests)
    }

    fn tick(&self, now: Now) {
        let now = self.shared.hub.believe(now);
        self.shared.hub.tick(now);
        self.shared.hub.save_shares();
        self.shared.hub.end_sessions(now);
        self.shared.jobs.put_always(Job::Tick(now));
        if let Some(ticks) = &self.ticks {
            // A checker still busy with the last tick needs no other one.
            let _busy = ticks.try_send(());
        }
    }

    fn set_rules(&self, rules: Arc<RuleBook>) {
        let epoch = self.shared.epochs.current();
        self.shared.past_rules().note(epoch, &rules);
        self.shared.hub.set_rules(&rules, shared::is_on_disk);
        self.shared.jobs.put_always(Job::NewRules);
    }

    fn health(&self) -> Health {
        if self.threads.iter().any(JoinHandle::is_finished) {
            let text = "a thread of the log died, its message is in the server's output; restart";
            return Health::Failing(text.to_owned());
        }
        self.condition.health()
    }

    fn observe(&self, changes: Arc<Changes>) {
        self.shared.hub.observe(changes);
    }

    fn occupied(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Occupied> {
        self.shared.hub.occupied(prefix, after, limit)
    }

    fn held(&self) -> Held {
        let disk = &self.shared.disk;
        Held {
            channels: disk.channels.load(Ordering::Relaxed),
            disk_bytes: disk.bytes.load(Ordering::Relaxed),
            ..self.shared.hub.held()
        }
    }

    fn timings(&self) -> Timings {
        let timings = &self.shared.timings;
        Timings {
            publish: timings.publish.counted(),
            commit: timings.commit.counted(),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.jobs.put_always(Job::Stop);
        drop(self.ticks.take());
        for thread in self.threads.drain(..) {
            // A thread that panicked has already printed its message.
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
