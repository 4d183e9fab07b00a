//! The state of a connection.

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    delivery::ConnectionId,
    progress::Progress,
    rate::TokenBucket,
    session::{Identity, SessionId},
    slab::{Slab, Slot},
    subscription::{Class, Face, SubscriptionId},
};

use super::{Subscription, durable::Durable, ordered::Ordered};

/// One connection and the session on it.
#[derive(Debug)]
pub(in crate::engine) struct Connection {
    pub(in crate::engine) session: SessionId,
    pub(in crate::engine) identity: Arc<Identity>,
    /// The number of the session's connections up to this one: the highest counts.
    pub(in crate::engine) generation: u64,
    pub(in crate::engine) subscriptions: Subscriptions,
    /// How many bytes may be handed out individually before the next `handle_writable`.
    pub(in crate::engine) credit: usize,
    pub(in crate::engine) commands: TokenBucket,
    pub(in crate::engine) publishes: TokenBucket,
    /// How many more refusals for exceeding the rate it may get before it is closed. Refilled at the
    /// rate of commands.
    pub(in crate::engine) refusals: TokenBucket,
    pub(in crate::engine) mark: u32,
    /// Unanswered requests to the broker; at most `Limits::requests_per_connection`.
    pub(in crate::engine) in_flight: u16,
    pub(in crate::engine) class: Class,
    /// A mark was sent and not returned.
    pub(in crate::engine) awaits_receipt: bool,
    /// The outbox exceeds its limit.
    pub(in crate::engine) full: bool,
    /// A `Close` was queued: nothing more is sent or handled.
    pub(in crate::engine) closing: bool,
    /// The connection has ended, but not all of its subscriptions.
    pub(in crate::engine) gone: bool,
    /// What few connections have, and most only for a while.
    pub(in crate::engine) extra: Option<Box<Extra>>,
}

/// State that few connections have, and most only briefly.
#[derive(Debug, Default)]
pub(in crate::engine) struct Extra {
    /// Subscriptions that wait for room in the outbox; some may be gone.
    pub(in crate::engine) parked: Vec<Slot>,
    /// Subscriptions that receive joins and leaves again once there is room; some may be gone.
    pub(in crate::engine) unwatched: Vec<Slot>,
    /// Subscriptions with a pending list of members. They receive it one by one, as the outbox has
    /// room; some may have ended since.
    pub(in crate::engine) owed: VecDeque<Slot>,
    /// One of the lists was requested.
    pub(in crate::engine) members_asked: bool,
    /// The number of subscriptions to restore before the client is told that all are restored.
    pub(in crate::engine) restoring: u32,
    /// Publishes that keep their order while one of them waits.
    pub(in crate::engine) ordered: Ordered,
    /// What the dialect has the engine keep with the session.
    pub(in crate::engine) note: Bytes,
    /// Set if the session is kept after its connection ends.
    pub(in crate::engine) durable: Option<Durable>,
    /// How far its subscriptions had come when the engine closed it.
    pub(in crate::engine) last: Vec<Progress>,
    /// What the session is in channels where that is not its identity.
    pub(in crate::engine) faces: HashMap<Slot, Box<Face>>,
    /// Subscriptions that are members of a group.
    pub(in crate::engine) shares: BTreeSet<Slot>,
}

impl Connection {
    pub(in crate::engine) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Frees memory if nothing is stored in it.
    pub(in crate::engine) fn settle(&mut self) {
        self.extra.take_if(|extra| {
            extra.parked.is_empty()
                && extra.unwatched.is_empty()
                && extra.ordered.is_empty()
                && extra.durable.is_none()
                && extra.note.is_empty()
                && extra.owed.is_empty()
                && extra.last.is_empty()
                && extra.faces.is_empty()
                && extra.shares.is_empty()
                && !extra.members_asked
                && extra.restoring == 0
        });
    }
}

/// A session's subscriptions. Finding one takes the same time with ten thousand as with ten. A
/// single subscription, which is what most sessions have, needs no memory here.
#[derive(Debug, Default)]
pub(in crate::engine) enum Subscriptions {
    #[default]
    None,
    One(Slot),
    Several(Box<Several>),
}

#[derive(Debug)]
pub(in crate::engine) struct Several {
    list: Vec<Slot>,
    /// Present as soon as searching the list takes longer than a map lookup.
    index: Option<Index>,
}

/// Lists up to this length are searched linearly.
const LOOKED_THROUGH: usize = 8;

#[derive(Debug, Default)]
struct Index {
    by_id: HashMap<SubscriptionId, Slot>,
    /// By the feed's index, which is not used again while a subscription refers to it.
    by_feed: HashMap<u32, OnFeed>,
}

/// A session's subscriptions to one target.
#[derive(Debug)]
struct OnFeed {
    /// The index of the subscription without an id; `NONE` if all have one.
    unnumbered: u32,
    count: u32,
    /// How many of them make the session a member.
    joined: u32,
}

/// Stands for a missing subscription.
const NONE: u32 = u32::MAX;

/// The subscription to find.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Wanted {
    Id(SubscriptionId),
    /// The subscription without an id.
    Feed(Slot),
}

