//! A publication of a followed channel: broadcast to whoever is live, kept for whoever is not.

use std::sync::Arc;

use crate::{
    broker::StreamState, delivery::ConnectionId, position::Position, publication::Publication,
    rules::SlowPolicy, slab::Slot,
};

use super::{Engine, Item, Stage, Step, state::Behind};

impl Engine {
    pub(super) fn fan_out(&mut self, publication: Arc<Publication>) -> Option<Step> {
        let channel = *self.names.get(&publication.channel)?;
        // A channel that is not open yet will know this publication from `Followed`.
        let tail = self.channels.get(channel)?.tail?;
        let position = publication.position;
        if position.epoch == tail.epoch && position.offset <= tail.offset {
            return None;
        }
        if publication.previous != tail {
            self.stream_jumped(channel, tail);
        }
        let (count, bytes) = (self.limits.recent_count, self.limits.recent_bytes);
        let c = self.channels.get_mut(channel)?;
        c.tail = Some(position);
        if c.behind > 0 {
            let conflate = !c.rules.history.is_kept() && c.rules.slow == SlowPolicy::LatestByKey;
            let recent = &mut c.catching_up().recent;
            if conflate {
                recent.conflate(&publication);
            }
            recent.push(Arc::clone(&publication), count, bytes);
        }
        let somebody = !c.live.is_empty();
        self.wake_ahead(channel);
        somebody.then_some(Step::Broadcast {
            channel,
            publication,
        })
    }

    /// The head as the broker tells it after a lag: whoever was live may have missed something.
    pub(super) fn head_told(&mut self, channel: Slot, stream: StreamState) {
        let Some(tail) = self.channels.get(channel).and_then(|c| c.tail) else {
            return;
        };
        let told = stream.head;
        if told == tail {
            self.wake_ahead(channel);
            return;
        }
        self.stream_jumped(channel, tail);
        let Some(c) = self.channels.get_mut(channel) else {
            return;
        };
        c.tail = Some(told);
        self.wake_ahead(channel);
    }

    /// Those who had more than this worker had heard of look again.
    fn wake_ahead(&mut self, channel: Slot) {
        let Some(c) = self.channels.get_mut(channel) else {
            return;
        };
        for connection in c.take_ahead() {
            let l = self.connections.get_mut(connection.into());
            let subscription = l.and_then(|l| l.subscription(channel));
            if let Some(Stage::Behind(behind)) = subscription.map(|s| &mut s.stage) {
                (behind.ahead, behind.at_head) = (false, false);
            }
            self.queue_advance(connection, channel);
        }
    }

    /// The stream goes on elsewhere: everyone who was live reads what is between.
    fn stream_jumped(&mut self, channel: Slot, was: Position) {
        let Some(c) = self.channels.get_mut(channel) else {
            return;
        };
        if let Some(catching_up) = &mut c.catching_up {
            catching_up.recent.clear();
        }
        for connection in std::mem::take(&mut c.live) {
            // Where the stream goes on may be elsewhere: a read tells.
            let behind = Behind {
                verified: false,
                ..Behind::slow(was)
            };
            self.fall_behind(connection, channel, behind);
            self.queue_advance(connection, channel);
        }
    }

    pub(super) fn go_live(&mut self, connection: ConnectionId, channel: Slot) {
        let Some(c) = self.channels.get_mut(channel) else {
            return;
        };
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let Some(s) = l.subscription(channel) else {
            return;
        };
        if matches!(s.stage, Stage::Behind(_)) {
            c.behind -= 1;
        }
        let slot = u32::try_from(c.live.len()).expect("there are fewer than 2^32 connections");
        s.stage = Stage::Live { slot };
        c.live.push(connection);
        c.settle();
    }

    /// Takes a connection out of the live list; says whether it was there. Its stage is stale then.
    pub(super) fn leave_live(&mut self, connection: ConnectionId, channel: Slot) -> bool {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return false;
        };
        let Some(&Stage::Live { slot }) = l.subscription(channel).map(|s| &s.stage) else {
            return false;
        };
        let Some(c) = self.channels.get_mut(channel) else {
            return false;
        };
        if c.live.get(slot as usize) != Some(&connection) {
            return false;
        }
        c.live.swap_remove(slot as usize);
        if let Some(&moved) = c.live.get(slot as usize)
            && let Some(m) = self.connections.get_mut(moved.into())
            && let Some(s) = m.subscription(channel)
        {
            s.stage = Stage::Live { slot };
        }
        true
    }

    /// From live or opening to behind.
    pub(super) fn fall_behind(&mut self, connection: ConnectionId, channel: Slot, behind: Behind) {
        let Some(c) = self.channels.get_mut(channel) else {
            return;
        };
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let Some(s) = l.subscription(channel) else {
            return;
        };
        s.stage = Stage::Behind(Box::new(behind));
        c.behind += 1;
    }

    /// Lets a subscription that is behind look whether it has a step to go.
    pub(super) fn queue_advance(&mut self, connection: ConnectionId, channel: Slot) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let Some(s) = l.subscription(channel) else {
            return;
        };
        if let Stage::Behind(behind) = &mut s.stage
            && !behind.queued
            && !behind.reading
        {
            behind.queued = true;
            self.items.push_back(Item::Advance {
                connection,
                channel,
            });
        }
    }

    /// Up to where a subscription was handed out.
    pub(super) fn handed_out(tail: Option<Position>, stage: &Stage) -> Option<Position> {
        match stage {
            Stage::Opening(_) => None,
            Stage::Live { .. } => tail,
            Stage::Behind(behind) => Some(behind.cursor),
        }
    }
}
