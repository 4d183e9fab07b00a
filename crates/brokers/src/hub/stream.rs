//! One channel's stream in memory.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
};

use offhook_engine::{
    BrokerFailure, CONFLATION_TAG, ChannelGap, ChannelName, ChannelRules, Draft, Epoch, Key, Place,
    Position, Publication, ReadFrom, ReadLimit, ReadStart, Resolution, StreamState, Trimmed,
};

use super::ages::Ages;
use crate::{
    cursors::{Cursor, MAX_CONSUMERS, abandoned, is_of_session},
    lineage::backward,
    values::Values,
};

/// The maximum number of keys remembered for one channel, whatever the window: they cost memory.
const MAX_KEYS: usize = 100_000;

/// Approximate bytes of an empty stream in memory, including the entries in the bus's tables and a
/// name of some 20 bytes.
const STREAM: usize = 640;
/// Approximate bytes of a key: two entries in tables that may be half empty.
const KEY: usize = 96;
/// Approximate bytes of a retained publication in addition to its weight.
const RETAINED: usize = 16;
/// Approximate bytes of a value of the state in addition to its weight: its key twice, and entries
/// in two tables.
const VALUE: usize = 192;
/// Approximate bytes of a consumer's cursor.
const CURSOR: usize = 160;

/// How often it is looked which consumers have ended: once an hour.
const LOOK_AT_CONSUMERS_MS: u64 = 3600 * 1000;

/// A scope and a key in it, hashed: 16 bytes instead of the texts. With random hash keys two of
/// them are the same as often as two random UUIDs.
type ScopedKey = [u64; 2];

fn scoped(scope: &str, key: &Key) -> ScopedKey {
    static HASHERS: LazyLock<[RandomState; 2]> =
        LazyLock::new(|| [RandomState::new(), RandomState::new()]);
    [0, 1].map(|half| HASHERS[half].hash_one((scope, key)))
}

#[derive(Debug)]
pub(crate) struct Stream {
    epoch: Epoch,
    head: u64,
    /// The newest publications, without holes; the last has offset `head`.
    retained: VecDeque<Arc<Publication>>,
    bytes: u64,
    trimmed: Trimmed,
    /// The sequence numbers of the newest publication and of the newest that was dropped.
    sequence: u64,
    dropped_sequence: u64,
    /// Only present if the rules require a state and a value was set.
    values: Option<Box<Values<Arc<Publication>>>>,
    keys: HashMap<ScopedKey, u64>,
    /// The keys with their times, in order.
    key_times: VecDeque<(u64, ScopedKey)>,
    /// Cursors by user and consumer.
    cursors: BTreeMap<Box<str>, BTreeMap<Key, Cursor>>,
    /// Cursors of all users, and when those of sessions were last looked at.
    consumers: usize,
    consumers_looked_at_ms: u64,
    pub(crate) used_ms: u64,
    /// What the bus has counted for it.
    pub(super) counted: usize,
}

impl Stream {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            head: 0,
            retained: VecDeque::new(),
            bytes: 0,
            trimmed: Trimmed::default(),
            sequence: 0,
            dropped_sequence: 0,
            values: None,
            keys: HashMap::new(),
            key_times: VecDeque::new(),
            cursors: BTreeMap::new(),
            consumers: 0,
            consumers_looked_at_ms: 0,
            used_ms: 0,
            counted: 0,
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn weight(&self) -> usize {
        let values = self.values.as_ref();
        STREAM
            + usize::try_from(self.bytes).unwrap_or(usize::MAX)
            + self.retained.len() * RETAINED
            + self.key_times.len() * KEY
            + values.map_or(0, |values| values.weight(VALUE))
            + self.consumers * CURSOR
    }

    /// Frees about so many bytes: first the oldest keys, then the oldest history, which later
    /// readers get as a gap, then the oldest values of the state.
    pub(crate) fn shed(&mut self, bytes: usize) {
        let target = self.weight().saturating_sub(bytes);
        while self.weight() > target {
            if let Some((_, key)) = self.key_times.pop_front() {
                self.keys.remove(&key);
            } else if !self.retained.is_empty() {
                self.drop_oldest(Trimmed::BySize);
            } else if !self.values.as_mut().is_some_and(|v| v.drop_oldest()) {
                break;
            }
        }
        self.shrink();
    }

    pub(crate) const fn has_values(&self) -> bool {
        self.values.is_some()
    }

    pub(crate) fn state(&self) -> StreamState {
        StreamState {
            head: self.at(self.head),
            first: self.head + 1 - self.retained.len() as u64,
            trimmed: self.trimmed,
        }
    }

    fn at(&self, offset: u64) -> Position {
        Position {
            epoch: self.epoch,
            offset,
        }
    }