impl Subscriptions {
    pub(in crate::engine) fn as_slice(&self) -> &[Slot] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => &several.list,
        }
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn index(&self) -> Option<&Index> {
        match self {
            Self::None | Self::One(_) => None,
            Self::Several(several) => several.index.as_ref(),
        }
    }

    /// Adds a subscription, which records its place.
    pub(in crate::engine) fn add(&mut self, new: Slot, all: &mut Slab<Subscription>) {
        if let Some(s) = all.get_mut(new) {
            s.place = u32::try_from(self.len()).expect("`Limits::subscriptions` is below 2^32");
        }
        match self {
            Self::None => *self = Self::One(new),
            Self::One(first) => {
                let (list, index) = (vec![*first, new], None);
                *self = Self::Several(Box::new(Several { list, index }));
            }
            Self::Several(several) => {
                several.list.push(new);
                match &mut several.index {
                    Some(index) => index.add(new, all),
                    None if several.list.len() > LOOKED_THROUGH => {
                        let index = several.index.get_or_insert_default();
                        for slot in &several.list {
                            index.add(*slot, all);
                        }
                    }
                    None => {}
                }
            }
        }
    }

    /// Removes a subscription that is still in the table; the last one takes its place.
    pub(in crate::engine) fn remove(&mut self, old: Slot, all: &mut Slab<Subscription>) {
        match self {
            Self::None => {}
            Self::One(one) => {
                if *one == old {
                    *self = Self::None;
                }
            }
            Self::Several(several) => {
                let Some(place) = all.get(old).map(|s| s.place) else {
                    return;
                };
                if let Some(index) = &mut several.index {
                    index.remove(old, all);
                }
                several.list.swap_remove(place as usize);
                if let Some(moved) = several.list.get(place as usize)
                    && let Some(s) = all.get_mut(*moved)
                {
                    s.place = place;
                }
                match several.list[..] {
                    [] => *self = Self::None,
                    [one] => *self = Self::One(one),
                    [..] => {}
                }
            }
        }
    }

    pub(in crate::engine) fn find(&self, wanted: Wanted, all: &Slab<Subscription>) -> Option<Slot> {
        if let Some(index) = self.index() {
            return match wanted {
                Wanted::Id(id) => index.by_id.get(&id).copied(),
                Wanted::Feed(feed) => {
                    let on = index.by_feed.get(&feed.index)?;
                    all.at(on.unnumbered).map(|(slot, _)| slot)
                }
            };
        }
        let fits = |slot: &&Slot| {
            all.get(**slot).is_some_and(|s| match wanted {
                Wanted::Id(id) => s.id() == Some(id),
                Wanted::Feed(feed) => s.feed == feed && s.id().is_none(),
            })
        };
        self.as_slice().iter().find(fits).copied()
    }

    /// How many subscriptions to a target make the session a member.
    pub(in crate::engine) fn joined(&self, feed: Slot, all: &Slab<Subscription>) -> usize {
        if let Some(index) = self.index() {
            return index
                .by_feed
                .get(&feed.index)
                .map_or(0, |on| on.joined as usize);
        }
        let joined = |slot: &&Slot| all.get(**slot).is_some_and(|s| s.feed == feed && s.joined);
        self.as_slice().iter().filter(joined).count()
    }

    /// Records that a subscription makes its session a member, or no longer does.
    pub(in crate::engine) fn set_joined(
        &mut self,
        slot: Slot,
        joined: bool,
        all: &mut Slab<Subscription>,
    ) {
        let Some(s) = all.get_mut(slot) else { return };
        if std::mem::replace(&mut s.joined, joined) == joined {
            return;
        }
        let Self::Several(several) = self else { return };
        let on = several
            .index
            .as_mut()
            .and_then(|index| index.by_feed.get_mut(&s.feed.index));
        if let Some(on) = on {
            on.joined = on.joined + u32::from(joined) - u32::from(!joined);
        }
    }
}

impl Index {
    fn add(&mut self, new: Slot, all: &Slab<Subscription>) {
        let Some(s) = all.get(new) else { return };
        let on = self.by_feed.entry(s.feed.index).or_insert(OnFeed {
            unnumbered: NONE,
            count: 0,
            joined: 0,
        });
        on.count += 1;
        on.joined += u32::from(s.joined);
        match s.id() {
            Some(id) => drop(self.by_id.insert(id, new)),
            None => on.unnumbered = new.index,
        }
    }

    fn remove(&mut self, old: Slot, all: &Slab<Subscription>) {
        let Some(s) = all.get(old) else { return };
        if let Some(id) = s.id() {
            self.by_id.remove(&id);
        }
        let Entry::Occupied(mut on) = self.by_feed.entry(s.feed.index) else {
            return;
        };
        if s.id().is_none() {
            on.get_mut().unnumbered = NONE;
        }
        on.get_mut().count -= 1;
        on.get_mut().joined -= u32::from(s.joined);
        if on.get().count == 0 {
            on.remove();
        }
    }
}

impl From<ConnectionId> for Slot {
    fn from(connection: ConnectionId) -> Self {
        Self {
            index: connection.index,
            generation: connection.generation,
        }
    }
}

impl From<Slot> for ConnectionId {
    fn from(slot: Slot) -> Self {
        Self {
            index: slot.index,
            generation: slot.generation,
        }
    }
}

#[cfg(test)]
mod tests;
