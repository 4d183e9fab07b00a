//! The followers of each channel. Reports when a channel gets its first follower and loses its
//! last.

use std::{ops::Bound, sync::Arc};

use offhook_engine::ChannelName;

use super::Bus;
use crate::{
    broker::WorkerId,
    changes::{Changes, ChannelChange},
};

impl Bus {
    pub(crate) fn followers(&self, channel: &ChannelName) -> &[WorkerId] {
        self.followers.get(channel).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn follow(&mut self, worker: WorkerId, channel: ChannelName) {
        let followers = self.followers.entry(channel.clone()).or_default();
        let is_first = followers.is_empty();
        if !followers.contains(&worker) {
            followers.push(worker);
        }
        if is_first {
            self.followed.insert(channel.clone());
            self.tell_observer(ChannelChange::Occupied(channel));
        }
    }

    pub(crate) fn observe(&mut self, changes: Arc<Changes>) {
        self.observer = Some(changes);
    }

    pub(crate) fn tell_observer(&self, change: ChannelChange) {
        if let Some(observer) = &self.observer {
            observer.put(change);
        }
    }

    pub(super) fn vacated(&mut self, channel: ChannelName) {
        self.followed.remove(&channel);
        self.tell_observer(ChannelChange::Vacated(channel));
    }

    /// Names that are followed and start with a prefix, after a name, in order.
    pub(crate) fn followed(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<ChannelName> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let names = self.followed.range::<str, _>((from, Bound::Unbounded));
        let names = names.take_while(|name| name.as_str().starts_with(prefix));
        names.take(limit).cloned().collect()
    }

    pub(crate) fn unfollow(&mut self, worker: WorkerId, channel: &ChannelName) {
        let Some(followers) = self.followers.get_mut(channel) else {
            return;
        };
        followers.retain(|follower| *follower != worker);
        if followers.is_empty() {
            self.followers.remove(channel);
            self.vacated(channel.clone());
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
}
