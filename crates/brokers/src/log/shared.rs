//! State shared by callers, the writer and the reader, and requests that wait for a channel.
//!
//! Publications and acknowledgements go to the writer. Everything else is answered in the caller's
//! thread from what the bus knows as of the last commit, so that only publishers wait for an fsync.
//! A channel that the bus does not know is first loaded by the reader; requests for it wait in
//! order.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, BrokerRequest, ChannelName, ChannelRules, History, ReadFrom,
    RequestId, StreamState,
};

use super::{
    past_rules::PastRules,
    queue::JobQueue,
    read_queue::{Load, ReadJob, ReadQueue, StateJob},
    retained::Retained,
};
use crate::{
    broker::WorkerId,
    durations::Durations,
    hub::{Bus, Durable, Hub, View},
    lineage::Epochs,
};

mod submitting;

/// How many requests can wait for one channel to be loaded; loading takes milliseconds.
const WAITING: usize = 4096;

pub(super) struct Shared {
    pub(super) hub: Hub,
    pub(super) jobs: JobQueue,
    pub(super) reads: ReadQueue,
    pub(super) epochs: Arc<Epochs>,
    /// The rules of this process and of earlier ones.
    pub(super) past_rules: Mutex<PastRules>,
    /// How often the store was opened again: channels loaded before that are outdated.
    pub(super) reopened: AtomicU64,
    pub(super) disk: Disk,
    /// Durations recorded by the writer.
    pub(super) timings: WriterTimings,
}

/// A channel that the reader has loaded for the bus.
pub(super) struct Loaded {
    pub(super) channel: ChannelName,
    /// Its state, or why it cannot be read.
    pub(super) view: Result<View, BrokerFailure>,
    /// The value of `Shared::reopened` before it was loaded.
    pub(super) reopened: u64,
}

/// What the log takes on disk, as the writer knows it.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) channels: AtomicU32,
    pub(super) bytes: AtomicU64,
}

/// Durations of the writer's work.
#[derive(Debug, Default)]
pub(super) struct WriterTimings {
    /// From a request to publish until it is durable.
    pub(super) publish: Durations,
    /// Writing one batch.
    pub(super) commit: Durations,
}

impl Shared {
    fn load(&self, bus: &mut Bus, channel: ChannelName, worker: WorkerId, request: BrokerRequest) {
        if !bus.has_room() {
            return refuse(bus, worker, &request, BrokerFailure::TooManyChannels);
        }
        if !self.reads.load_later(Load::ForBus(channel.clone())) {
            return refuse(bus, worker, &request, BrokerFailure::Busy);
        }
        let waiting = VecDeque::from([(worker, request)]);
        bus.durable.insert(channel, Durable::Loading(waiting));
    }

