//! Feeds: followed at the broker as long as they have a subscription on this worker.

use std::sync::Arc;

use crate::{
    broker::{BrokerRequest, RequestId, StreamState},
    error::{ErrorCode, Refusal},
    rules::ChannelRules,
    slab::Slot,
    subscription::Target,
};

use super::{
    Engine, Item,
    shrinking::shrink,
    state::{Again, Feed, Pending},
};

impl Engine {
    pub(super) fn open_feed(
        &mut self,
        target: Target,
        rules: Arc<ChannelRules>,
    ) -> Result<Slot, Refusal> {
        if self.requests.len() >= self.limits.requests {
            let detail = "the server has too many requests in flight; try again";
            return Err(Refusal::new(ErrorCode::Busy, detail));
        }
        if self.feeds.len() >= self.limits.channels {
            let limit = self.limits.channels;
            let detail =
                format!("this worker has {limit} channels with subscribers, which is the limit");
            return Err(Refusal::new(ErrorCode::TooManyChannels, detail));
        }
        let slot = self
            .feeds
            .insert(Feed::new(target.clone(), rules, self.book));
        match &target {
            Target::Channel(channel) => drop(self.names.insert(channel.clone(), slot)),
            Target::Filter(filter) => drop(self.filters.insert(filter, slot)),
        }
        self.follow(slot, target);
        Ok(slot)
    }

    fn follow(&mut self, feed: Slot, target: Target) {
        if let Some(f) = self.feeds.get_mut(feed) {
            f.following = true;
        }
        let id = self.request(Pending::Follow { feed });
        self.broker_requests.push_back(match target {
            Target::Channel(channel) => BrokerRequest::Follow { id, channel },
            Target::Filter(filter) => BrokerRequest::FollowFilter { id, filter },
        });
    }

    /// Queries the heads of all streams, and the members where joins and leaves are wanted, because
    /// the broker dropped some.
    pub(super) fn lagged(&mut self) {
        let open = |(slot, f): (Slot, &Feed)| f.tail.is_some().then_some(slot);
        let all: Vec<_> = self.feeds.iter().filter_map(open).collect();
        for feed in all {
            if let Some(f) = self.feeds.get_mut(feed) {
                f.lagged = true;
            }
            // If a head was already requested, its answer is newer than the lag.
            if self.feeds.get(feed).is_some_and(|f| !f.following) {
                self.follow_again(feed);
            }
            self.tell_watchers_the_members(feed);
        }
        self.groups_ask_again();
    }

    pub(super) fn follow_again(&mut self, feed: Slot) {
        if let Some(target) = self.feeds.get(feed).map(|f| f.target.clone()) {
            self.follow(feed, target);
        }
    }

    pub(super) fn followed(&mut self, id: RequestId, stream: StreamState) {
        let Some(Pending::Follow { feed }) = self.requests.take(id) else {
            return;
        };
        let Some(f) = self.feeds.get_mut(feed) else {
            return;
        };
        f.following = false;
        if f.tail.is_some() {
            self.items.push_back(Item::Head { feed, stream });
            return;
        }
        f.tail = Some(stream.head);
        for subscription in std::mem::take(&mut f.catching_up().opening) {
            self.items.push_back(Item::Begin { subscription });
        }
    }

    /// The stream is not available: every waiting subscription is told.
    pub(super) fn follow_failed(&mut self, feed: Slot, refusal: &Refusal) {
        let Some(f) = self.feeds.get_mut(feed) else {
            return;
        };
        f.following = false;
        if f.tail.is_some() {
            // It was requested because something was dropped, which must still be determined.
            self.try_again(Again::Follow { feed });
            return;
        }
        for slot in std::mem::take(&mut f.catching_up().opening) {
            self.end_unasked(slot, refusal.clone());
        }
    }

    pub(super) fn close_feed(&mut self, feed: Slot) {
        let Some(f) = self.feeds.remove(feed) else {
            return;
        };
        self.broker_requests.push_back(match f.target {
            Target::Channel(channel) => {
                self.names.remove(&channel);
                shrink(&mut self.names);
                BrokerRequest::Unfollow { channel }
            }
            Target::Filter(filter) => {
                self.filters.remove(&filter);
                BrokerRequest::UnfollowFilter { filter }
            }
        });
    }
}
