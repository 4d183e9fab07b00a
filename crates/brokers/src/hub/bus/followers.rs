//! The followers of each channel. Reports when a channel gets its first follower and loses its
//! last.

use std::{collections::hash_map::Entry, ops::Bound, slice, sync::Arc};

use offhook_engine::ChannelName;

use super::{Bus, SLICE};
use crate::{
    broker::WorkerId,
    changes::{Changes, ChannelChange},
};

/// The workers that follow a channel; at least one. Most channels have one, which needs no memory of
/// its own.
#[derive(Debug)]
pub(super) enum Followers {
    One(WorkerId),
    Several(Box<[WorkerId]>),
}

impl Followers {
    fn as_slice(&self) -> &[WorkerId] {
        match self {
            Self::One(one) => slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    fn add(&mut self, worker: WorkerId) {
        if self.as_slice().contains(&worker) {
            return;
        }
        match self {
            Self::One(one) => *self = Self::Several([*one, worker].into()),
            Self::Several(several) => *several = [several, &[worker][..]].concat().into(),
        }
    }

    /// Removes a worker if it is one of them. Returns whether any are left; if not, the entry must
    /// be removed.
    pub(super) fn remove(&mut self, worker: WorkerId) -> bool {
        match self {
            Self::One(one) => *one != worker,
            Self::Several(several) => {
                let others = several.iter().filter(|follower| **follower != worker);
                *several = others.copied().collect();
                !several.is_empty()
            }
        }
    }
}

impl Bus {
    pub(crate) fn followers(&self, channel: &ChannelName) -> &[WorkerId] {
        self.followers.get(channel).map_or(&[], Followers::as_slice)
    }

    pub(crate) fn follow(&mut self, worker: WorkerId, channel: ChannelName) {
        match self.followers.entry(channel) {
            Entry::Occupied(mut followers) => followers.get_mut().add(worker),
            Entry::Vacant(first) => {
                let channel = first.key().clone();
                first.insert(Followers::One(worker));
                self.followed.insert(channel.clone());
                self.tell_observers(|| ChannelChange::Occupied(channel));
            }
        }
    }

    pub(crate) fn observe(&mut self, changes: Arc<Changes>) {
        self.observers.push(changes);
    }

    pub(crate) fn tell_observers(&self, change: impl FnOnce() -> ChannelChange) {
        let Some((last, others)) = self.observers.split_last() else {
            return;
        };
        let change = change();
        for observer in others {
            observer.put(change.clone());
        }
        last.put(change);
    }

    pub(super) fn vacated(&mut self, channel: ChannelName) {
        self.followed.remove(&channel);
        self.tell_observers(|| ChannelChange::Vacated(channel));
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
        if !followers.remove(worker)
            && let Some((channel, _)) = self.followers.remove_entry(channel)
        {
            self.vacated(channel);
        }
    }

    /// Looks at some channels after a name, and removes a worker that is detached from their followers.
    /// Returns the last name that was looked at; none at the end.
    pub(crate) fn unfollow_some(
        &mut self,
        worker: WorkerId,
        after: Option<&ChannelName>,
    ) -> Option<ChannelName> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self
            .followed
            .range::<ChannelName, _>((from, Bound::Unbounded));
        let names: Vec<_> = names.take(SLICE).cloned().collect();
        for channel in &names {
            self.unfollow(worker, channel);
        }
        names.into_iter().next_back()
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