    pub(super) fn past_rules(&self) -> MutexGuard<'_, PastRules> {
        let rules = self.past_rules.lock();
        rules.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::SeqCst)
    }

    /// Channels were loaded for the bus, or could not be.
    pub(super) fn loaded(&self, channels: impl ExactSizeIterator<Item = Loaded>) {
        if channels.len() == 0 {
            return;
        }
        let mut bus = self.hub.bus();
        bus.tell_many();
        for loaded in channels {
            self.loaded_one(&mut bus, loaded);
        }
        let asleep = bus.told();
        drop(bus);
        for mailbox in asleep {
            mailbox.wake();
        }
    }

    fn loaded_one(&self, bus: &mut Bus, loaded: Loaded) {
        let Loaded {
            channel,
            view,
            reopened,
        } = loaded;
        if reopened != self.reopened() && self.reads.load(Load::ForBus(channel.clone())) {
            return;
        }
        if matches!(bus.durable.get(&channel), Some(Durable::Open(_))) {
            // The writer has published in it in the meantime, and has newer information.
            return;
        }
        match view {
            Ok(view) => self.open(bus, &channel, view),
            Err(failure) => {
                let Some(Durable::Loading(waiting)) = bus.durable.remove(&channel) else {
                    return;
                };
                for (worker, request) in waiting {
                    refuse(bus, worker, &request, failure);
                }
            }
        }
    }

    /// The bus knows the channel from now on: waiting requests are answered.
    pub(super) fn open(&self, bus: &mut Bus, channel: &ChannelName, view: View) {
        let before = bus.durable.insert(channel.clone(), Durable::Open(view));
        bus.tend_later(channel);
        if let Some(Durable::Loading(waiting)) = before {
            for (worker, request) in waiting {
                self.answer(bus, worker, request);
            }
        }
        bus.forget_empty(channel);
    }

    /// Answers a request about a channel that is open.
    fn answer(&self, bus: &mut Bus, worker: WorkerId, request: BrokerRequest) {
        let now_ms = bus.now().unix_ms;
        match request {
            // A worker that was detached while the channel was loaded follows nothing any more.
            BrokerRequest::Follow { .. } if bus.mailbox(worker).is_none() => {}
            BrokerRequest::Follow { id, channel } => {
                let Some(Durable::Open(view)) = bus.durable.get_mut(&channel) else {
                    return;
                };
                view.used_ms = now_ms;
                let stream = view.stream;
                bus.follow(worker, channel);
                bus.tell(worker, BrokerEvent::Followed { id, stream });
            }
            BrokerRequest::Unfollow { channel } => bus.unfollow(worker, &channel),
            BrokerRequest::History {
                id,
                channel,
                from,
                limit,
            } => {
                let Some(mailbox) = bus.mailbox(worker).cloned() else {
                    return;
                };
                let Some(Durable::Open(view)) = bus.durable.get_mut(&channel) else {
                    return;
                };
                view.used_ms = now_ms;
                let (first, head) = (view.stream.first, view.stream.head.offset);
                let job = ReadJob {
                    mailbox,
                    id,
                    channel,
                    number: view.number,
                    epochs: Arc::clone(&self.epochs),
                    lineage: Arc::clone(&view.lineage),
                    stream: view.stream,
                    start: view.lineage.start(&self.epochs, from, first, head),
                    backward: matches!(from, ReadFrom::Before(_)),
                    limit,
                };
                if !self.reads.read(job) {
                    bus.tell_failed(worker, id, BrokerFailure::Busy);
                }
            }
            BrokerRequest::State { id, channel } => {
                let Some(mailbox) = bus.mailbox(worker).cloned() else {
                    return;
                };
                let Some(Durable::Open(view)) = bus.durable.get_mut(&channel) else {
                    return;
                };
                view.used_ms = now_ms;
                let job = StateJob {
                    mailbox,
                    id,
                    number: view.number,
                    stream: view.stream,
                    channel,
                    reading: None,
                };
                if !self.reads.state(job) {
                    bus.tell_failed(worker, id, BrokerFailure::Busy);
                }
            }
            // These are handled elsewhere.
            BrokerRequest::Publish { .. }
            | BrokerRequest::Ack { .. }
            | BrokerRequest::Join { .. }
            | BrokerRequest::Leave { .. }
            | BrokerRequest::Members { .. }
            | BrokerRequest::Receipts { .. }
            | BrokerRequest::Found { .. }
            | BrokerRequest::FollowFilter { .. }
            | BrokerRequest::UnfollowFilter { .. }
            | BrokerRequest::FilterHistory { .. }
            | BrokerRequest::Values { .. }
            | BrokerRequest::SaveSession { .. }
            | BrokerRequest::DropSession { .. }
            | BrokerRequest::LoadSession { .. }
            | BrokerRequest::Share { .. }
            | BrokerRequest::Renew { .. } => {}
        }
    }

    /// The oldest publications of a channel were trimmed.
    pub(super) fn trimmed(&self, channel: &ChannelName, retained: &Retained, history: &History) {
        let mut bus = self.hub.bus();
        if let Some(Durable::Open(view)) = bus.durable.get_mut(channel) {
            let now = retained.state(&self.epochs, history);
            view.stream.first = now.first.min(view.stream.head.offset + 1);
            view.stream.trimmed = now.trimmed;
        }
    }

    /// The current retained range of a channel, if the bus knows it.
    pub(super) fn retained_now(&self, channel: &ChannelName) -> Option<StreamState> {
        match self.hub.bus().durable.get(channel)? {
            Durable::Open(view) => Some(view.stream),
            Durable::Loading(_) => None,
        }
    }

    /// What the bus knows of a channel, from what the disk has.
    pub(super) fn view(&self, retained: &Retained, history: &History) -> View {
        View {
            number: retained.id,
            stream: retained.state(&self.epochs, history),
            lineage: Arc::clone(&retained.lineage),
            used_ms: 0,
        }
    }
}