    /// Nothing was ever published.
    pub(crate) fn is_empty(&self) -> bool {
        self.head == 0
    }

    /// Whether forgetting this stream would lose nothing but its epoch.
    pub(crate) fn is_bare(&self) -> bool {
        let stateless = self.values.as_ref().is_none_or(|values| values.is_empty());
        stateless && self.retained.is_empty() && self.keys.is_empty() && self.cursors.is_empty()
    }

    pub(crate) fn published_before(&self, draft: &Draft) -> Option<Position> {
        let key = draft.key.as_ref()?;
        let key = scoped(&draft.key_scope(), key);
        let offset = *self.keys.get(&key)?;
        Some(self.at(offset))
    }

    pub(crate) fn publish(
        &mut self,
        draft: Draft,
        sequence: u64,
        rules: &ChannelRules,
        ((now_ms, stamp_ms), ages): ((u64, u64), &Ages),
    ) -> Arc<Publication> {
        let place = Place::after(self.at(self.head), sequence);
        self.head += 1;
        self.sequence = sequence;
        if let Some(key) = &draft.key {
            let key = scoped(&draft.key_scope(), key);
            self.key_times.push_back((stamp_ms, key));
            self.keys.insert(key, self.head);
        }
        let removes = draft.removes_state();
        let publication = Arc::new(draft.at(place));
        if rules.state.is_kept() {
            let time_ms = ages.of(publication.time_ms, sequence);
            self.set(&publication, removes, time_ms);
        }
        self.bytes += publication.weight() as u64;
        self.retained.push_back(Arc::clone(&publication));
        self.tick(rules, now_ms, ages);
        publication
    }

    /// Stores a consumer's position, or returns it.
    pub(crate) fn ack(
        &mut self,
        scope: &str,
        consumer: Key,
        position: Option<Position>,
        (now_ms, stamp_ms): (u64, u64),
    ) -> Result<Option<Position>, BrokerFailure> {
        let before = self.cursors.get(scope).and_then(|mine| mine.get(&consumer));
        let before = before.copied();
        let Some(position) = position else {
            return Ok(before.map(|before| before.position));
        };
        if position.epoch != self.epoch || position.offset > self.head {
            return Err(BrokerFailure::UnknownPosition);
        }
        let mine = self.cursors.entry(scope.into()).or_default();
        if before.is_none() && mine.len() >= MAX_CONSUMERS {
            let all = mine.iter().map(|(name, cursor)| (name.clone(), *cursor));
            mine.remove(&abandoned(all, now_ms)?);
            self.consumers -= 1;
        }
        let cursor = Cursor::advanced(before, position, stamp_ms);
        mine.insert(consumer, cursor);
        self.consumers += usize::from(before.is_none());
        Ok(Some(cursor.position))
    }

    /// Removes what the rules no longer retain.
    pub(crate) fn tick(&mut self, rules: &ChannelRules, now_ms: u64, ages: &Ages) {
        let (count, bytes) = (rules.history.count, rules.history.bytes);
        while self.retained.len() as u64 > count || self.bytes > bytes {
            self.drop_oldest(Trimmed::BySize);
        }
        let oldest_kept = ages.oldest_kept(rules.history.age);
        while self
            .retained
            .front()
            .is_some_and(|oldest| ages.of(oldest.time_ms, oldest.sequence) < oldest_kept)
        {
            self.drop_oldest(Trimmed::ByAge);
        }
        if let Some(values) = &mut self.values {
            values.trim(&rules.state, ages.now_ms());
        }
        self.end_consumers(now_ms);
        let window = rules.key_window.as_millis() as u64;
        let forget = |(at, _): &mut (u64, ScopedKey)| at.saturating_add(window) < now_ms;
        while let Some((_, key)) = self.key_times.pop_front_if(forget) {
            self.keys.remove(&key);
        }
        while self.key_times.len() > MAX_KEYS {
            let Some((_, key)) = self.key_times.pop_front() else {
                break;
            };
            self.keys.remove(&key);
        }
        self.shrink();
    }

    /// Frees memory that keys and history had taken.
    fn shrink(&mut self) {
        if self.keys.capacity() > 4 * self.keys.len().max(16) {
            self.keys.shrink_to_fit();
            self.key_times.shrink_to_fit();
        }
        if self.retained.capacity() > 4 * self.retained.len().max(16) {
            self.retained.shrink_to_fit();
        }
    }

    /// Forgets consumers of sessions that have ended.
    fn end_consumers(&mut self, now_ms: u64) {
        if self.consumers == 0 || now_ms < self.consumers_looked_at_ms + LOOK_AT_CONSUMERS_MS {
            return;
        }
        self.consumers_looked_at_ms = now_ms;
        self.cursors.retain(|scope, mine| {
            if is_of_session(scope.as_bytes()) {
                mine.retain(|_, cursor| !cursor.has_ended(now_ms));
            }
            !mine.is_empty()
        });
        self.consumers = self.cursors.values().map(BTreeMap::len).sum();
    }

