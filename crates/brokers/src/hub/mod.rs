//! What lives in memory at every broker: workers, followers, members, and the streams of
//! channels without durable history.

mod members;
mod questions;
mod stream;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, BrokerRequest, ChannelName, Draft, Epoch, Now, Position,
    PresenceChange, Receipts, RequestId, RuleBook,
};

use self::{
    members::Members,
    questions::{Answer, Questions},
    stream::Stream,
};
use crate::{broker::WorkerId, lineage::fresh_epoch, mailbox::Mailbox};

/// How long a stream that holds nothing is remembered, so that positions in it stay good.
const FORGET_AFTER_MS: u64 = 10 * 60 * 1000;

#[derive(Debug)]
pub(crate) struct Hub {
    rules: Arc<RuleBook>,
    mailboxes: BTreeMap<WorkerId, Arc<Mailbox>>,
    next_worker: u64,
    followers: HashMap<ChannelName, Vec<WorkerId>>,
    streams: HashMap<ChannelName, Stream>,
    members: Members,
    questions: Questions,
    /// The epoch of the newest stream.
    epoch: Option<Epoch>,
    /// The newest sequence number of the broker.
    sequence: Arc<AtomicU64>,
    now: Now,
}

impl Hub {
    pub(crate) fn new(rules: Arc<RuleBook>, sequence: Arc<AtomicU64>, now: Now) -> Self {
        Self {
            rules,
            mailboxes: BTreeMap::new(),
            next_worker: 1,
            followers: HashMap::new(),
            streams: HashMap::new(),
            members: Members::new(now.instant),
            questions: Questions::default(),
            epoch: None,
            sequence,
            now,
        }
    }

    pub(crate) fn attach(&mut self, mailbox: Arc<Mailbox>) -> WorkerId {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        self.attach_as(worker, mailbox);
        worker
    }

    pub(crate) fn attach_as(&mut self, worker: WorkerId, mailbox: Arc<Mailbox>) {
        self.mailboxes.insert(worker, mailbox);
    }

    pub(crate) fn detach(&mut self, worker: WorkerId) {
        self.mailboxes.remove(&worker);
        self.followers.retain(|_, followers| {
            followers.retain(|follower| *follower != worker);
            !followers.is_empty()
        });
        self.members.lease_ended(worker);
        let answers = self.questions.detached(worker);
        self.give(answers);
    }

    pub(crate) fn rules(&self) -> &Arc<RuleBook> {
        &self.rules
    }

