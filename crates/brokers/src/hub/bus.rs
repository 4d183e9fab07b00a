//! The bus: delivers publications to followers, and holds the streams that exist only in memory. It
//! is used under one lock, held briefly, in the caller's thread; nothing here waits for a disk.

mod followers;
mod upkeep;
mod values;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, ChannelGap, ChannelName, ChannelRules, Draft, Epoch, Filter,
    FilterTrie, Key, Now, Position, Publication, ReadFrom, ReadStart, RequestId, StreamState,
};

use super::{ages::Ages, durable::Durable, forgotten::Forgotten, recent::Recent, stream::Stream};
use crate::{broker::WorkerId, changes::Changes, lineage::fresh_epoch, mailbox::Mailbox};

use self::followers::Followers;
pub(crate) use self::upkeep::{SLICE, shrink};

/// Filters that one worker may follow. Each is looked at for every publication that its beginning
/// matches.
const MAX_FILTERS: usize = 100_000;

/// Approximate bytes for the name of a followed channel.
const FOLLOWED: usize = 200;

/// Approximate bytes for a cached stream on disk, including its lineage.
const VIEW: usize = 512;

/// Sequence numbers left free while a batch is made durable. 65,536: more than is published without
/// history during one fsync. They are 64 bits wide, and last for centuries all the same.
pub(crate) const ROOM: u64 = 1 << 16;

#[derive(Debug)]
pub(crate) struct Bus {
    mailboxes: BTreeMap<WorkerId, Arc<Mailbox>>,
    /// Mailboxes whose workers are woken later; none if each is woken at once.
    asleep: RefCell<Option<Vec<Arc<Mailbox>>>>,
    next_worker: u64,
    followers: HashMap<ChannelName, Followers>,
    /// The same names in order, for lists of them.
    followed: BTreeSet<ChannelName>,
    observers: Vec<Arc<Changes>>,
    filters: FilterTrie<Vec<WorkerId>>,
    /// The filters that each worker follows.
    filters_of: BTreeMap<WorkerId, BTreeSet<Filter>>,
    streams: HashMap<ChannelName, Stream>,
    /// The names of those that were given a value, in order.
    with_values: BTreeSet<ChannelName>,
    /// Names in `streams` and `durable`, in the order in which upkeep examines them. Some may be
    /// gone.
    upkeep: VecDeque<ChannelName>,
    /// The epoch of streams created now; it changes once a stream was forgotten.
    epoch: Epoch,
    /// The epoch of this broker, and the newest sequence number delivered to any follower.
    began: Epoch,
    sequence: u64,
    /// While a batch is being made durable and delivered: the last sequence number available for
    /// publications without history. Higher numbers belong to the batch.
    free_until: Option<u64>,
    /// Numbers that a batch leaves free before each of its slices.
    room: u64,
    pub(crate) recent: Recent,
    /// Streams in memory that were forgotten.
    forgotten: Forgotten,
    /// The state of streams on disk, as of the last commit.
    pub(crate) durable: HashMap<ChannelName, Durable>,
    now: Now,
    /// The time from which keys and cursors are kept: see [`Clock`](super::clock::Clock).
    stamp_ms: u64,
    /// By which publications become too old.
    pub(super) ages: Arc<Ages>,
    /// Bytes of memory that channels may take, and about how many the streams in memory do.
    budget: usize,
    held: usize,
}

impl Bus {
    /// A bus with this epoch, whose publications get higher sequence numbers than this one.
    pub(crate) fn new(began: Epoch, sequence: u64, budget: usize, now: Now) -> Self {
        // Never an epoch of streams on disk, because a channel may move from memory to disk.
        let epoch = fresh_epoch(Some(began), now);
        Self {
            mailboxes: BTreeMap::new(),
            asleep: RefCell::new(None),
            next_worker: 1,
            followers: HashMap::new(),
            followed: BTreeSet::new(),
            observers: Vec::new(),
            streams: HashMap::new(),
            with_values: BTreeSet::new(),
            upkeep: VecDeque::new(),
            filters: FilterTrie::new(),
            filters_of: BTreeMap::new(),
            epoch,
            began,
            sequence,
            free_until: None,
            room: ROOM,
            recent: Recent::new(sequence),
            forgotten: Forgotten::default(),
            durable: HashMap::new(),
            now,
            stamp_ms: now.unix_ms,
            ages: Arc::new(Ages::at(now.unix_ms)),
            budget,
            held: 0,
        }
    }

    /// About how many bytes channels take.
    pub(crate) fn held(&self) -> usize {
        self.held + self.followers.len() * FOLLOWED + self.durable.len() * VIEW
    }

    /// Channels that have an entry here.
    pub(crate) fn open_channels(&self) -> usize {
        self.streams.len() + self.durable.len()
    }

    /// How much too much is held.
    fn over(&self) -> usize {
        self.held().saturating_sub(self.budget)
    }

