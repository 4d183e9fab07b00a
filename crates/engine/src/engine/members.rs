//! Membership in groups that share publications: joining, acknowledging, leaving.

use std::time::Duration;

use crate::{
    broker::{ShareName, ShareRequest},
    delivery::ConnectionId,
    error::{ErrorCode, Refusal},
    position::Position,
    slab::Slot,
    subscription::{Flow, Subscribe, SubscriptionKey, SubscriptionName, Target},
};

use super::{
    Engine,
    commands::{gone, named},
    state::{Behind, Group, Pending, Shared, State, Subscription, Waits},
};

impl Engine {
    /// Whether a subscription may be a member of a group.
    pub(super) fn check_share(wish: &Subscribe) -> Result<(), Refusal> {
        let refused = |detail| Err(Refusal::new(ErrorCode::BadRequest, detail));
        match wish {
            Subscribe { share: None, .. } => Ok(()),
            Subscribe {
                flow: Flow::Pushed, ..
            } => refused("a shared subscription must be acknowledged; give it a window"),
            Subscribe { id: None, .. } => refused("a shared subscription needs a number"),
            Subscribe { echo: false, .. } => {
                refused("a shared subscription cannot exclude the session's own publications")
            }
            Subscribe { .. } => Ok(()),
        }
    }

    /// Whether a session may share a target. Every member of a group must be allowed to read all of
    /// the group's publications: a member that received a publication it may not read would
    /// withhold it from the others.
    pub(super) fn may_share(
        &self,
        connection: ConnectionId,
        target: &Target,
        vouched: bool,
    ) -> Result<(), Refusal> {
        let Target::Filter(filter) = target else {
            return Ok(());
        };
        let c = self.connections.get(connection.into()).ok_or_else(gone)?;
        let withheld = self.rules.withheld(filter, |access, pattern| {
            let both = (filter, pattern);
            c.identity.may_read_all(access, both, vouched)
        });
        let Some(pattern) = withheld else {
            return Ok(());
        };
        let who = named(&c.identity);
        let detail = format!(
            "{who} may not share {filter}: it may match channels of {pattern} that they may not \
             read; share a filter that matches only channels that all members may read"
        );
        Err(Refusal::new(ErrorCode::Forbidden, detail))
    }

