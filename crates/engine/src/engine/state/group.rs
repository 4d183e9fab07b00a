//! A group of subscriptions on this worker that share publications, and a member's part in it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    broker::{RequestId, ShareName},
    position::Position,
    slab::Slot,
    subscription::Share,
};

/// The members of a group on this worker.
///
/// The members share one cursor, which belongs to the first member: the reader. After the reader
/// has been handed a publication, or if it has no room, the cursor passes to the next member that
/// has room.
#[derive(Debug)]
pub(in crate::engine) struct Group {
    pub(in crate::engine) name: ShareName,
    pub(in crate::engine) feed: Slot,
    /// Members in the order of their turns. The first one is the reader.
    pub(in crate::engine) members: VecDeque<Slot>,
    /// The request that the reader waits for.
    pub(in crate::engine) asked: Option<RequestId>,
    /// How far this worker has claimed. Of the publications before this position, this worker may
    /// deliver those in `claimed`; the others belong to other workers.
    pub(in crate::engine) claimed_to: Position,
    /// Claimed publications that have not been handed out, with the number of the delivery.
    pub(in crate::engine) claimed: BTreeMap<u64, (Position, u16)>,
    /// Set if a publication after this position was returned and the cursor has not been moved back
    /// yet.
    pub(in crate::engine) back_to: Option<Position>,
    /// Set if the broker is to be asked whether anything was returned, and the reader was reading.
    pub(in crate::engine) asks_again: bool,
    /// Until when the group is kept for members that have left.
    kept_until: Option<Instant>,
}

impl Group {
    pub(in crate::engine) fn new(name: ShareName, feed: Slot, after: Position) -> Self {
        Self {
            name,
            feed,
            members: VecDeque::new(),
            asked: None,
            claimed_to: after,
            claimed: BTreeMap::new(),
            back_to: None,
            asks_again: false,
            kept_until: None,
        }
    }

    /// A member leaves, for which the group is kept this long. Returns how long it is kept for all that
    /// have left.
    pub(in crate::engine) fn kept_after(&mut self, now: Instant, keep: Duration) -> Duration {
        self.kept_until = self.kept_until.max(now.checked_add(keep));
        let until = self.kept_until.unwrap_or(now);
        until.saturating_duration_since(now).max(keep)
    }

    /// The member that has the cursor.
    pub(in crate::engine) fn reader(&self) -> Option<Slot> {
        self.members.front().copied()
    }

    /// Whether it is known which worker may deliver the publication at this position.
    pub(in crate::engine) fn knows(&self, place: Position) -> bool {
        place.offset <= self.claimed_to.offset || self.claimed.contains_key(&place.offset)
    }

    /// Takes the claimed publications before a position that the reader has passed: they can no
    /// longer be read.
    pub(in crate::engine) fn take_passed(&mut self, place: Position) -> Vec<Position> {
        let mut passed = Vec::new();
        while let Some(first) = self.claimed.first_entry()
            && *first.key() < place.offset
        {
            passed.push(first.remove().0);
        }
        passed
    }

    /// Takes all publications that were claimed and not handed out.
    pub(in crate::engine) fn take_claimed(&mut self) -> Vec<Position> {
        let claimed = std::mem::take(&mut self.claimed).into_values();
        claimed.map(|(place, _)| place).collect()
    }

    /// Notes that a publication after this position can be claimed again.
    pub(in crate::engine) fn goes_back_to(&mut self, place: Position) {
        let earlier = self.back_to.filter(|to| to.offset <= place.offset);
        self.back_to = Some(earlier.unwrap_or(place));
    }

    /// Handles a stream whose publications after this position have been replaced.
    pub(in crate::engine) fn diverged(&mut self, to: Position) {
        self.claimed.retain(|offset, _| *offset <= to.offset);
        self.claimed_to = to;
    }
}

/// A member's part in its group.
#[derive(Debug)]
pub(in crate::engine) struct Shared {
    pub(in crate::engine) share: Share,
    /// The maximum number of unacknowledged publications.
    pub(in crate::engine) size: u16,
    /// The group; `None` until the subscription has begun.
    pub(in crate::engine) group: Option<Slot>,
    /// Publications handed out and not acknowledged, in the order in which they were handed out.
    out: VecDeque<Position>,
    /// The largest offset handed out so far.
    newest: u64,
}

impl Shared {
    pub(in crate::engine) fn new(share: Share, size: u16) -> Self {
        Self {
            share,
            size: size.max(1),
            group: None,
            out: VecDeque::new(),
            newest: 0,
        }
    }

    /// How many more may be handed out now.
    pub(in crate::engine) fn room(&self) -> usize {
        usize::from(self.size).saturating_sub(self.out.len())
    }

    pub(in crate::engine) fn hand_out(&mut self, place: Position) {
        self.newest = self.newest.max(place.offset);
        self.out.push_back(place);
    }

    /// Takes a publication that the client has finished with, or all publications handed out up to
    /// it. Returns `None` if it was never handed out.
    pub(in crate::engine) fn finish(
        &mut self,
        place: Position,
        cumulative: bool,
    ) -> Option<Vec<Position>> {
        let Some(at) = self.out.iter().position(|out| *out == place) else {
            // Acknowledging twice is not an error.
            return (place.offset <= self.newest).then(Vec::new);
        };
        if cumulative {
            return Some(self.out.drain(..=at).collect());
        }
        self.out.remove(at).map(|place| vec![place])
    }

    /// Takes all publications that are not acknowledged.
    pub(in crate::engine) fn take_all(&mut self) -> Vec<Position> {
        std::mem::take(&mut self.out).into()
    }
}

#[cfg(test)]
mod tests;