    /// Whether there is room for one more channel.
    pub(crate) fn has_room(&self) -> bool {
        self.held() < self.budget
    }

    /// Updates the count of the memory that a stream takes.
    fn count(&mut self, channel: &ChannelName) {
        if let Some(stream) = self.streams.get_mut(channel) {
            let now = stream.weight();
            let before = std::mem::replace(&mut stream.counted, now);
            self.held = self.held - before + now;
        }
    }

    fn remove_stream(&mut self, channel: &ChannelName) -> Option<Stream> {
        let stream = self.streams.remove(channel)?;
        self.with_values.remove(channel);
        self.held -= stream.counted;
        Some(stream)
    }

    pub(crate) fn attach(&mut self, mailbox: Arc<Mailbox>) -> WorkerId {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        self.mailboxes.insert(worker, mailbox);
        worker
    }

    /// Nothing is delivered to a worker from now on. What it follows is removed by
    /// [`unfollow_some`](Self::unfollow_some) and
    /// [`unfollow_some_filters`](Self::unfollow_some_filters).
    pub(crate) fn detach(&mut self, worker: WorkerId) {
        self.mailboxes.remove(&worker);
    }

    pub(crate) fn now(&self) -> Now {
        self.now
    }

    pub(crate) fn mailbox(&self, worker: WorkerId) -> Option<&Arc<Mailbox>> {
        self.mailboxes.get(&worker)
    }

    pub(crate) fn tell(&self, worker: WorkerId, event: BrokerEvent) {
        if let Some(mailbox) = self.mailboxes.get(&worker) {
            self.put(mailbox, event);
        }
    }

    fn put(&self, mailbox: &Arc<Mailbox>, event: BrokerEvent) {
        if !mailbox.put_later(event) {
            return;
        }
        match &mut *self.asleep.borrow_mut() {
            Some(asleep) => asleep.push(Arc::clone(mailbox)),
            None => mailbox.wake(),
        }
    }

    /// From now on, workers are not woken when they are told something, until
    /// [`told`](Self::told): a worker woken by the first of a hundred answers would take that one alone,
    /// and would have to be woken again for the others.
    pub(crate) fn tell_many(&mut self) {
        *self.asleep.get_mut() = Some(Vec::new());
    }

    /// Ends [`tell_many`](Self::tell_many). Returns the mailboxes whose workers must be woken, which is
    /// done best without the bus's lock.
    #[must_use]
    pub(crate) fn told(&mut self) -> Vec<Arc<Mailbox>> {
        self.asleep.get_mut().take().unwrap_or_default()
    }

    pub(crate) fn tell_failed(&self, worker: WorkerId, id: RequestId, failure: BrokerFailure) {
        self.tell(worker, BrokerEvent::Failed { id, failure });
    }

    pub(crate) fn tell_all(&self, event: &BrokerEvent) {
        for mailbox in self.mailboxes.values() {
            self.put(mailbox, event.clone());
        }
    }

    pub(crate) fn tell_followers(&self, channel: &ChannelName, event: &BrokerEvent) {
        for worker in self.followers(channel) {
            self.tell(*worker, event.clone());
        }
    }

    /// Delivers a publication once to every worker that follows its channel or a matching filter.
    pub(crate) fn tell_publication(&self, publication: &Arc<Publication>) {
        self.tell_to(self.followers(&publication.channel), publication);
    }

    /// Delivers a publication only to workers that follow by filter. Followers of its channel find
    /// it before the head they are given.
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

    /// Follows all channels that match. All later publications have a higher sequence number than
    /// the returned head.
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

