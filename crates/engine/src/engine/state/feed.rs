//! The state of a feed: a channel or a filter with a subscription on this worker.

use std::{collections::HashSet, sync::Arc, time::Instant};

use crate::{
    broker::RequestId,
    delivery::ConnectionId,
    position::Position,
    publication::Publication,
    rules::ChannelRules,
    slab::{Slab, Slot},
    subscription::{Class, Recipients, Target},
};

use super::{super::recent::Recent, State, Subscription};

#[derive(Debug)]
pub(in crate::engine) struct Feed {
    pub(in crate::engine) target: Target,
    pub(in crate::engine) rules: Arc<ChannelRules>,
    /// The position up to which this worker handed out the stream; none until the broker answered
    /// the first `Follow`. For a filter the offset is the broker's sequence.
    pub(in crate::engine) tail: Option<Position>,
    /// Subscriptions that get publications at once.
    pub(in crate::engine) live: Audiences,
    /// Subscriptions that want joins and leaves and have room for them; none if there are no such
    /// subscriptions.
    pub(in crate::engine) watchers: Option<Box<Audiences>>,
    pub(in crate::engine) subscribers: u32,
    /// The broker dropped something, and has not reported the head since.
    pub(in crate::engine) lagged: bool,
    /// How often the stream continued elsewhere than expected, wrapping.
    pub(in crate::engine) jumps: u32,
    /// Its head was requested.
    pub(in crate::engine) following: bool,
    /// When receipts may be searched again.
    pub(in crate::engine) receipts_from: Option<Instant>,
    /// Only present while a subscription is not live.
    pub(in crate::engine) catching_up: Option<Box<CatchingUp>>,
}

#[derive(Debug, Default)]
pub(in crate::engine) struct CatchingUp {
    /// Subscriptions in `State::Behind`.
    pub(in crate::engine) behind: HashSet<Slot>,
    /// Subscriptions made before there was a tail; some may be gone.
    pub(in crate::engine) opening: Vec<Slot>,
    /// Subscriptions that wait for this worker to receive more; some may be gone.
    pub(in crate::engine) ahead: Vec<Slot>,
    pub(in crate::engine) reads: Vec<Read>,
    /// Subscriptions that wait for the channel's state, which is being read.
    pub(in crate::engine) awaits_state: Vec<Slot>,
    pub(in crate::engine) recent: Recent,
}

/// A history read in flight, and every subscription that waits for it.
#[derive(Debug)]
pub(in crate::engine) struct Read {
    pub(in crate::engine) id: RequestId,
    pub(in crate::engine) after: Position,
    pub(in crate::engine) waiters: Vec<Slot>,
}

impl Feed {
    pub(in crate::engine) fn new(target: Target, rules: Arc<ChannelRules>) -> Self {
        Self {
            target,
            rules,
            tail: None,
            live: Audiences::default(),
            watchers: None,
            subscribers: 0,
            lagged: false,
            jumps: 0,
            following: false,
            receipts_from: None,
            catching_up: None,
        }
    }

    pub(in crate::engine) fn catching_up(&mut self) -> &mut CatchingUp {
        self.catching_up.get_or_insert_default()
    }

    /// Frees memory if every subscription is live.
    pub(in crate::engine) fn settle(&mut self) {
        let Some(c) = &mut self.catching_up else {
            return;
        };
        if c.behind.is_empty() {
            c.recent.clear();
            let quiet = c.opening.is_empty() && c.ahead.is_empty() && c.awaits_state.is_empty();
            if quiet && c.reads.is_empty() {
                self.catching_up = None;
            }
        }
    }

    /// A subscription is in `State::Behind` from now on.
    pub(in crate::engine) fn fell_behind(&mut self, slot: Slot) {
        self.catching_up().behind.insert(slot);
    }

    /// A subscription is in `State::Behind` no longer. [`settle`](Self::settle) then frees memory.
    pub(in crate::engine) fn not_behind(&mut self, slot: Slot) {
        if let Some(c) = &mut self.catching_up {
            c.behind.remove(&slot);
        }
    }

    pub(in crate::engine) fn is_any_behind(&self) -> bool {
        let c = self.catching_up.as_ref();
        c.is_some_and(|c| !c.behind.is_empty())
    }

    /// A subscription waits for this worker to receive more.
    pub(in crate::engine) fn awaits_more(&mut self, slot: Slot) {
        let c = self.catching_up();
        c.ahead.push(slot);
        // One that stopped waiting for another reason is still listed, and may be listed again.
        if c.ahead.len() > 2 * c.behind.len() + 16 {
            let mut listed = HashSet::new();
            let behind = &c.behind;
            c.ahead
                .retain(|slot| behind.contains(slot) && listed.insert(*slot));
        }
    }

    /// Takes the subscriptions that wait for this worker to receive more.
    pub(in crate::engine) fn take_ahead(&mut self) -> Vec<Slot> {
        let waiting = self.catching_up.as_mut().map(|c| &mut c.ahead);
        waiting.map_or_else(Vec::new, std::mem::take)
    }

    pub(in crate::engine) fn is_filter(&self) -> bool {
        matches!(self.target, Target::Filter(_))
    }

