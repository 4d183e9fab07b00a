//! Requests to the broker that were not answered yet.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    broker::RequestId,
    slab::{Slab, Slot},
};

use super::state::Pending;

#[derive(Debug)]
pub(super) struct Requests {
    pending: Slab<Pending>,
    /// All time out after the same duration, so they expire in the order in which they were made.
    /// Answered ones are removed from the front.
    due: VecDeque<(Instant, RequestId)>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            pending: Slab::new(),
            due: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn add(&mut self, pending: Pending, now: Instant, within: Duration) -> RequestId {
        let id = self.pending.insert(pending).into();
        self.due.push_back((now + within, id));
        id
    }

    pub(super) fn take(&mut self, id: RequestId) -> Option<Pending> {
        let pending = self.pending.remove(id.into())?;
        while self
            .due
            .front()
            .is_some_and(|(_, id)| self.pending.get((*id).into()).is_none())
        {
            self.due.pop_front();
        }
        Some(pending)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    /// Takes a request that has timed out.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<(RequestId, Pending)> {
        let (at, id) = *self.due.front()?;
        if at > now {
            return None;
        }
        self.take(id).map(|pending| (id, pending))
    }
}

impl From<Slot> for RequestId {
    fn from(slot: Slot) -> Self {
        Self(u64::from(slot.generation) << 32 | u64::from(slot.index))
    }
}

impl From<RequestId> for Slot {
    fn from(id: RequestId) -> Self {
        Self {
            index: id.0 as u32,
            generation: (id.0 >> 32) as u32,
        }
    }
}