    /// Makes a subscription a member of its group. A new group begins after this position.
    pub(super) fn join_group(&mut self, slot: Slot, after: Position, lenient: bool) {
        let Some(s) = self.subscriptions.get_mut(slot) else {
            return;
        };
        let (connection, feed) = (s.connection, s.feed);
        let Some(share) = s.shared.as_ref().map(|shared| shared.share.clone()) else {
            return;
        };
        let mut behind = Behind::given(after, lenient);
        behind.waits = Waits::Share;
        self.fall_behind(slot, behind);
        let Some(target) = self.feeds.known(feed).map(|f| f.target.clone()) else {
            return;
        };
        let known = (feed, share.group.clone());
        let group = match self.group_names.get(&known) {
            Some(group) => *group,
            None => {
                let group = share.group.clone();
                let name = ShareName { target, group };
                let new = self.groups.insert(Group::new(name, feed, after));
                self.group_names.insert(known, new);
                new
            }
        };
        let keep = share.keep.max(self.kept_for(connection));
        let id = self.request(Pending::Share { group });
        if let Some(shared) = self
            .subscriptions
            .get_mut(slot)
            .and_then(Subscription::shared)
        {
            shared.group = Some(group);
        }
        let Some(g) = self.groups.get_mut(group) else {
            return;
        };
        g.members.push_back(slot);
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.extra().shares.insert(slot);
        }
        if g.members.len() == 1 {
            g.asked = Some(id);
        }
        let request = ShareRequest::Join { id, after, keep };
        self.ask_share(group, request);
        // The reader may be waiting for a member with room.
        self.group_goes_on(group);
    }

    /// How long a connection's session is kept after the connection ends.
    fn kept_for(&self, connection: ConnectionId) -> Duration {
        let c = self.connections.get(connection.into());
        let durable = c.and_then(|c| c.extra.as_ref()?.durable);
        durable.map_or(Duration::ZERO, |durable| durable.expiry)
    }

    /// Handles a publication of a shared subscription that the client has processed or returned.
    pub(super) fn share_done(
        &mut self,
        slot: Slot,
        (position, cumulative): (Position, bool),
        processed: bool,
    ) -> Result<(), Refusal> {
        let name = self.name_of(slot).ok_or_else(gone)?;
        let shared = self
            .subscriptions
            .get_mut(slot)
            .and_then(Subscription::shared);
        let shared = shared.ok_or_else(|| {
            let detail = format!("{name} is not shared, so publications cannot be returned");
            Refusal::new(ErrorCode::BadRequest, detail)
        })?;
        let group = shared.group;
        let places = shared.finish(position, cumulative).ok_or_else(|| {
            let detail =
                format!("position {position} of {name} was not delivered on this connection");
            Refusal::new(ErrorCode::BadRequest, detail)
        })?;
        let Some(group) = group else {
            return Ok(());
        };
        if !places.is_empty() {
            self.ask_share(
                group,
                match processed {
                    true => ShareRequest::Done { places },
                    false => ShareRequest::Return {
                        places,
                        delivered: true,
                    },
                },
            );
        }
        self.group_goes_on(group);
        Ok(())
    }

    /// Returns a publication of a shared subscription.
    pub(super) fn give_back(
        &mut self,
        connection: ConnectionId,
        key: &SubscriptionKey,
        position: Position,
    ) -> Result<SubscriptionName, Refusal> {
        let slot = self.subscription_of(connection, key)?;
        self.share_done(slot, (position, false), false)?;
        self.name_of(slot).ok_or_else(gone)
    }

    /// The position of a subscription's group.
    pub(super) fn place_of_group(&self, shared: &Shared) -> Option<Position> {
        let reader = self.groups.get(shared.group?)?.reader()?;
        match &self.subscriptions.get(reader)?.state {
            State::Behind(behind) => Some(behind.gap.map_or(behind.cursor, |gap| gap.from)),
            State::Opening(_) | State::Live { .. } | State::Ended => None,
        }
    }

    /// Called when a connection ends. The groups of its subscriptions are kept for as long as its
    /// session.
    pub(super) fn keep_groups(&mut self, connection: ConnectionId) {
        let kept = self.kept_for(connection);
        for slot in self.shares_of(connection) {
            let s = self.subscriptions.get_mut(slot);
            if let Some(shared) = s.and_then(Subscription::shared) {
                shared.share.keep = shared.share.keep.max(kept);
            }
        }
    }

    /// The subscriptions of a connection that are members of a group.
    pub(super) fn shares_of(&self, connection: ConnectionId) -> Vec<Slot> {
        let c = self.connections.get(connection.into());
        let shares = c.and_then(|c| c.extra.as_ref()).map(|extra| &extra.shares);
        shares.into_iter().flatten().copied().collect()
    }

    /// Removes a subscription from its group. Publications that it has not acknowledged go to other
    /// members.
    pub(super) fn leave_group(&mut self, slot: Slot) {
        let Some(s) = self.subscriptions.get_mut(slot) else {
            return;
        };
        let connection = s.connection;
        let Some(mut shared) = s.shared.take() else {
            return;
        };
        let Some(group) = shared.group else {
            return;
        };
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.extra().shares.remove(&slot);
            c.settle();
        }
        let places = shared.take_all();
        if !places.is_empty() {
            let delivered = true;
            self.ask_share(group, ShareRequest::Return { places, delivered });
        }
        let Some(g) = self.groups.get_mut(group) else {
            return;
        };
        let was_reader = g.reader() == Some(slot);
        g.members.retain(|member| *member != slot);
        let keep = g.kept_after(self.now, shared.share.keep);
        let Some(next) = g.reader() else {
            self.ask_share(group, ShareRequest::Leave { keep });
            if let Some(g) = self.groups.remove(group) {
                self.group_names.remove(&(g.feed, g.name.group));
            }
            return;
        };
        if was_reader {
            let is_asking = g.asked.is_some();
            self.hand_over(slot, next);
            if let Some(behind) = self.behind(next) {
                behind.waits = if is_asking {
                    Waits::Share
                } else {
                    Waits::Nothing
                };
            }
            self.reader_is_free(group);
        }
        self.go_on(group);
    }

    /// Ends the members of a group that the broker refuses to serve.
    pub(super) fn share_failed(&mut self, group: Slot, refusal: &Refusal) {
        let Some(g) = self.groups.get(group) else {
            return;
        };
        for member in g.members.clone() {
            self.end_unasked(member, refusal.clone());
        }
    }
}
