//! The thread that writes: everything that waits becomes one batch, one fsync, then many answers.

mod acks;
mod channels;
mod upkeep;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError},
    },
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, BrokerRequest, ChannelName, ChannelRules, Draft, Place, Position,
    ReadFrom, ReadLimit, RequestId, StreamState,
};

use super::{
    open_error::failure_of,
    queue::{Job, JobQueue},
    reader::ReadJob,
    record::idempotency_key,
    retained::Retained,
    store::{Group, Newest, SharedStore},
    witness::Witness,
};
use crate::{
    broker::{Health, WorkerId},
    hub::Hub,
    lineage::Epochs,
};

/// A channel with history that is in use.
struct Open {
    rules: Arc<ChannelRules>,
    retained: Retained,
    /// The newest offset that followers were told of; `told <= retained.head`.
    told: u64,
    used: u64,
}

/// What became of a publish or an acknowledgement before its group was committed.
enum Staged {
    /// Gets this offset with the group.
    New(Place),
    /// Is in this group already.
    Repeated(Position),
    /// Was published before.
    Before(Position),
    /// A consumer's cursor, with the group.
    Acked(Option<Position>),
    Failed(BrokerFailure),
}

pub(super) struct Writer {
    store: SharedStore,
    witness: Witness,
    reads: SyncSender<ReadJob>,
    hub: Hub,
    open: HashMap<ChannelName, Open>,
    health: Arc<Mutex<Health>>,
    /// Why there is no store, while there is none.
    failure: BrokerFailure,
    /// Wall-clock milliseconds as of the latest tick.
    now_ms: u64,
    /// The newest batch on disk; its successor's number is one more.
    batch: u64,
    /// This log's epochs, of which the last began with this process.
    epochs: Arc<Epochs>,
    /// Channels that have a number.
    channels: u32,
    /// Where the last sweep ended.
    swept: String,
    ticks: u64,
}

impl Writer {
    pub(super) fn new(
        store: SharedStore,
        witness: Witness,
        reads: SyncSender<ReadJob>,
        hub: Hub,
        epochs: Epochs,
        health: Arc<Mutex<Health>>,
    ) -> Self {
        let (open, swept) = (HashMap::new(), String::new());
        let (batch, channels, ticks) = (0, 0, 0);
        let failure = BrokerFailure::StorageFailed;
        let now_ms = hub.now().unix_ms;
        let mut writer = Self {
            store,
            witness,
            reads,
            hub,
            open,
            health,
            failure,
            now_ms,
            batch,
            epochs: Arc::new(epochs),
            channels,
            swept,
            ticks,
        };
        if let Some(store) = writer.store.get() {
            writer.opened(&store);
        }
        writer
    }

    /// Until the log is dropped.
    pub(super) fn run(mut self, queue: &JobQueue) {
        while self.turn(queue.take()) {}
    }

    fn turn(&mut self, jobs: Vec<Job>) -> bool {
        // All of a turn is published at one time, the latest that it knows.
        if let Some(now_ms) = jobs.iter().rev().find_map(Job::time) {
            self.now_ms = now_ms;
        }
        let mut staged = self.publish_all(&jobs).into_iter();
        for job in jobs {
            match job {
                Job::Attach { worker, mailbox } => self.hub.attach_as(worker, mailbox),
                Job::Detach { worker } => self.hub.detach(worker),
                Job::Request { worker, request } => self.answer(worker, request, &mut staged),
                Job::Tick(now) => {
                    self.hub.tick(now);
                    self.tick();
                }
                Job::Stop => return false,
            }
        }
        true
    }

    /// Stages every durable publish and acknowledgement, and commits them together.
    fn publish_all(&mut self, jobs: &[Job]) -> Vec<Staged> {
        let mut staged = Vec::new();
        let mut group = self.store.get().map(|store| store.group());
        for job in jobs {
            let Job::Request { request, .. } = job else {
                continue;
            };
            if let Some(outcome) = self.stage(group.as_mut(), request) {
                staged.push(outcome.unwrap_or_else(Staged::Failed));
            }
        }
        let Some(group) = group.filter(|group| !group.is_empty()) else {
            return staged;
        };
        if let Err(failure) = self.commit(group) {
            for staged in &mut staged {
                if !matches!(staged, Staged::Before(_) | Staged::Failed(_)) {
                    *staged = Staged::Failed(failure);
                }
            }
        }
        staged
    }

    fn is_durable(&self, channel: &ChannelName) -> bool {
        self.hub
            .rules()
            .rules(channel)
            .is_some_and(|rules| rules.history.is_kept())
    }

