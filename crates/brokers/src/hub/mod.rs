//! The in-memory part of every broker, in two parts with a lock each: the [`Bus`] and the
//! [`Registry`]. Code that needs both locks the registry first.

mod ages;
mod bus;
mod by_filter;
mod clock;
mod durable;
mod forgotten;
mod members;
mod observing;
mod page;
mod questions;
mod recent;
mod registry;
mod saving;
mod sessions;
mod sharing;
mod stream;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use offhook_engine::{
    BrokerEvent, BrokerFailure, BrokerRequest, ChannelName, ChannelRules, Draft, Epoch, Now,
    Position, ReadFrom, ReadLimit, Receipts, RequestId, RuleBook,
};

pub(crate) use self::{
    ages::Ages,
    bus::{Bus, ROOM, shrink},
    durable::{Durable, View},
    page::Page,
    registry::Registry,
    saving::WrittenSessions,
    sessions::{Change, Saved},
};
use self::{bus::Published, clock::Clock, questions::Answer};
use crate::{
    broker::{Held, WorkerId},
    mailbox::Mailbox,
};

#[derive(Debug)]
pub(crate) struct Hub {
    rules: RwLock<Arc<RuleBook>>,
    bus: Mutex<Bus>,
    registry: Mutex<Registry>,
    clock: Mutex<Clock>,
}

impl Hub {
    /// A hub with this epoch, whose publications get higher sequence numbers than this one, and
    /// whose channels may take this many bytes of memory.
    pub(crate) fn new(
        rules: Arc<RuleBook>,
        began: Epoch,
        sequence: u64,
        budget: usize,
        now: Now,
    ) -> Self {
        Self {
            rules: RwLock::new(rules),
            bus: Mutex::new(Bus::new(began, sequence, budget, now)),
            registry: Mutex::new(Registry::new(now)),
            clock: Mutex::new(Clock::new(now)),
        }
    }