    fn drop_oldest(&mut self, why: Trimmed) {
        if let Some(oldest) = self.retained.pop_front() {
            self.bytes -= oldest.weight() as u64;
            self.trimmed = why;
            self.dropped_sequence = oldest.sequence;
        }
    }

    /// The start of a read. This stream has one epoch: it ends with the broker.
    pub(crate) fn start(&self, from: ReadFrom) -> ReadStart {
        let (resolution, agreed) = match from {
            ReadFrom::Start => (Resolution::Continuous, 0),
            ReadFrom::Last(count) => (Resolution::Continuous, self.head.saturating_sub(count)),
            ReadFrom::After(position) => self.resolve(position),
            ReadFrom::Before(position) => backward(self.resolve(position), self.head),
        };
        let after = match from {
            // Until something is read.
            ReadFrom::Before(_) => agreed,
            ReadFrom::Start | ReadFrom::After(_) | ReadFrom::Last(_) => {
                agreed.max(self.state().first - 1)
            }
        };
        ReadStart {
            resolution,
            agreed: self.at(agreed),
            after: self.at(after),
        }
    }

    /// Whether a position is a place in the stream.
    pub(crate) fn has(&self, position: Position) -> bool {
        self.resolve(position).0 == Resolution::Continuous
    }

    fn resolve(&self, position: Position) -> (Resolution, u64) {
        if position.epoch != self.epoch {
            return (Resolution::UnknownEpoch, 0);
        }
        if position.offset > self.head {
            return (Resolution::AheadOfHead, self.head);
        }
        (Resolution::Continuous, position.offset)
    }

    fn set(&mut self, publication: &Arc<Publication>, removes: bool, time_ms: u64) {
        let Some(key) = publication.tags.get(CONFLATION_TAG) else {
            return;
        };
        let values = self.values.get_or_insert_default();
        if removes {
            values.remove(key);
            return;
        }
        let size = (publication.weight() as u64, time_ms);
        let value = Arc::clone(publication);
        values.set(publication.position.offset, key, size, value);
    }

    /// The newest publication of each key, in order.
    pub(crate) fn values(&self) -> Vec<Arc<Publication>> {
        let values = self.values.iter().flat_map(|values| values.iter());
        values.cloned().collect()
    }

    /// The sequence number of the newest publication.
    pub(crate) const fn newest_sequence(&self) -> u64 {
        self.sequence
    }

    /// The sequence number of the newest that was dropped.
    pub(crate) const fn dropped_sequence(&self) -> u64 {
        self.dropped_sequence
    }

    /// The retained publications with a higher sequence number, and what is missing of them.
    pub(crate) fn after_sequence(
        &self,
        channel: &ChannelName,
        sequence: u64,
    ) -> (Option<ChannelGap>, impl Iterator<Item = &Arc<Publication>>) {
        let from = self.retained.partition_point(|p| p.sequence <= sequence);
        let missing = self.dropped_sequence > sequence;
        let gap = missing.then(|| ChannelGap {
            channel: channel.clone(),
            from: self.at(0),
            to: self.at(self.state().first - 1),
            reason: self.trimmed.into(),
        });
        (gap, self.retained.iter().skip(from))
    }

    pub(crate) fn read(
        &self,
        from: ReadFrom,
        limit: ReadLimit,
    ) -> (ReadStart, Vec<Arc<Publication>>) {
        let start = self.start(from);
        if matches!(from, ReadFrom::Before(_)) {
            return self.read_backward(start, limit);
        }
        let skip = start.after.offset + 1 - self.state().first;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut page = Vec::new();
        for publication in self.retained.iter().skip(skip).take(limit.count as usize) {
            bytes += publication.weight();
            if bytes > limit.bytes && !page.is_empty() {
                break;
            }
            page.push(Arc::clone(publication));
        }
        (start, page)
    }

    /// The newest up to where the read begins, oldest first.
    fn read_backward(
        &self,
        mut start: ReadStart,
        limit: ReadLimit,
    ) -> (ReadStart, Vec<Arc<Publication>>) {
        let known = (start.agreed.offset + 1).saturating_sub(self.state().first);
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut page = Vec::new();
        let newest_first = self.retained.iter().take(known).rev();
        for publication in newest_first.take(limit.count as usize) {
            bytes += publication.weight();
            if bytes > limit.bytes && !page.is_empty() {
                break;
            }
            start.after = publication.previous;
            page.push(Arc::clone(publication));
        }
        page.reverse();
        (start, page)
    }
}

#[cfg(test)]
mod tests;
