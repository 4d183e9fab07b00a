//! The state of a feed: a channel or a filter with a subscription on this worker.

use std::{collections::HashSet, sync::Arc, time::Instant};

use crate::{
    broker::RequestId, position::Position, publication::Publication, rules::ChannelRules,
    slab::Slot, subscription::Target,
};

use super::{super::recent::Recent, audience::Audiences};

#[derive(Debug)]
pub(in crate::engine) struct Feed {
    pub(in crate::engine) target: Target,
    pub(in crate::engine) rules: Arc<ChannelRules>,
    /// Of which rule book they are: `Engine::book`.
    pub(in crate::engine) book: u32,
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
    /// When receipts may be searched again. Boxed, since hardly anybody asks for them.
    pub(in crate::engine) receipts_from: Option<Box<Instant>>,
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
    pub(in crate::engine) fn new(target: Target, rules: Arc<ChannelRules>, book: u32) -> Self {
        Self {
            target,
            rules,
            book,
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

#[cfg(test)]
mod tests;