    /// Removes some filters of a worker that is detached. Returns whether it may have more.
    pub(crate) fn unfollow_some_filters(&mut self, worker: WorkerId) -> bool {
        for _ in 0..SLICE {
            let mine = self.filters_of.get_mut(&worker);
            let Some(filter) = mine.and_then(BTreeSet::pop_first) else {
                self.filters_of.remove(&worker);
                return false;
            };
            self.remove_filter(worker, &filter);
        }
        true
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

    /// The sequence number of a publication that is delivered immediately: higher than all
    /// delivered ones, and lower than those being made durable.
    fn next_sequence(&mut self) -> Result<u64, BrokerFailure> {
        if !self.has_sequence() {
            return Err(BrokerFailure::Busy);
        }
        self.sequence += 1;
        Ok(self.sequence)
    }

    /// Whether there is a sequence number for a publication that is delivered immediately. If there is
    /// none, later batches leave more of them.
    pub(crate) fn has_sequence(&mut self) -> bool {
        let has_one = self.free_until.is_none_or(|last| self.sequence < last);
        if !has_one {
            self.room = self.room.saturating_mul(4).min(1 << 32);
        }
        has_one
    }

    /// Starts to make a batch of publications durable. Returns the newest sequence number, and how
    /// many numbers the batch must leave free before each slice that is delivered under one lock.
    pub(crate) fn begin_batch(&mut self) -> (u64, u64) {
        self.free_until = Some(self.sequence + self.room);
        (self.sequence, self.room)
    }

    /// Publishes one publication of a batch, after this many free numbers.
    pub(crate) fn reach(&mut self, sequence: u64, room: u64) {
        self.sequence = self.sequence.max(sequence);
        self.free_until = Some(self.sequence + room);
    }

    /// All publications up to this number were delivered or failed.
    pub(crate) fn end_batch(&mut self, sequence: u64) {
        self.free_until = None;
        self.sequence = self.sequence.max(sequence);
    }

    /// Publications in a channel in memory after a position that cannot be read any more, with the
    /// sequence number of the newest of them.
    pub(crate) fn missed(
        &self,
        channel: &ChannelName,
        after: Position,
    ) -> Option<(u64, ChannelGap)> {
        let after = if after.epoch == self.began {
            after.offset
        } else {
            0
        };
        if let Some(stream) = self.streams.get(channel)
            && let Some(gap) = stream.after_sequence(channel, after).0
        {
            return Some((stream.dropped_sequence(), gap));
        }
        self.forgotten.missed(channel, after)
    }

    /// Publications after a sequence number in matching streams that were forgotten.
    pub(crate) fn forgotten_gaps(
        &self,
        filter: &Filter,
        after: u64,
    ) -> impl Iterator<Item = (u64, ChannelGap)> {
        let names = self.forgotten.names();
        let gone = names.filter(move |name| {
            let now = self.streams.get(*name);
            filter.matches(name) && now.is_none_or(|now| now.dropped_sequence() <= after)
        });
        gone.filter_map(move |name| self.forgotten.missed(name, after))
    }

    /// The names of all channels that live in memory, or did until they were forgotten.
    pub(crate) fn in_memory(&self) -> Vec<ChannelName> {
        let forgotten = self.forgotten.names();
        self.streams.keys().chain(forgotten).cloned().collect()
    }

    /// Streams in memory that match a filter.
    pub(crate) fn matching<'a>(
        &'a self,
        filter: &'a Filter,
    ) -> impl Iterator<Item = (&'a ChannelName, &'a Stream)> {
        let all = self.streams.iter();
        all.filter(|(name, _)| filter.matches(name))
    }

    /// Adds a publication to a stream in memory and delivers it.
    pub(crate) fn publish(
        &mut self,
        draft: Draft,
        rules: &ChannelRules,
    ) -> Result<Published, BrokerFailure> {
        let (channel, times) = (draft.channel.clone(), (self.now.unix_ms, self.stamp_ms));
        let stream = self.begin(&channel)?;
        if let Some(position) = stream.published_before(&draft) {
            return Ok(Published::Before(position));
        }
        // Under the lock, so that it rises with the offset.
        let sequence = self.next_sequence()?;
        let stream = self.streams.get_mut(&channel);
        let stream = stream.ok_or(BrokerFailure::TooManyChannels)?;
        let publication = stream.publish(draft, sequence, rules, (times, &self.ages));
        if stream.has_values() {
            self.with_values.insert(channel.clone());
        }
        self.recent.push(sequence, &channel);
        self.count(&channel);
        let over = self.over();
        if over > 0
            && let Some(stream) = self.streams.get_mut(&channel)
        {
            stream.shed(over);
            self.count(&channel);
        }
        Ok(Published::New(publication))
    }

    /// Moves or reads a consumer's cursor in a stream in memory.
    pub(crate) fn ack(
        &mut self,
        channel: &ChannelName,
        (scope, consumer): (&str, Key),
        position: Option<Position>,
    ) -> Result<Option<Position>, BrokerFailure> {
        let times = (self.now.unix_ms, self.stamp_ms);
        let acked = match self.stream(channel) {
            Some(stream) => stream.ack(scope, consumer, position, times),
            None if position.is_some_and(|position| position.offset > 0) => {
                Err(BrokerFailure::UnknownPosition)
            }
            None => Ok(None),
        };
        self.count(channel);
        acked
    }

    /// The stream of a channel in memory, created if necessary.
    pub(crate) fn begin(&mut self, channel: &ChannelName) -> Result<&mut Stream, BrokerFailure> {
        if !self.streams.contains_key(channel) {
            if !self.has_room() {
                return Err(BrokerFailure::TooManyChannels);
            }
            self.streams
                .insert(channel.clone(), Stream::new(self.epoch));
            self.count(channel);
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

    pub(crate) fn set_now(&mut self, now: Now) {
        self.now = now;
        self.stamp_ms = now.unix_ms;
    }

    /// What is kept from now on is kept from this time, which is not before that of
    /// [`set_now`](Self::set_now).
    pub(crate) fn stamp(&mut self, stamp_ms: u64) {
        self.stamp_ms = stamp_ms;
    }
}

/// The result of publishing in memory.
pub(crate) enum Published {
    New(Arc<Publication>),
    Before(Position),
}

#[cfg(test)]
mod tests;
