//! The bus: delivers publications to followers, and holds the streams that exist only in memory. It
//! is used under one lock, held briefly, in the caller's thread; nothing here waits for a disk.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, ChannelGap, ChannelName, ChannelRules, Draft, Epoch, Filter,
    FilterTrie, Now, Position, Publication, ReadFrom, ReadStart, RequestId, RuleBook, StreamState,
};

use super::{durable::Durable, stream::Stream};
use crate::{broker::WorkerId, lineage::fresh_epoch, mailbox::Mailbox};

/// The maximum number of filters of one worker. Each is checked for every publication whose channel
/// starts like it.
const MAX_FILTERS: usize = 100_000;

/// How long a stream that had publications and holds none is remembered, so that positions in it
/// stay valid: longer than a client takes to return after losing its network.
const FORGET_AFTER_MS: u64 = 10 * 60 * 1000;

/// Streams in memory. One that holds nothing takes about 500 bytes: half a gigabyte at most.
const MAX_STREAMS: usize = 1_000_000;

/// How many streams one slice of upkeep examines under the lock: well below a millisecond.
pub(crate) const SLICE: usize = 512;

/// A tick looks at one part in so many of all streams.
const ROUND: usize = 8;

#[derive(Debug)]
pub(crate) struct Bus {
    mailboxes: BTreeMap<WorkerId, Arc<Mailbox>>,
    next_worker: u64,
    followers: HashMap<ChannelName, Vec<WorkerId>>,
    filters: FilterTrie<Vec<WorkerId>>,
    /// The filters that each worker follows.
    filters_of: BTreeMap<WorkerId, BTreeSet<Filter>>,
    streams: HashMap<ChannelName, Stream>,
    /// Names in `streams` and `durable`, in the order in which upkeep examines them. Some may be
    /// gone.
    upkeep: VecDeque<ChannelName>,
    /// The epoch of streams created now; it changes once a stream was forgotten.
    epoch: Epoch,
    /// The epoch of this broker, and the newest sequence number delivered to any follower.
    began: Epoch,
    sequence: u64,
    /// Publications with higher numbers are being made durable.
    in_flight: bool,
    /// What is known of streams on disk, as of the last commit.
    pub(crate) durable: HashMap<ChannelName, Durable>,
    now: Now,
}

impl Bus {
    /// A bus of this epoch, whose publications come after this sequence number.
    pub(crate) fn new(began: Epoch, sequence: u64, now: Now) -> Self {
        Self {
            mailboxes: BTreeMap::new(),
            next_worker: 1,
            followers: HashMap::new(),
            streams: HashMap::new(),
            upkeep: VecDeque::new(),
            filters: FilterTrie::new(),
            filters_of: BTreeMap::new(),
            epoch: began,
            began,
            sequence,
            in_flight: false,
            durable: HashMap::new(),
            now,
        }
    }

    pub(crate) fn attach(&mut self, mailbox: Arc<Mailbox>) -> WorkerId {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        self.mailboxes.insert(worker, mailbox);
        worker
    }