    /// The newest sequence number that was given.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn now(&self) -> Now {
        self.now
    }

    pub(crate) fn mailbox(&self, worker: WorkerId) -> Option<&Arc<Mailbox>> {
        self.mailboxes.get(&worker)
    }

    pub(crate) fn tell(&self, worker: WorkerId, event: BrokerEvent) {
        if let Some(mailbox) = self.mailboxes.get(&worker) {
            mailbox.put(event);
        }
    }

    pub(crate) fn tell_failed(&self, worker: WorkerId, id: RequestId, failure: BrokerFailure) {
        self.tell(worker, BrokerEvent::Failed { id, failure });
    }

    pub(crate) fn tell_all(&self, event: &BrokerEvent) {
        for mailbox in self.mailboxes.values() {
            mailbox.put(event.clone());
        }
    }

    pub(crate) fn tell_followers(&self, channel: &ChannelName, event: &BrokerEvent) {
        for worker in self.followers.get(channel).into_iter().flatten() {
            self.tell(*worker, event.clone());
        }
    }

    pub(crate) fn follow(&mut self, worker: WorkerId, channel: ChannelName) {
        let followers = self.followers.entry(channel).or_default();
        if !followers.contains(&worker) {
            followers.push(worker);
        }
    }

    pub(crate) fn unfollow(&mut self, worker: WorkerId, channel: &ChannelName) {
        if let Some(followers) = self.followers.get_mut(channel) {
            followers.retain(|follower| *follower != worker);
            if followers.is_empty() {
                self.followers.remove(channel);
            }
        }
    }

    pub(crate) fn is_followed(&self, channel: &ChannelName) -> bool {
        self.followers.contains_key(channel)
    }

    /// Does in memory what is asked.
    pub(crate) fn handle(&mut self, worker: WorkerId, request: BrokerRequest) {
        match request {
            BrokerRequest::Publish { id, draft } => self.publish(worker, id, draft),
            BrokerRequest::Follow { id, channel } => {
                let Some(stream) = self.stream(worker, id, &channel) else {
                    return;
                };
                let stream = stream.state();
                self.follow(worker, channel);
                self.tell(worker, BrokerEvent::Followed { id, stream });
            }
            BrokerRequest::Unfollow { channel } => self.unfollow(worker, &channel),
            BrokerRequest::History {
                id,
                channel,
                from,
                limit,
            } => {
                let Some(stream) = self.stream(worker, id, &channel) else {
                    return;
                };
                let (start, publications) = stream.read(from, limit);
                let stream = stream.state();
                self.tell(
                    worker,
                    BrokerEvent::History {
                        id,
                        stream,
                        start,
                        publications,
                    },
                );
            }
            BrokerRequest::Join {
                channel,
                member,
                generation: since_ms,
            } => {
                let joined = self.members.join(worker, &channel, member, since_ms);
                self.tell_change(joined);
            }
            BrokerRequest::Leave {
                channel,
                session,
                generation: since_ms,
                grace,
            } => {
                let left = self.members.leave(&channel, session, since_ms, grace);
                self.tell_change(left);
            }
            BrokerRequest::Members { id, channel, limit } => {
                let (members, total) = self.members.list(&channel, limit);
                self.tell(worker, BrokerEvent::Members { id, members, total });
            }
            BrokerRequest::Ack {
                id,
                channel,
                scope,
                consumer,
                position,
            } => {
                let now_ms = self.now.unix_ms;
                let Some(stream) = self.stream(worker, id, &channel) else {
                    return;
                };
                match stream.ack(&scope, consumer, position, now_ms) {
                    Ok(position) => self.tell(worker, BrokerEvent::Acked { id, position }),
                    Err(failure) => self.tell_failed(worker, id, failure),
                }
            }
            BrokerRequest::Receipts {
                id,
                channel,
                position,
            } => self.ask_receipts(worker, id, &channel, position),
            BrokerRequest::Found { ask, receipts } => {
                let answer = self.questions.found(worker, ask, receipts);
                self.give(answer);
            }
            BrokerRequest::Renew { lease } => self.members.renew(worker, lease),
            // Filters and durable sessions are not kept by any broker yet.
            BrokerRequest::FollowFilter { id, .. }
            | BrokerRequest::FilterHistory { id, .. }
            | BrokerRequest::LoadSession { id, .. } => {
                self.tell_failed(worker, id, BrokerFailure::Busy);
            }
            BrokerRequest::UnfollowFilter { .. }
            | BrokerRequest::SaveSession { .. }
            | BrokerRequest::DropSession { .. } => {}
        }
    }

    pub(crate) fn tick(&mut self, now: Now) {
        self.now = now;
        for left in self.members.tick(now.instant) {
            self.tell_change(Some(left));
        }
        let answers = self.questions.tick(now.instant);
        self.give(answers);
        let (rules, followers) = (&self.rules, &self.followers);
        self.streams.retain(|channel, stream| {
            let Some(rules) = rules.rules(channel) else {
                return false;
            };
            stream.tick(rules, now.unix_ms);
            let idle = stream.used_ms.saturating_add(FORGET_AFTER_MS) < now.unix_ms;
            !(idle && stream.is_bare() && !followers.contains_key(channel))
        });
    }

    fn ask_receipts(
        &mut self,
        worker: WorkerId,
        id: RequestId,
        channel: &ChannelName,
        position: Position,
    ) {
        let followers = self.followers.get(channel).map_or(&[][..], Vec::as_slice);
        let asked = self.questions.ask(worker, id, followers, self.now.instant);
        let Some(ask) = asked else {
            let receipts = Receipts::default();
            return self.tell(worker, BrokerEvent::Receipts { id, receipts });
        };
        let question = BrokerEvent::AskReceipts {
            ask,
            channel: channel.clone(),
            position,
        };
        self.tell_followers(channel, &question);
    }

    fn give(&self, answers: impl IntoIterator<Item = Answer>) {
        for (worker, answer) in answers {
            self.tell(worker, answer);
        }
    }

    fn publish(&mut self, worker: WorkerId, id: RequestId, draft: Draft) {
        let Some(rules) = self.rules.rules(&draft.channel).cloned() else {
            self.tell_failed(worker, id, BrokerFailure::UnknownChannel);
            return;
        };
        let channel = draft.channel.clone();
        let now_ms = self.now.unix_ms;
        let sequence = self.next_sequence();
        let Some(stream) = self.stream(worker, id, &channel) else {
            return;
        };
        if let Some(position) = stream.published_before(&draft) {
            self.tell(
                worker,
                BrokerEvent::Published {
                    id,
                    position,
                    duplicate: true,
                },
            );
            return;
        }
        let publication = stream.publish(draft, sequence, &rules, now_ms);
        let position = publication.position;
        self.tell(
            worker,
            BrokerEvent::Published {
                id,
                position,
                duplicate: false,
            },
        );
        self.tell_followers(&channel, &BrokerEvent::Publication(publication));
    }

    /// The stream of a channel, begun if need be; a channel without a rule has none, and the
    /// worker is told.
    fn stream(
        &mut self,
        worker: WorkerId,
        id: RequestId,
        channel: &ChannelName,
    ) -> Option<&mut Stream> {
        if self.rules.rules(channel).is_none() {
            self.tell_failed(worker, id, BrokerFailure::UnknownChannel);
            return None;
        }
        let now = self.now;
        let newest = &mut self.epoch;
        let begin = || Stream::new(*newest.insert(fresh_epoch(*newest, now)));
        let stream = self.streams.entry(channel.clone()).or_insert_with(begin);
        stream.used_ms = now.unix_ms;
        Some(stream)
    }

    fn tell_change(&self, change: Option<PresenceChange>) {
        let Some(change) = change else { return };
        let channel = change.channel.clone();
        self.tell_followers(&channel, &BrokerEvent::Presence(Arc::new(change)));
    }
}
