//! What every broker does in memory, in two parts with a lock each: the [`Bus`] and the
//! [`Registry`]. Whoever needs both takes the registry first.

mod bus;
mod durable;
mod members;
mod questions;
mod registry;
mod stream;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, BrokerRequest, ChannelName, Draft, Now, Position, PresenceChange,
    ReadFrom, ReadLimit, Receipts, RequestId, RuleBook,
};

use self::questions::Answer;
pub(crate) use self::{
    bus::{Bus, shrink},
    durable::{Durable, View},
    registry::Registry,
};
use crate::{broker::WorkerId, mailbox::Mailbox};

#[derive(Debug)]
pub(crate) struct Hub {
    rules: Arc<RuleBook>,
    bus: Mutex<Bus>,
    registry: Mutex<Registry>,
    /// The newest sequence number of the broker.
    sequence: AtomicU64,
}

impl Hub {
    /// A hub whose publications come after this sequence number.
    pub(crate) fn new(rules: Arc<RuleBook>, sequence: u64, now: Now) -> Self {
        Self {
            rules,
            bus: Mutex::new(Bus::new(now)),
            registry: Mutex::new(Registry::new(now)),
            sequence: AtomicU64::new(sequence),
        }
    }

    pub(crate) fn rules(&self) -> &Arc<RuleBook> {
        &self.rules
    }

    /// A panic elsewhere leaves a bus that is still a bus.
    pub(crate) fn bus(&self) -> MutexGuard<'_, Bus> {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest sequence number that was given.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId {
        self.bus().attach(mailbox)
    }

    pub(crate) fn detach(&self, worker: WorkerId) {
        let mut registry = self.registry();
        registry.members.lease_ended(worker);
        let answers = registry.questions.detached(worker);
        let mut bus = self.bus();
        bus.detach(worker);
        give(&bus, answers);
    }

    /// Does in memory what is asked.
    pub(crate) fn handle(&self, worker: WorkerId, request: BrokerRequest) {
        match request {
            BrokerRequest::Publish { id, draft } => self.publish(worker, id, draft),
            BrokerRequest::Follow { id, channel } => self.follow(worker, id, channel),
            BrokerRequest::Unfollow { channel } => self.bus().unfollow(worker, &channel),
            BrokerRequest::History {
                id,
                channel,
                from,
                limit,
            } => self.history(worker, id, &channel, from, limit),
            BrokerRequest::Join {
                channel,
                member,
                since_ms,
            } => {
                let mut registry = self.registry();
                let joined = registry.members.join(worker, &channel, member, since_ms);
                self.tell_changes(joined);
            }
            BrokerRequest::Leave {
                channel,
                session,
                since_ms,
                grace,
            } => {
                let mut registry = self.registry();
                let left = registry.members.leave(&channel, session, since_ms, grace);
                self.tell_changes(left);
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

    /// Tells the time; what has to be looked at is done in slices, so that nobody waits long.
    pub(crate) fn tick(&self, now: Now) {
        let mut registry = self.registry();
        let left = registry.members.tick(now.instant);
        self.tell_changes(left);
        let answers = registry.questions.tick(now.instant);
        drop(registry);
        let mut bus = self.bus();
        bus.set_now(now);
        give(&bus, answers);
        let mut due = bus.due();
        drop(bus);
        while due > 0 {
            let slice = due.min(bus::SLICE);
            self.bus().tend(&self.rules, slice);
            due -= slice;
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

    fn publish(&self, worker: WorkerId, id: RequestId, draft: Draft) {
        let mut bus = self.bus();
        let Some(rules) = self.rules.rules(&draft.channel) else {
            return bus.tell_failed(worker, id, BrokerFailure::UnknownChannel);
        };
        let channel = draft.channel.clone();
        let now_ms = bus.now().unix_ms;
        let stream = match bus.begin(&channel) {
            Ok(stream) => stream,
            Err(failure) => return bus.tell_failed(worker, id, failure),
        };
        if let Some(position) = stream.published_before(&draft) {
            let duplicate = true;
            let event = BrokerEvent::Published {
                id,
                position,
                duplicate,
            };
            return bus.tell(worker, event);
        }
        // Under the lock, so that it rises with the offset.
        let sequence = self.next_sequence();
        let publication = stream.publish(draft, sequence, rules, now_ms);
        let published = BrokerEvent::Published {
            id,
            position: publication.position,
            duplicate: false,
        };
        bus.tell(worker, published);
        bus.tell_followers(&channel, &BrokerEvent::Publication(publication));
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
        let now_ms = bus.now().unix_ms;
        let acked = self
            .known(&channel)
            .and_then(|()| match bus.stream(&channel) {
                Some(stream) => stream.ack(&scope, consumer, position, now_ms),
                None if position.is_some_and(|position| position.offset > 0) => {
                    Err(BrokerFailure::UnknownPosition)
                }
                None => Ok(None),
            });
        match acked {
            Ok(position) => bus.tell(worker, BrokerEvent::Acked { id, position }),
            Err(failure) => bus.tell_failed(worker, id, failure),
        }
    }

    fn known(&self, channel: &ChannelName) -> Result<(), BrokerFailure> {
        let known = self.rules.rules(channel).map(|_| ());
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
        let bus = self.bus();
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

    /// Called with the registry's lock held, so that joins and leaves are told in their order.
    fn tell_changes(&self, changes: impl IntoIterator<Item = PresenceChange>) {
        for change in changes {
            let channel = change.channel.clone();
            let event = BrokerEvent::Presence(Arc::new(change));
            self.bus().tell_followers(&channel, &event);
        }
    }
}

fn give(bus: &Bus, answers: impl IntoIterator<Item = Answer>) {
    for (worker, answer) in answers {
        bus.tell(worker, answer);
    }
}
