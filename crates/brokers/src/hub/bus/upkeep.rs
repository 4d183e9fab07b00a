//! Forgets streams and views that are not needed any more, a slice at a time.

use std::collections::HashMap;

use offhook_engine::{ChannelName, RuleBook};

use super::{super::durable::Durable, Bus};
use crate::lineage::next_epoch;

/// How long an empty stream that had publications is remembered, so that positions in it stay
/// valid: longer than a client that lost its network takes to reconnect.
const FORGET_AFTER_MS: u64 = 10 * 60 * 1000;

/// The maximum number of streams on disk that are cached without a follower. 65,536: all channels
/// of most servers. Beyond that, streams that were not used within the last round are evicted.
pub(super) const UNFOLLOWED_VIEWS: usize = 65_536;

/// While memory is short, each check of the streams evicts one in so many.
const SHED: usize = 4;

/// The number of streams that one slice checks under the lock: takes well below a millisecond.
pub(crate) const SLICE: usize = 512;

/// A tick checks one in so many of all streams.
const ROUND: usize = 8;

impl Bus {
    /// Forgets streams in memory whose positions are no longer good.
    pub(crate) fn forget_streams(&mut self, is_gone: impl Fn(&ChannelName) -> bool) {
        let gone: Vec<_> = self
            .streams
            .keys()
            .filter(|name| is_gone(name))
            .cloned()
            .collect();
        for channel in gone {
            if let Some(stream) = self.remove_stream(&channel)
                && !stream.is_empty()
            {
                self.forgotten.push(channel, &stream);
            }
            self.epoch = next_epoch(self.epoch, self.now);
        }
    }

    /// Forgets a stream on disk without publications or followers, so that looking it up costs no
    /// memory.
    pub(crate) fn forget_empty(&mut self, channel: &ChannelName) {
        if let Some(Durable::Open(view)) = self.durable.get(channel)
            && view.stream.head.offset == 0
            && !self.followers.contains_key(channel)
        {
            self.durable.remove(channel);
        }
    }

    /// Forgets the cached state of streams on disk, which must be read again.
    pub(crate) fn forget_durable(&mut self) {
        // What waits to be loaded still does.
        self.durable
            .retain(|_, durable| matches!(durable, Durable::Loading(_)));
        let streams = &self.streams;
        self.upkeep.retain(|name| streams.contains_key(name));
    }

    /// Adds a stream on disk to those that upkeep examines.
    pub(crate) fn tend_later(&mut self, channel: &ChannelName) {
        if let Some(Durable::Open(view)) = self.durable.get_mut(channel) {
            view.used_ms = self.now.unix_ms;
            self.upkeep.push_back(channel.clone());
        }
    }

    /// The number of streams that one tick checks.
    pub(crate) fn due(&self) -> usize {
        self.upkeep.len().div_ceil(ROUND)
    }

    /// Trims and forgets what one slice of the streams needs no longer.
    pub(crate) fn tend(&mut self, rules: &RuleBook, count: usize) {
        for _ in 0..count {
            let Some(channel) = self.upkeep.pop_front() else {
                break;
            };
            let kept = self.is_kept(rules, &channel);
            self.count(&channel);
            if kept {
                self.upkeep.push_back(channel);
            } else if let Some(stream) = self.remove_stream(&channel)
                && stream.state().head.offset > 0
            {
                self.forgotten.push(channel, &stream);
                // The stream may start again later; its new publications are distinguished by their
                // epoch.
                self.epoch = next_epoch(self.epoch, self.now);
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
            // It is only cached; the disk has it.
            let crowded = self.durable.len() > UNFOLLOWED_VIEWS || !self.has_room();
            let patience = if crowded { 0 } else { FORGET_AFTER_MS };
            let idle = view.used_ms.saturating_add(patience) < self.now.unix_ms;
            let forgettable = idle && !self.followers.contains_key(channel);
            if forgettable {
                self.durable.remove(channel);
            }
            return !forgettable;
        }
        // Some room is left for channels that are new.
        let over = self.held().saturating_sub(self.budget / 16 * 15);
        let (Some(stream), Some(rules)) = (self.streams.get_mut(channel), rules.rules(channel))
        else {
            return false;
        };
        stream.tick(rules, self.now.unix_ms, &self.ages);
        if over > 0 {
            stream.shed(over.min(stream.weight() / SHED));
        }
        let idle = stream.used_ms.saturating_add(FORGET_AFTER_MS) < self.now.unix_ms;
        let forgettable = stream.is_bare() && (idle || stream.is_empty());
        !forgettable || self.followers.contains_key(channel)
    }
}

/// Frees memory after a peak.
pub(crate) fn shrink<Value>(map: &mut HashMap<ChannelName, Value>) {
    if map.capacity() > 4 * map.len().max(SLICE) {
        map.shrink_to(2 * map.len());
    }
}