    pub(crate) fn rules(&self) -> Arc<RuleBook> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What holds for a channel; none for one that does not exist.
    pub(crate) fn rules_of(&self, channel: &ChannelName) -> Option<Arc<ChannelRules>> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.rules(channel).cloned()
    }

    /// Whether a channel exists, and its rules are as wanted.
    pub(crate) fn has(
        &self,
        channel: &ChannelName,
        wanted: impl Fn(&ChannelRules) -> bool,
    ) -> bool {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.rules(channel).is_some_and(|rules| wanted(rules))
    }

    /// Applies new rules. Streams in memory for which `belongs_elsewhere` returns true are
    /// forgotten, and all workers look up their channels again.
    pub(crate) fn set_rules(
        &self,
        rules: &Arc<RuleBook>,
        belongs_elsewhere: impl Fn(&ChannelRules) -> bool,
    ) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(rules);
        let mut bus = self.bus();
        bus.forget_streams(|channel| rules.rules(channel).is_none_or(|of| belongs_elsewhere(of)));
        bus.forget_durable();
        bus.tell_all(&BrokerEvent::Lagged);
    }

    /// A panic elsewhere leaves the bus in a valid state.
    pub(crate) fn bus(&self) -> MutexGuard<'_, Bus> {
        self.bus.lock().unwrap_or_else(|panicked| {
            let mut bus = panicked.into_inner();
            for mailbox in bus.told() {
                mailbox.wake();
            }
            bus
        })
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId {
        self.bus().attach(mailbox)
    }

    /// Removes a worker.
    pub(crate) fn detach(&self, worker: WorkerId) {
        let now_ms = self.bus().now().unix_ms;
        let mut registry = self.registry();
        registry.members.lease_ended(worker);
        self.shares_without(&mut registry, worker, now_ms);
        let answers = registry.questions.detached(worker);
        let mut bus = self.bus();
        bus.detach(worker);
        give(&bus, answers);
        drop(bus);
        drop(registry);
        // It may follow hundreds of thousands of channels: others get the lock in between.
        while self.bus().unfollow_some_filters(worker) {}
        let mut reached = None;
        loop {
            reached = self.bus().unfollow_some(worker, reached.as_ref());
            if reached.is_none() {
                break;
            }
        }
    }

    /// What is held in memory.
    pub(crate) fn held(&self) -> Held {
        let registry = self.registry();
        let sessions = registry.sessions.weight() + registry.shares.weight();
        let member_bytes = registry.members.weight();
        let registered = member_bytes + sessions;
        drop(registry);
        let bus = self.bus();
        Held {
            memory_bytes: bus.held() + registered,
            member_bytes,
            open_channels: bus.open_channels(),
            ..Held::default()
        }
    }

    /// Handles a request in memory.
    pub(crate) fn handle(&self, worker: WorkerId, request: BrokerRequest) {
        match request {
            BrokerRequest::Publish { id, draft } => {
                let left = self.publish(worker, id, draft);
                debug_assert!(left.is_none(), "without a disk, nothing waits for a batch");
            }
            BrokerRequest::Follow { id, channel } => self.follow(worker, id, channel),
            BrokerRequest::Unfollow { channel } => self.bus().unfollow(worker, &channel),
            BrokerRequest::State { id, channel } => {
                let mut bus = self.bus();
                if let Err(failure) = self.known(&channel) {
                    return bus.tell_failed(worker, id, failure);
                }
                let found = bus.stream(&channel);
                let found = found.map(|stream| (stream.state(), stream.values()));
                let (stream, values) =
                    found.unwrap_or_else(|| (bus.nothing(ReadFrom::Start).0, Vec::new()));
                bus.tell(worker, BrokerEvent::State { id, stream, values });
            }
            BrokerRequest::FollowFilter { id, filter } => self.follow_filter(worker, id, &filter),
            BrokerRequest::UnfollowFilter { filter } => {
                self.bus().unfollow_filter(worker, &filter);
            }
            BrokerRequest::FilterHistory {
                id,
                filter,
                after,
                limit,
            } => self.filter_history(worker, id, &filter, after, limit),
            BrokerRequest::SaveSession { id, .. } => {
                self.session(request);
                self.saved(worker, id);
            }
            BrokerRequest::DropSession { .. } => self.session(request),
            BrokerRequest::Share { name, request } => self.share(worker, &name, request),
            BrokerRequest::Values {
                id,
                filter,
                after,
                limit,
            } => {
                let bus = self.bus();
                let (values, next) = page::values(&bus, &filter, after.as_ref(), limit);
                bus.tell(worker, BrokerEvent::Values { id, values, next });
            }
            BrokerRequest::LoadSession { id, session } => {
                let now_ms = self.bus().now().unix_ms;
                let bytes = self.registry().sessions.load(session, now_ms);
                self.bus().tell(worker, BrokerEvent::Session { id, bytes });
            }
            BrokerRequest::History {
                id,
                channel,
                from,
                limit,
            } => self.history(worker, id, &channel, from, limit),
            BrokerRequest::Join {
                channel,
                member,
                generation,
            } => {
                let mut registry = self.registry();
                let joined = registry.members.join(worker, &channel, member, generation);
                self.tell_changes(&registry.members, joined);
            }
            BrokerRequest::Leave {
                channel,
                session,
                generation,
                grace,
            } => {
                let mut registry = self.registry();
                let left = registry.members.leave(&channel, session, generation, grace);
                self.tell_changes(&registry.members, left);
            }
            BrokerRequest::Members { id, channel, limit } => {
                let (members, total) = self.registry().members.list(&channel, limit);
                let event = BrokerEvent::Members { id, members, total };
                self.bus().tell(worker, event);
            }
            BrokerRequest::Ack { .. } => self.ack(worker, request),
            BrokerRequest::Receipts {
                id,
                channel,
                position,
            } => self.ask_receipts(worker, id, &channel, position),
            BrokerRequest::Found { ask, receipts } => {
                let answer = self.registry().questions.found(worker, ask, receipts);
                give(&self.bus(), answer);
            }
            BrokerRequest::Renew { lease } => {
                if !self.registry().members.renew(worker, lease) {
                    self.bus().tell(worker, BrokerEvent::LeaseEnded);
                }
            }
        }
    }

    fn saved(&self, worker: WorkerId, id: Option<RequestId>) {
        if let Some(id) = id {
            self.bus().tell(worker, BrokerEvent::SessionSaved { id });
        }
    }

    /// The time from which what is saved now is kept: the later of the trusted time and the wall clock.
    pub(crate) fn stamp_ms(&self) -> u64 {
        self.clock().stamp_ms()
    }

    /// The time by which things expire, given this wall-clock time.
    pub(crate) fn believe(&self, told: Now) -> Now {
        let sequence = self.bus().place().offset;
        self.clock().tell(told, sequence)
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock by which publications become too old.
    pub(crate) fn ages(&self) -> Arc<Ages> {
        Arc::clone(self.clock().ages())
    }

    /// Goes on with the ages of an earlier process.
    pub(crate) fn restore_ages(&self, saved: Ages) {
        let mut bus = self.bus();
        let mut clock = self.clock();
        clock.restore_ages(saved, bus.place().offset);
        bus.ages = Arc::clone(clock.ages());
    }

    /// Passes the time on; periodic checks are done in slices, so that no request waits long.
    pub(crate) fn tick(&self, now: Now) {
        let mut registry = self.registry();
        registry.members.pass(now.instant);
        let answers = registry.questions.tick(now.instant);
        drop(registry);
        self.tend_members();
        let mut bus = self.bus();
        bus.set_now(now);
        bus.stamp(self.stamp_ms());
        bus.ages = self.ages();
        give(&bus, answers);
        let mut due = bus.due();
        drop(bus);
        let rules = self.rules();
        while due > 0 {
            let slice = due.min(bus::SLICE);
            self.bus().tend(&rules, slice);
            due -= slice;
        }
    }

    /// Tells and removes the members that are due, a slice at a time.
    fn tend_members(&self) {
        loop {
            let mut registry = self.registry();
            let Some(changes) = registry.members.tend() else {
                return;
            };
            self.tell_changes(&registry.members, changes);
        }
    }

    fn follow(&self, worker: WorkerId, id: RequestId, channel: ChannelName) {
        let mut bus = self.bus();
        let begun = self.known(&channel).and_then(|()| bus.begin(&channel));
        match begun.map(|stream| stream.state()) {
            Ok(stream) => {
                bus.follow(worker, channel);
                bus.tell(worker, BrokerEvent::Followed { id, stream });
            }
            Err(failure) => bus.tell_failed(worker, id, failure),
        }
    }

    fn history(
        &self,
        worker: WorkerId,
        id: RequestId,
        channel: &ChannelName,
        from: ReadFrom,
        limit: ReadLimit,
    ) {
        let mut bus = self.bus();
        if let Err(failure) = self.known(channel) {
            return bus.tell_failed(worker, id, failure);
        }
        let read = bus.stream(channel).map(|stream| {
            let (start, publications) = stream.read(from, limit);
            (stream.state(), start, publications)
        });
        let (stream, start, publications) = read.unwrap_or_else(|| {
            let (stream, start) = bus.nothing(from);
            (stream, start, Vec::new())
        });
        let event = BrokerEvent::History {
            id,
            stream,
            start,
            publications,
        };
        bus.tell(worker, event);
    }

    /// Publishes in a channel in memory. Returns the publication if this is not possible at present.
    pub(crate) fn publish(&self, worker: WorkerId, id: RequestId, draft: Draft) -> Option<Draft> {
        let mut bus = self.bus();
        let Some(rules) = self.rules_of(&draft.channel) else {
            bus.tell_failed(worker, id, BrokerFailure::UnknownChannel);
            return None;
        };
        if !bus.has_sequence() {
            return Some(draft);
        }
        let published = |position, duplicate| BrokerEvent::Published {
            id,
            position,
            duplicate,
        };
        match bus.publish(draft, &rules) {
            Ok(Published::New(publication)) => {
                bus.tell(worker, published(publication.position, false));
                bus.tell_publication(&publication);
            }
            Ok(Published::Before(position)) => bus.tell(worker, published(position, true)),
            Err(failure) => bus.tell_failed(worker, id, failure),
        }
        None
    }

    fn ack(&self, worker: WorkerId, request: BrokerRequest) {
        let BrokerRequest::Ack {
            id,
            channel,
            scope,
            consumer,
            position,
        } = request
        else {
            return;
        };
        let mut bus = self.bus();
        let acked = self
            .known(&channel)
            .and_then(|()| bus.ack(&channel, (&scope, consumer), position));
        match acked {
            Ok(position) => bus.tell(worker, BrokerEvent::Acked { id, position }),
            Err(failure) => bus.tell_failed(worker, id, failure),
        }
    }

    fn known(&self, channel: &ChannelName) -> Result<(), BrokerFailure> {
        let known = self.has(channel, |_| true).then_some(());
        known.ok_or(BrokerFailure::UnknownChannel)
    }

    fn ask_receipts(
        &self,
        worker: WorkerId,
        id: RequestId,
        channel: &ChannelName,
        position: Position,
    ) {
        let mut registry = self.registry();
        let mut bus = self.bus();
        if bus
            .stream(channel)
            .is_some_and(|stream| !stream.has(position))
        {
            return bus.tell_failed(worker, id, BrokerFailure::UnknownPosition);
        }
        let now = bus.now().instant;
        let asked = registry
            .questions
            .ask(worker, id, bus.followers(channel), now);
        let Some(ask) = asked else {
            let receipts = Receipts::default();
            return bus.tell(worker, BrokerEvent::Receipts { id, receipts });
        };
        let question = BrokerEvent::AskReceipts {
            ask,
            channel: channel.clone(),
            position,
        };
        bus.tell_followers(channel, &question);
    }
}

fn give(bus: &Bus, answers: impl IntoIterator<Item = Answer>) {
    for (worker, answer) in answers {
        bus.tell(worker, answer);
    }
}

#[cfg(test)]
mod tests;