/// Whether the stream of a channel with these rules is on disk.
pub(super) fn is_on_disk(rules: &ChannelRules) -> bool {
    rules.history.is_kept() || rules.state.is_kept()
}

/// The channel whose stream a request is about; none if it is about something else.
fn channel_of(request: &BrokerRequest) -> Option<&ChannelName> {
    match request {
        BrokerRequest::Publish { draft, .. } => Some(&draft.channel),
        BrokerRequest::Ack { channel, .. }
        | BrokerRequest::Follow { channel, .. }
        | BrokerRequest::Unfollow { channel }
        | BrokerRequest::State { channel, .. }
        | BrokerRequest::History { channel, .. } => Some(channel),
        BrokerRequest::Join { .. }
        | BrokerRequest::Leave { .. }
        | BrokerRequest::Members { .. }
        | BrokerRequest::Receipts { .. }
        | BrokerRequest::Found { .. }
        | BrokerRequest::FollowFilter { .. }
        | BrokerRequest::UnfollowFilter { .. }
        | BrokerRequest::FilterHistory { .. }
        | BrokerRequest::Values { .. }
        | BrokerRequest::SaveSession { .. }
        | BrokerRequest::DropSession { .. }
        | BrokerRequest::LoadSession { .. }
        | BrokerRequest::Share { .. }
        | BrokerRequest::Renew { .. } => None,
    }
}

fn refuse(bus: &mut Bus, worker: WorkerId, request: &BrokerRequest, failure: BrokerFailure) {
    match request {
        BrokerRequest::Unfollow { channel } => bus.unfollow(worker, channel),
        BrokerRequest::Publish { .. }
        | BrokerRequest::Follow { .. }
        | BrokerRequest::FollowFilter { .. }
        | BrokerRequest::UnfollowFilter { .. }
        | BrokerRequest::FilterHistory { .. }
        | BrokerRequest::Values { .. }
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
        | BrokerRequest::Share { .. }
        | BrokerRequest::Renew { .. } => {
            if let Some(id) = answered(request) {
                bus.tell_failed(worker, id, failure);
            }
        }
    }
}

/// The id of a request that expects an answer.
fn answered(request: &BrokerRequest) -> Option<RequestId> {
    match request {
        BrokerRequest::Publish { id, .. }
        | BrokerRequest::Follow { id, .. }
        | BrokerRequest::History { id, .. }
        | BrokerRequest::Members { id, .. }
        | BrokerRequest::Ack { id, .. }
        | BrokerRequest::Receipts { id, .. }
        | BrokerRequest::FollowFilter { id, .. }
        | BrokerRequest::FilterHistory { id, .. }
        | BrokerRequest::State { id, .. }
        | BrokerRequest::Values { id, .. }
        | BrokerRequest::LoadSession { id, .. } => Some(*id),
        BrokerRequest::Unfollow { .. }
        | BrokerRequest::Join { .. }
        | BrokerRequest::Leave { .. }
        | BrokerRequest::Found { .. }
        | BrokerRequest::UnfollowFilter { .. }
        | BrokerRequest::DropSession { .. }
        | BrokerRequest::Renew { .. } => None,
        BrokerRequest::SaveSession { id, .. } => *id,
        BrokerRequest::Share { request, .. } => request.id(),
    }
}

#[cfg(test)]
mod tests;
