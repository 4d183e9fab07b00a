//! The writer thread: all queued requests become one batch with one fsync, followed by the answers.

mod acks;
mod background;
mod parked;
mod publishing;
mod removals;
mod telling;
mod upkeep;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use offhook_engine::{BrokerFailure, ChannelName, ChannelRules, Draft, Place, Position, RequestId};

#[cfg(test)]
pub(super) use self::removals::A_BATCH;
use self::{background::Background, parked::Parked, removals::Removals};
use super::{
    Files,
    condition::Condition,
    open_error::failure_of,
    queue::Job,
    read_queue::Load,
    retained::Retained,
    shared::Shared,
    shared_store::SharedStore,
    store::{Group, Newest},
    write::{What, Write},
};
use crate::{
    broker::{Budget, WorkerId},
    hub::{Ages, ROOM, WrittenSessions},
    lineage::Epochs,
};

/// A channel with history that is being published in.
struct Channel {
    rules: Arc<ChannelRules>,
    retained: Retained,
    /// The tick in which it was last used.
    used: u64,
    /// The newest offset in its saved entry in `channels`.
    remembered: u64,
}

/// The result of one request, to be sent once its group is committed.
enum Outcome {
    /// The publication gets this place with the group.
    Published {
        draft: Box<Draft>,
        place: Place,
    },
    /// The publication is already in this group.
    Repeated(Position),
    /// It was published before.
    Before(Position),
    /// The consumer's cursor, once the group is committed.
    Acked(Option<Position>),
    /// A session was saved, with the group.
    Saved,
    Failed(BrokerFailure),
}

impl Outcome {
    /// Whether it is only true if the group is committed.
    fn needs_commit(&self) -> bool {
        match self {
            Self::Published { .. } | Self::Repeated(_) | Self::Acked(_) | Self::Saved => true,
            Self::Before(_) | Self::Failed(_) => false,
        }
    }
}

