//! The state of a subscription, and its progress.

use crate::{delivery::ConnectionId, position::Position, slab::Slot, subscription::SubscriptionId};

use super::{behind::Behind, group::Shared, pending::Opening, window::Window};

/// It is in `Extra::owed`.
const OWED: u8 = 1;
/// An outside party has allowed it, whatever the rules of its channels require.
const VOUCHED: u8 = 2;

/// Stands for a missing id or place.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(in crate::engine) struct Subscription {
    pub(in crate::engine) connection: ConnectionId,
    pub(in crate::engine) feed: Slot,
    pub(in crate::engine) state: State,
    /// The dialect's id; `NONE` without one.
    id: u32,
    /// Its index in its connection's list.
    pub(in crate::engine) place: u32,
    /// Its place among the feed's watchers; `NONE` if it is not one.
    watching: u32,
    /// Whether joins and leaves are wanted.
    pub(in crate::engine) presence: bool,
    /// Whether it makes the session a member, as reported to the broker.
    pub(in crate::engine) joined: bool,
    /// The session's own publications are wanted, too.
    pub(in crate::engine) echo: bool,
    /// Two facts in one byte, so that an entry of the table has 88 bytes: see `OWED` and `VOUCHED`.
    facts: u8,
    /// Publications up to this offset precede the subscription: nobody awaits their receipt.
    pub(in crate::engine) began_after: u64,
    /// Only present once receipts were queried, or after a gap.
    marks: Option<Box<Marks>>,
    /// Only present if its flow is acknowledged and it is not shared.
    pub(in crate::engine) window: Option<Box<Window>>,
    /// Only present if it shares publications with a group.
    pub(in crate::engine) shared: Option<Box<Shared>>,
}

/// What pongs prove.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Marks {
    /// Receipts are known for publications after this offset: earlier ones were not handed out, or
    /// precede a gap.
    pub(in crate::engine) after: u64,
    /// Offset up to which the client's own pongs prove receipt; `received <= marked`.
    pub(in crate::engine) received: u64,
    /// Offset handed out when the last mark was made; `marked <=` the handed-out offset.
    pub(in crate::engine) marked: u64,
}

impl Subscription {
    pub(in crate::engine) fn new(
        connection: ConnectionId,
        feed: Slot,
        id: Option<SubscriptionId>,
        opening: Opening,
    ) -> Self {
        Self {
            connection,
            feed,
            state: State::Opening(Box::new(opening)),
            id: id.map_or(NONE, |id| id.0),
            place: 0,
            watching: NONE,
            presence: false,
            joined: false,
            echo: true,
            facts: 0,
            began_after: 0,
            marks: None,
            window: None,
            shared: None,
        }
    }

    pub(in crate::engine) fn id(&self) -> Option<SubscriptionId> {
        (self.id != NONE).then_some(SubscriptionId(self.id))
    }

    /// Whether an outside party has allowed it, whatever the rules of its channels require.
    pub(in crate::engine) fn is_vouched(&self) -> bool {
        self.facts & VOUCHED != 0
    }

    pub(in crate::engine) fn set_vouched(&mut self) {
        self.facts |= VOUCHED;
    }

    /// Records whether it is in `Extra::owed`. Returns whether it was.
    pub(in crate::engine) fn set_owed(&mut self, owed: bool) -> bool {
        let before = self.facts & OWED != 0;
        match owed {
            true => self.facts |= OWED,
            false => self.facts &= !OWED,
        }
        before
    }

    /// Whether a dialect may use this number.
    pub(in crate::engine) fn is_number(id: SubscriptionId) -> bool {
        id.0 != NONE
    }

    pub(in crate::engine) fn watching(&self) -> Option<u32> {
        (self.watching != NONE).then_some(self.watching)
    }

    pub(in crate::engine) fn set_watching(&mut self, place: Option<u32>) {
        self.watching = place.unwrap_or(NONE);
    }

    pub(in crate::engine) fn behind(&mut self) -> Option<&mut Behind> {
        match &mut self.state {
            State::Behind(behind) => Some(behind),
            State::Opening(_) | State::Live { .. } | State::Ended => None,
        }
    }

    pub(in crate::engine) fn shared(&mut self) -> Option<&mut Shared> {
        self.shared.as_deref_mut()
    }

    /// Whether it is handed only as much as its client acknowledges.
    pub(in crate::engine) fn is_paced(&self) -> bool {
        self.window.is_some() || self.shared.is_some()
    }

    /// Publications up to here count as not proven received, whatever pongs return later.
    pub(in crate::engine) fn forget_receipts(&mut self, up_to: Position) {
        // A stream that diverged goes on at smaller offsets.
        self.began_after = self.began_after.min(up_to.offset);
        self.marks = None;
        if up_to.offset > self.began_after {
            self.marks_mut().after = up_to.offset;
        }
    }

    /// What pongs prove.
    pub(in crate::engine) fn marks(&self) -> Marks {
        let none = Marks {
            after: self.began_after,
            received: 0,
            marked: 0,
        };
        self.marks.as_deref().copied().unwrap_or(none)
    }

    pub(in crate::engine) fn marks_mut(&mut self) -> &mut Marks {
        let none = self.marks();
        self.marks.get_or_insert_with(|| Box::new(none))
    }

    /// The stream begins after this position.
    pub(in crate::engine) fn begin_after(&mut self, position: Position) {
        self.began_after = position.offset;
        self.marks = None;
    }
}

/// ```text
///            Followed               everything handed out
/// Opening ──────────────▶ Behind ──────────────────────────▶ Live
///    │       Since::Now      ▲                                │
///    └───────────────────────┼───────────────────────────────▶│
///                            └────────────────────────────────┘
///                               outbox full, hole, new epoch
/// ```
/// From each of them it becomes `Ended` when its connection goes with many others.
///
/// A subscription with acknowledged flow never becomes `Live`: with everything handed out it waits,
/// still `Behind`, for the next publication or acknowledgement.
#[derive(Debug)]
pub(in crate::engine) enum State {
    /// The feed's stream is not known yet, or a permission is pending.
    Opening(Box<Opening>),
    /// Everything up to the feed's tail was handed out; `place` is its place in its audience.
    Live { place: u32 },
    /// Reads on from `cursor` at its own pace.
    Behind(Box<Behind>),
    /// Its connection has gone, and nothing is delivered to it; feed and broker are not updated
    /// yet.
    Ended,
}

#[cfg(test)]
mod tests;