    /// The place of a publication in what this feed follows: for a filter, the broker's order.
    pub(in crate::engine) fn place_of(&self, publication: &Publication) -> Position {
        match (&self.target, self.tail) {
            (Target::Filter(_), Some(tail)) => Position {
                epoch: tail.epoch,
                offset: publication.sequence,
            },
            (Target::Channel(_), _) | (_, None) => publication.position,
        }
    }
}

/// Subscriptions grouped by what must be encoded for them.
#[derive(Debug, Default)]
pub(in crate::engine) struct Audiences(Vec<Audience>);

/// Subscriptions that share one encoding of a publication.
#[derive(Debug)]
pub(in crate::engine) struct Audience {
    pub(in crate::engine) kind: Kind,
    connections: Vec<ConnectionId>,
    /// The subscriptions' indices in the table of all; as many as connections.
    places: Vec<u32>,
    /// The subscriptions' ids: as many as connections, or none.
    ids: Vec<u32>,
}

/// What distinguishes one audience from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Kind {
    pub(in crate::engine) class: Class,
    /// Whether each has an id that its message must carry.
    pub(in crate::engine) numbered: bool,
    /// Whether they receive their own publications.
    pub(in crate::engine) echo: bool,
}

impl Audience {
    pub(in crate::engine) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(in crate::engine) fn connections(&self) -> &[ConnectionId] {
        &self.connections
    }

    /// The subscriptions' indices in the table of all.
    pub(in crate::engine) fn places(&self) -> &[u32] {
        &self.places
    }

    pub(in crate::engine) fn recipients(&self, from: usize, until: usize) -> Recipients<'_> {
        Recipients {
            connections: self.connections.get(from..until).unwrap_or_default(),
            ids: self.ids.get(from..until).unwrap_or_default(),
        }
    }

    fn push(&mut self, connection: ConnectionId, place: u32, id: Option<u32>) -> u32 {
        if self.connections.is_empty() {
            // Most channels have one subscriber: no extra capacity until there are more.
            self.connections.reserve_exact(1);
            self.places.reserve_exact(1);
        }
        self.connections.push(connection);
        self.places.push(place);
        self.ids.extend(id.filter(|_| self.kind.numbered));
        u32::try_from(self.connections.len() - 1).expect("there are fewer than 2^32 subscriptions")
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.connections.swap(a, b);
        self.places.swap(a, b);
        if !self.ids.is_empty() {
            self.ids.swap(a, b);
        }
    }

    fn pop(&mut self) {
        self.connections.pop();
        self.places.pop();
        self.ids.pop();
        if self.connections.is_empty() {
            (self.connections, self.places, self.ids) = (Vec::new(), Vec::new(), Vec::new());
        }
    }
}

impl Audiences {
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = &Audience> {
        self.0.iter()
    }

    pub(in crate::engine) fn get(&self, audience: usize) -> Option<&Audience> {
        self.0.get(audience)
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.0
            .iter()
            .all(|audience| audience.connections.is_empty())
    }

    /// Whether everybody in the audiences behind this one has gone.
    pub(in crate::engine) fn is_last(&self, audience: usize) -> bool {
        let behind = self.0.iter().skip(audience + 1);
        behind.into_iter().all(|audience| audience.len() == 0)
    }

    pub(in crate::engine) fn find(&self, kind: Kind) -> Option<usize> {
        self.0.iter().position(|audience| audience.kind == kind)
    }

    /// Adds a subscription at the end of its audience, and returns its place there.
    pub(in crate::engine) fn add(&mut self, kind: Kind, slot: Slot, s: &Subscription) -> u32 {
        let at = self.find(kind).unwrap_or_else(|| {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.push(Audience {
                kind,
                connections: Vec::new(),
                places: Vec::new(),
                ids: Vec::new(),
            });
            self.0.len() - 1
        });
        self.0[at].push(s.connection, slot.index, s.id().map(|id| id.0))
    }

    /// Removes the subscription at a place; the last one of its audience takes the place. `told`:
    /// this many at the start of the audience have already received a message that the others are
    /// still to receive, and stay separate from them. Reports the new places of those that moved.
    pub(in crate::engine) fn remove(
        &mut self,
        audience: usize,
        place: u32,
        told: Option<&mut usize>,
        mut moved: impl FnMut(u32, u32),
    ) {
        let Some(audience) = self.0.get_mut(audience) else {
            debug_assert!(
                false,
                "a subscription is in an audience that does not exist"
            );
            return;
        };
        let mut hole = place as usize;
        if let Some(told) = told
            && hole < *told
        {
            *told -= 1;
            audience.swap(hole, *told);
            moved(audience.places[hole], place);
            hole = *told;
        }
        let last = audience.len() - 1;
        audience.swap(hole, last);
        audience.pop();
        if let Some(&there) = audience.places.get(hole) {
            moved(there, hole as u32);
        }
    }

    /// Removes all subscriptions.
    pub(in crate::engine) fn take(&mut self) -> Vec<Audience> {
        std::mem::take(&mut self.0)
    }
}

/// Updates the place that a live subscription records when it is moved within its audience.
pub(in crate::engine) fn live_place(all: &mut Slab<Subscription>, index: u32, place: u32) {
    if let Some(s) = all.at_mut(index) {
        debug_assert!(
            matches!(s.state, State::Live { .. }),
            "only live ones are in audiences"
        );
        s.state = State::Live { place };
    }
}