/// An outcome and its receiver.
struct Answer {
    worker: WorkerId,
    id: RequestId,
    /// When it was requested; none if that is not measured.
    at: Option<Instant>,
    outcome: Outcome,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    store: SharedStore,
    files: Files,
    epochs: Arc<Epochs>,
    /// Boxed, so that the table grows without moving them.
    channels: HashMap<ChannelName, Box<Channel>>,
    /// Names in `channels`, in the order in which upkeep examines them.
    upkeep: VecDeque<ChannelName>,
    parked: Parked,
    condition: Arc<Condition>,
    /// Why there is no store, if there is none.
    failure: BrokerFailure,
    /// The disk lost acknowledged publications: nothing is opened until an operator acts.
    lost: bool,
    /// The trusted time of the latest tick, in milliseconds.
    now_ms: u64,
    /// The time with which keys and cursors are marked that this process must not forget too early.
    stamp_ms: u64,
    /// By which publications become too old, as of the latest tick, and as it is on disk.
    ages: Arc<Ages>,
    saved_ages: Arc<Ages>,
    /// The number of the newest batch on disk.
    batch: u64,
    /// The number of channels with a number.
    numbered: u32,
    ticks: u64,
    /// The newest sequence number of a publication on disk.
    sequence: u64,
    /// The newest one that the latest batch on disk records.
    recorded: u64,
    /// Sequence numbers left free before each slice of the batch, for publications without history
    /// in the meantime.
    room: u64,
    /// Publications of the batch so far.
    staged: usize,
    /// The log is being dropped.
    stopping: bool,
    removals: Removals,
    background: Background,
    budget: Budget,
    /// The log takes more of the disk than it may.
    over_budget: bool,
    /// Called before each fsync.
    #[cfg(test)]
    before_sync: Option<super::tests::Gate>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        store: SharedStore,
        files: Files,
        condition: Arc<Condition>,
        budget: Budget,
    ) -> Self {
        let now_ms = shared.hub.bus().now().unix_ms;
        let (epochs, ages) = (Arc::clone(&shared.epochs), shared.hub.ages());
        let mut writer = Self {
            shared,
            store,
            files,
            epochs,
            channels: HashMap::new(),
            upkeep: VecDeque::new(),
            parked: Parked::default(),
            condition,
            failure: BrokerFailure::StorageFailed,
            lost: false,
            now_ms,
            stamp_ms: now_ms,
            ages,
            saved_ages: Arc::default(),
            batch: 0,
            numbered: 0,
            ticks: 0,
            sequence: 0,
            recorded: 0,
            room: 0,
            staged: 0,
            stopping: false,
            removals: Removals::new(),
            background: Background::default(),
            budget,
            over_budget: false,
            #[cfg(test)]
            before_sync: super::tests::gate(),
        };
        if let Some(store) = writer.store.get() {
            writer.opened(&store);
        }
        writer
    }

    /// Runs until the log is dropped.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while self.turn(shared.jobs.take()) {}
        shared.reads.close();
    }

    fn turn(&mut self, jobs: Vec<Job>) -> bool {
        // All publications of a turn get the same time, the latest known.
        if let Some(now_ms) = jobs.iter().rev().find_map(Job::time) {
            self.now_ms = now_ms;
            self.stamp_ms = self.shared.hub.stamp_ms().max(now_ms);
            self.ages = self.shared.hub.ages();
        }
        let mut ticked = jobs.iter().any(|job| matches!(job, Job::Tick(_)));
        if ticked && self.store.writable().is_none() {
            // The disk may accept writes again: check before publishing.
            self.tick();
            ticked = false;
        }
        let mut group = self.store.writable().map(|store| store.group());
        if jobs.iter().any(Job::may_publish) {
            (self.sequence, self.room) = self.shared.hub.bus().begin_batch();
            self.staged = 0;
        }
        let (mut new_rules, mut saves) = (false, false);
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                Job::Write { worker, write } => {
                    self.take(group.as_mut(), worker, write, &mut answers);
                }
                Job::Loaded {
                    channel, reopened, ..
                } if reopened != self.shared.reopened() => {
                    self.shared.reads.load(Load::ForWriter(channel));
                }
                Job::Loaded { channel, found, .. } => {
                    let found = found.map(|found| found.map(|retained| *retained));
                    self.take_parked(group.as_mut(), channel, found, &mut answers);
                }
                Job::Swept { channel, retained } => {
                    if let Some(group) = &mut group {
                        self.trim_swept(group, &channel, *retained);
                    }
                }
                Job::Saved { worker, id } => {
                    saves = true;
                    let outcome = match &group {
                        Some(_) => Outcome::Saved,
                        None => Outcome::Failed(self.failure),
                    };
                    answers.push(Answer {
                        worker,
                        id,
                        at: None,
                        outcome,
                    });
                }
                Job::Tick(_) => {}
                Job::NewRules => new_rules = true,
                Job::Stop => self.stopping = true,
            }
        }
        self.count_parked();
        let last = self.stopping && self.parked.is_empty();
        let mut sessions = WrittenSessions::default();
        if let Some(group) = &mut group
            && (ticked || last || saves || !group.is_empty())
        {
            // With a group that is written anyway. If that fails, they are written with a later one.
            let hub = &self.shared.hub;
            sessions = hub.write_sessions(|change| group.remember_session(&change));
        }
        if let Some(group) = &mut group {
            self.remember_ages(group);
        }
        if let Some(group) = group.as_mut().filter(|group| !group.is_empty()) {
            self.remove_some(group);
        }
        let committed = self.commit_and_tell(group, answers);
        self.shared.hub.sessions_written(&sessions, committed);
        if !committed {
            self.saved_ages = Arc::default();
        }
        if new_rules {
            // They are loaded again with the new rules, from what is on disk now.
            self.channels.clear();
            self.upkeep.clear();
            self.keep_rules();
        }
        if last {
            self.keep_sequence();
        }
        if ticked {
            self.tick();
        }
        // Parked requests arrived before the end, and are published first.
        !last
    }

    /// Saves the clock of ages after a step, and now and then with what is written anyway.
    fn remember_ages(&mut self, group: &mut Group) {
        let has_stepped = self.ages.has_stepped_since(&self.saved_ages);
        if has_stepped || !group.is_empty() && self.ages.is_worth_saving(&self.saved_ages) {
            group.remember_ages(&self.ages);
            self.saved_ages = Arc::clone(&self.ages);
        }
    }

    /// Saves the newest sequence number: publications without history have numbers that no batch
    /// contains, and their readers must find their position after a restart.
    fn keep_sequence(&mut self) {
        let Some(store) = self.store.writable() else {
            return;
        };
        self.sequence = self.shared.hub.bus().place().offset;
        let known = store
            .newest()
            .is_ok_and(|newest| newest.sequence >= self.sequence);
        if !known {
            // If this fails, those readers get a gap, and nothing else happens.
            let _told = self.commit(store.group());
        }
    }

    /// Saves the newest sequence number if publications without history got far ahead of it: after a
    /// kill, a reader's number that is further ahead would look like that of a lost publication.
    fn keep_up(&mut self) {
        let newest = self.shared.hub.bus().place().offset;
        if newest.saturating_sub(self.recorded) >= ROOM / 2 {
            self.keep_sequence();
        }
    }

    /// Saves the rules that apply now.
    fn keep_rules(&mut self) {
        if let Some(store) = self.store.writable() {
            let mut group = store.group();
            group.remember_rules(&self.shared.past_rules().encode());
            // If this fails, a later process assumes the previous rules.
            let _told = self.commit(group);
        }
    }

    /// Commits the staged group, and sends the answers. Returns whether nothing failed.
    fn commit_and_tell(&mut self, group: Option<Group>, mut answers: Vec<Answer>) -> bool {
        let mut committed = true;
        if let Some(group) = group.filter(|group| !group.is_empty())
            && let Err(failure) = self.commit(group)
        {
            committed = false;
            for answer in &mut answers {
                if answer.outcome.needs_commit() {
                    answer.outcome = Outcome::Failed(failure);
                }
            }
        }
        self.tell(answers);
        committed
    }

    /// Stages what must be durable into the group.
    fn stage(&mut self, group: Option<&mut Group>, worker: WorkerId, write: Write) -> Answer {
        let Write { id, at, what } = write;
        let staged = match (group, what) {
            (None, _) => Err(self.failure),
            (Some(group), What::Publish(draft)) => self.stage_publish(group, draft),
            (Some(group), What::Ack(ack)) => self.acked(group, &ack).map(Outcome::Acked),
        };
        Answer {
            worker,
            id,
            at: Some(at),
            outcome: staged.unwrap_or_else(Outcome::Failed),
        }
    }

    /// A channel that was loaded; one without publications gets a number with its first.
    fn channel(&mut self, name: &ChannelName) -> Result<&mut Channel, BrokerFailure> {
        let channel = &mut **self.channels.get_mut(name).ok_or(self.failure)?;
        channel.used = self.ticks;
        if channel.retained.head == 0 {
            channel.retained.id = self.numbered;
        }
        Ok(channel)
    }

    /// Makes a group durable. If that fails, it is unknown what of it is on disk: the store is
    /// opened again and everything is read from it.
    fn commit(&mut self, group: Group) -> Result<(), BrokerFailure> {
        #[cfg(test)]
        if let Some(gate) = &self.before_sync {
            gate(group.size());
        }
        let number = self.batch + 1;
        let newest = Newest {
            batch: number,
            sequence: self.sequence,
        };
        let bytes = group.size().bytes;
        let begun = Instant::now();
        let committed = group.commit(newest);
        self.shared.timings.commit.record(begun.elapsed());
        if let Err(error) = committed {
            self.failed("the log can't be written", &error);
            let full = self.failure == BrokerFailure::StorageFull;
            if matches!(error, fjall::Error::Poisoned) && !full {
                self.background.failed();
            }
            return Err(self.failure);
        }
        self.batch = number;
        self.recorded = newest.sequence;
        self.background.wrote(bytes);
        if let Err(error) = self.files.witness.write(number) {
            // The batch is durable, but without the witness a later loss may go unnoticed.
            self.condition
                .failing(format!("the witness cannot be written: {error}; retrying"));
            return Ok(());
        }
        self.condition.recovered();
        Ok(())
    }

    fn failed(&mut self, what: &str, error: &fjall::Error) {
        self.channels.clear();
        self.upkeep.clear();
        self.store.stop_writing();
        self.failure = failure_of(error);
        if self.failure == BrokerFailure::StorageFailed && self.disk_is_full() {
            // A background flush found the disk full: the store reports only "poisoned".
            self.failure = BrokerFailure::StorageFull;
        }
        let full = self.failure == BrokerFailure::StorageFull;
        let todo = if full {
            "the disk is full: free some space"
        } else {
            "check the disk"
        };
        self.condition
            .failing(format!("{what}: {error}; {todo}; retrying"));
    }

    fn disk_is_full(&self) -> bool {
        let tried = self.store.try_disk();
        tried.is_err_and(|error| failure_of(&error.into()) == BrokerFailure::StorageFull)
    }
}