    /// Puts what has to be durable into the group; nothing for all other requests.
    fn stage(
        &mut self,
        group: Option<&mut Group>,
        request: &BrokerRequest,
    ) -> Option<Result<Staged, BrokerFailure>> {
        let (BrokerRequest::Publish {
            draft: Draft { channel, .. },
            ..
        }
        | BrokerRequest::Ack { channel, .. }) = request
        else {
            return None;
        };
        if !self.is_durable(channel) {
            return None;
        }
        let Some(group) = group else {
            return Some(Err(self.failure));
        };
        if let BrokerRequest::Publish { draft, .. } = request {
            return Some(self.stage_publish(group, draft));
        }
        self.stage_ack(group, request)
    }

    fn stage_publish(&mut self, group: &mut Group, draft: &Draft) -> Result<Staged, BrokerFailure> {
        let now_ms = self.now_ms;
        let store = self.store.get().ok_or(self.failure)?;
        let next_number = self.channels;
        let sequence = self.hub.next_sequence();
        let epochs = Arc::clone(&self.epochs);
        let open = self.open(&draft.channel)?;
        let number = open.retained.id;
        let key = draft.key.as_ref();
        let key = key.map(|key| idempotency_key(number, &draft.key_scope(), key));
        if let Some(key) = &key {
            if let Some(offset) = group.published(key) {
                return Ok(Staged::Repeated(open.retained.at(&epochs, offset)));
            }
            let before = store.published(key).map_err(|error| failure_of(&error))?;
            let window = open.rules.key_window.as_millis() as u64;
            if let Some((offset, time_ms)) = before
                && time_ms.saturating_add(window) >= now_ms
            {
                return Ok(Staged::Before(open.retained.at(&epochs, offset)));
            }
        }
        let previous = open.retained.at(&epochs, open.retained.head);
        let offset = previous.offset + 1;
        group.publish(number, offset, sequence, draft);
        let begins = open.retained.lineage.publish(epochs.current(), offset);
        if let Some(key) = key {
            group.remember_key(key, offset, now_ms);
        }
        let history = &open.rules.history;
        let sealed = open
            .retained
            .push(offset, draft.weight() as u64, draft.time_ms, history);
        if sealed && let Some(old) = open.retained.trim(history, now_ms) {
            group.remove(number, old);
        }
        if sealed || begins {
            group.remember(&draft.channel, &open.retained);
        }
        if number == next_number {
            self.channels += 1;
            group.remember_channel_count(self.channels);
        }
        Ok(Staged::New(Place {
            position: Position {
                epoch: epochs.current(),
                offset,
            },
            previous,
            sequence,
        }))
    }

    /// Makes a group durable. When that fails nobody knows what of it is on disk: the store is
    /// opened again, and everything learnt from there.
    fn commit(&mut self, group: Group) -> Result<(), BrokerFailure> {
        let number = self.batch + 1;
        let newest = Newest {
            batch: number,
            sequence: self.hub.sequence(),
        };
        if let Err(error) = group.commit(newest) {
            self.failed("the log can't be written", &error);
            return Err(self.failure);
        }
        self.batch = number;
        if let Err(error) = self.witness.write(number) {
            // The batch is durable; without the witness a later loss may go unnoticed.
            self.set_health(Health::Failing(format!(
                "the witness can't be written: {error}"
            )));
            return Ok(());
        }
        self.recovered();
        Ok(())
    }