    pub(crate) fn detach(&mut self, worker: WorkerId) {
        self.mailboxes.remove(&worker);
        self.followers.retain(|_, followers| {
            followers.retain(|follower| *follower != worker);
            !followers.is_empty()
        });
        for filter in self.filters_of.remove(&worker).into_iter().flatten() {
            self.remove_filter(worker, &filter);
        }
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

    /// Delivers a publication once to every worker that follows its channel or a matching filter.
    pub(crate) fn tell_publication(&self, publication: &Arc<Publication>) {
        self.tell_to(self.followers(&publication.channel), publication);
    }

    /// Delivers a publication only to workers that follow it by filter: followers of its channel
    /// have it before the head that they are told.
    pub(crate) fn tell_by_filter(&self, publication: &Arc<Publication>) {
        self.tell_to(&[], publication);
    }

    fn tell_to(&self, by_name: &[WorkerId], publication: &Arc<Publication>) {
        let channel = &publication.channel;
        if self.filters.is_empty() && by_name.is_empty() {
            return;
        }
        let mut workers = by_name.to_vec();
        if !self.filters.is_empty() {
            self.filters.find(channel, &mut |followers| {
                for worker in followers {
                    if !workers.contains(worker) {
                        workers.push(*worker);
                    }
                }
            });
        }
        for worker in workers {
            self.tell(worker, BrokerEvent::Publication(Arc::clone(publication)));
        }
    }

    /// Follows all channels that match. Everything that is told later has a higher sequence number
    /// than the head that this gives, but for what is published without history meanwhile.
    pub(crate) fn follow_filter(
        &mut self,
        worker: WorkerId,
        filter: &Filter,
    ) -> Result<Position, BrokerFailure> {
        let mine = self.filters_of.entry(worker).or_default();
        if mine.len() >= MAX_FILTERS && !mine.contains(filter) {
            return Err(BrokerFailure::Busy);
        }
        if mine.insert(filter.clone()) {
            let mut followers = self.filters.remove(filter).unwrap_or_default();
            followers.push(worker);
            self.filters.insert(filter, followers);
        }
        Ok(self.place())
    }

    pub(crate) fn unfollow_filter(&mut self, worker: WorkerId, filter: &Filter) {
        let Some(mine) = self.filters_of.get_mut(&worker) else {
            return;
        };
        if mine.remove(filter) {
            self.remove_filter(worker, filter);
        }
    }

    fn remove_filter(&mut self, worker: WorkerId, filter: &Filter) {
        let mut followers = self.filters.remove(filter).unwrap_or_default();
        followers.retain(|follower| *follower != worker);
        if !followers.is_empty() {
            self.filters.insert(filter, followers);
        }
    }

    /// The newest position in the broker's own order: everything up to it was delivered.
    pub(crate) fn place(&self) -> Position {
        Position {
            epoch: self.began,
            offset: self.sequence,
        }
    }

    /// The number of a publication that is told at once. While others with higher numbers are made
    /// durable it is told under the newest number that was: so the numbers that a reader sees never
    /// fall, and none that it has seen stands for something that it has not.
    fn next_sequence(&mut self) -> u64 {
        self.sequence += u64::from(!self.in_flight);
        self.sequence
    }

    /// Publications that come after the number this gives are being made durable.
    pub(crate) fn begin_batch(&mut self) -> u64 {
        self.in_flight = true;
        self.sequence
    }

    /// A publication that was made durable is told.
    pub(crate) fn reach(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// All publications up to this number were delivered or failed.
    pub(crate) fn end_batch(&mut self, sequence: u64) {
        self.in_flight = false;
        self.reach(sequence);
    }

    /// What was published without history in channels that match, and can't be read any longer.
    pub(crate) fn missed(&self, filter: &Filter, after: Position) -> Vec<ChannelGap> {
        let after = if after.epoch == self.began {
            after.offset
        } else {
            0
        };
        let all = self.matching(filter);
        all.filter_map(|(channel, stream)| stream.after_sequence(channel, after).0)
            .collect()
    }

    /// Streams in memory that match a filter.
    pub(crate) fn matching<'a>(
        &'a self,
        filter: &'a Filter,
    ) -> impl Iterator<Item = (&'a ChannelName, &'a Stream)> {
        let all = self.streams.iter();
        all.filter(|(name, _)| filter.matches(name))
    }

    pub(crate) fn followers(&self, channel: &ChannelName) -> &[WorkerId] {
        self.followers.get(channel).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn follow(&mut self, worker: WorkerId, channel: ChannelName) {
        let followers = self.followers.entry(channel).or_default();
        if !followers.contains(&worker) {
            followers.push(worker);
        }
    }

    pub(crate) fn unfollow(&mut self, worker: WorkerId, channel: &ChannelName) {
        let Some(followers) = self.followers.get_mut(channel) else {
            return;
        };
        followers.retain(|follower| *follower != worker);
        if followers.is_empty() {
            self.followers.remove(channel);
        }
    }

    /// Whether a worker follows this channel.
    pub(crate) fn is_followed(&self, channel: &ChannelName) -> bool {
        if self.followers.contains_key(channel) {
            return true;
        }
        let mut matched = false;
        if !self.filters.is_empty() {
            self.filters.find(channel, &mut |_| matched = true);
        }
        matched
    }

    /// Adds a publication to a stream in memory and delivers it.
    pub(crate) fn publish(
        &mut self,
        draft: Draft,
        rules: &ChannelRules,
    ) -> Result<Published, BrokerFailure> {
        let (channel, now_ms) = (draft.channel.clone(), self.now.unix_ms);
        let stream = self.begin(&channel)?;
        if let Some(position) = stream.published_before(&draft) {
            return Ok(Published::Before(position));
        }
        // Under the lock, so that it rises with the offset.
        let sequence = self.next_sequence();
        let stream = self.begin(&channel)?;
        Ok(Published::New(
            stream.publish(draft, sequence, rules, now_ms),
        ))
    }

    /// The stream of a channel in memory, created if necessary.
    pub(crate) fn begin(&mut self, channel: &ChannelName) -> Result<&mut Stream, BrokerFailure> {
        if !self.streams.contains_key(channel) {
            if self.streams.len() >= MAX_STREAMS {
                return Err(BrokerFailure::TooManyChannels);
            }
            self.streams
                .insert(channel.clone(), Stream::new(self.epoch));
            self.upkeep.push_back(channel.clone());
        }
        let stream = self.streams.get_mut(channel);
        let stream = stream.ok_or(BrokerFailure::TooManyChannels)?;
        stream.used_ms = self.now.unix_ms;
        Ok(stream)
    }

    /// The stream of a channel in memory, if it exists.
    pub(crate) fn stream(&mut self, channel: &ChannelName) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(channel)?;
        stream.used_ms = self.now.unix_ms;
        Some(stream)
    }

    /// The state of a stream that does not exist, and the start of a read of it.
    pub(crate) fn nothing(&self, from: ReadFrom) -> (StreamState, ReadStart) {
        let empty = Stream::new(self.epoch);
        (empty.state(), empty.start(from))
    }

    /// Adds a stream on disk to those that upkeep examines.
    pub(crate) fn tend_later(&mut self, channel: &ChannelName) {
        if let Some(Durable::Open(view)) = self.durable.get_mut(channel) {
            view.used_ms = self.now.unix_ms;
            self.upkeep.push_back(channel.clone());
        }
    }

    /// Forgets what is known of streams on disk: it has to be read again.
    pub(crate) fn forget_durable(&mut self) {
        // Those waiting to be loaded are kept.
        self.durable
            .retain(|_, durable| matches!(durable, Durable::Loading(_)));
        let streams = &self.streams;
        self.upkeep.retain(|name| streams.contains_key(name));
    }

    pub(crate) fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// How many streams one tick examines.
    pub(crate) fn due(&self) -> usize {
        self.upkeep.len().div_ceil(ROUND)
    }

    /// Trims and forgets what one slice of the streams no longer needs.
    pub(crate) fn tend(&mut self, rules: &RuleBook, count: usize) {
        for _ in 0..count {
            let Some(channel) = self.upkeep.pop_front() else {
                break;
            };
            if self.is_kept(rules, &channel) {
                self.upkeep.push_back(channel);
            } else if let Some(stream) = self.streams.remove(&channel)
                && stream.state().head.offset > 0
            {
                // The stream may be created again: its epoch distinguishes what is published then.
                self.epoch = fresh_epoch(Some(self.epoch), self.now);
            }
        }
        shrink(&mut self.streams);
        shrink(&mut self.durable);
        shrink(&mut self.followers);
        if self.upkeep.capacity() > 4 * self.upkeep.len().max(SLICE) {
            self.upkeep.shrink_to_fit();
        }
    }

    fn is_kept(&mut self, rules: &RuleBook, channel: &ChannelName) -> bool {
        if let Some(Durable::Open(view)) = self.durable.get(channel) {
            // It is only remembered to be at hand; the disk has it.
            let idle = view.used_ms.saturating_add(FORGET_AFTER_MS) < self.now.unix_ms;
            let forgettable = idle && !self.followers.contains_key(channel);
            if forgettable {
                self.durable.remove(channel);
            }
            return !forgettable;
        }
        let (Some(stream), Some(rules)) = (self.streams.get_mut(channel), rules.rules(channel))
        else {
            return false;
        };
        stream.tick(rules, self.now.unix_ms);
        let idle = stream.used_ms.saturating_add(FORGET_AFTER_MS) < self.now.unix_ms;
        let forgettable = stream.is_bare() && (idle || stream.is_empty());
        !forgettable || self.followers.contains_key(channel)
    }
}

/// The result of publishing in memory.
pub(crate) enum Published {
    New(Arc<Publication>),
    Before(Position),
}

/// Frees memory after a peak.
pub(crate) fn shrink<Value>(map: &mut HashMap<ChannelName, Value>) {
    if map.capacity() > 4 * map.len().max(SLICE) {
        map.shrink_to(2 * map.len());
    }
}