    fn failed(&mut self, what: &str, error: &fjall::Error) {
        self.open.clear();
        self.store.close();
        self.failure = failure_of(error);
        if self.failure == BrokerFailure::StorageFailed && self.store.disk_is_full() {
            // A flush in the background met the end of the disk: the store only says "poisoned".
            self.failure = BrokerFailure::StorageFull;
        }
        let full = self.failure == BrokerFailure::StorageFull;
        let todo = if full {
            "the disk is full: make room"
        } else {
            "check the disk"
        };
        self.set_health(Health::Failing(format!(
            "{what}: {error}; {todo}, it is tried again"
        )));
    }

    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// A write went well. What can't be read stays so.
    fn recovered(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*health, Health::Failing(_)) {
            *health = Health::Good;
        }
    }

    fn answer(
        &mut self,
        worker: WorkerId,
        request: BrokerRequest,
        staged: &mut impl Iterator<Item = Staged>,
    ) {
        match request {
            BrokerRequest::Publish { id, draft } if self.is_durable(&draft.channel) => {
                let staged = staged.next().unwrap_or(Staged::Failed(BrokerFailure::Busy));
                self.published(worker, id, draft, &staged);
            }
            BrokerRequest::Ack { id, channel, .. } if self.is_durable(&channel) => {
                let failed = Staged::Failed(BrokerFailure::Busy);
                match staged.next().unwrap_or(failed) {
                    Staged::Acked(position) => {
                        self.hub.tell(worker, BrokerEvent::Acked { id, position });
                    }
                    Staged::Failed(failure) => self.hub.tell_failed(worker, id, failure),
                    Staged::New(_) | Staged::Repeated(_) | Staged::Before(_) => {}
                }
            }
            BrokerRequest::Follow { id, channel } if self.is_durable(&channel) => {
                self.follow(worker, id, channel);
            }
            BrokerRequest::History {
                id,
                channel,
                from,
                limit,
            } if self.is_durable(&channel) => {
                self.read(worker, id, channel, from, limit);
            }
            BrokerRequest::Publish { .. }
            | BrokerRequest::Follow { .. }
            | BrokerRequest::History { .. }
            | BrokerRequest::Unfollow { .. }
            | BrokerRequest::Join { .. }
            | BrokerRequest::Leave { .. }
            | BrokerRequest::Members { .. }
            | BrokerRequest::Ack { .. }
            | BrokerRequest::Receipts { .. }
            | BrokerRequest::Found { .. }
            | BrokerRequest::FollowFilter { .. }
            | BrokerRequest::UnfollowFilter { .. }
            | BrokerRequest::FilterHistory { .. }
            | BrokerRequest::SaveSession { .. }
            | BrokerRequest::DropSession { .. }
            | BrokerRequest::LoadSession { .. }
            | BrokerRequest::Renew { .. } => self.hub.handle(worker, request),
        }
    }

    fn published(&mut self, worker: WorkerId, id: RequestId, draft: Draft, staged: &Staged) {
        let (position, duplicate) = match *staged {
            Staged::New(place) => (place.position, false),
            Staged::Repeated(position) | Staged::Before(position) => (position, true),
            Staged::Acked(_) => return,
            Staged::Failed(failure) => return self.hub.tell_failed(worker, id, failure),
        };
        self.hub.tell(
            worker,
            BrokerEvent::Published {
                id,
                position,
                duplicate,
            },
        );
        let Staged::New(place) = *staged else {
            return;
        };
        if let Some(open) = self.open.get_mut(&draft.channel) {
            open.told = position.offset;
        }
        if self.hub.is_followed(&draft.channel) {
            let publication = Arc::new(draft.at(place));
            let channel = publication.channel.clone();
            self.hub
                .tell_followers(&channel, &BrokerEvent::Publication(publication));
        }
    }

    fn follow(&mut self, worker: WorkerId, id: RequestId, channel: ChannelName) {
        let epochs = Arc::clone(&self.epochs);
        match self.open(&channel) {
            Ok(open) => {
                let state = open.retained.state(&epochs, &open.rules.history);
                let head = open.retained.at(&epochs, open.told);
                let first = state.first.min(open.told + 1);
                self.hub.follow(worker, channel);
                let stream = StreamState {
                    head,
                    first,
                    ..state
                };
                self.hub.tell(worker, BrokerEvent::Followed { id, stream });
            }
            Err(failure) => self.hub.tell_failed(worker, id, failure),
        }
    }

    fn read(
        &mut self,
        worker: WorkerId,
        id: RequestId,
        channel: ChannelName,
        from: ReadFrom,
        limit: ReadLimit,
    ) {
        let Some(mailbox) = self.hub.mailbox(worker).cloned() else {
            return;
        };
        let epochs = Arc::clone(&self.epochs);
        let open = match self.open(&channel) {
            Ok(open) => open,
            Err(failure) => return self.hub.tell_failed(worker, id, failure),
        };
        let stream = open.retained.state(&epochs, &open.rules.history);
        let (number, lineage) = (open.retained.id, open.retained.lineage.clone());
        let start = lineage.start(&epochs, from, stream.first, stream.head.offset);
        let job = ReadJob {
            mailbox,
            id,
            channel,
            number,
            epochs,
            lineage,
            stream,
            start,
            limit,
        };
        match self.reads.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.hub.tell_failed(worker, id, BrokerFailure::Busy),
            Err(TrySendError::Disconnected(_)) => {
                self.hub
                    .tell_failed(worker, id, BrokerFailure::StorageFailed);
            }
        }
    }
}
