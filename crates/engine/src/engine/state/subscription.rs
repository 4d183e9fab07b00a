//! The state of a subscription, and its progress.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    broker::{ChannelGap, ReadStart, Resolution},
    channel_name::ChannelName,
    delivery::{ConnectionId, GapReason},
    position::Position,
    publication::Publication,
    slab::Slot,
    subscription::SubscriptionId,
};

use super::{group::Shared, pending::Opening, window::Window};

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

#[derive(Debug)]
pub(in crate::engine) struct Behind {
    /// The last position handed out.
    pub(in crate::engine) cursor: Position,
    /// A page of publications after the cursor.
    pub(in crate::engine) page: Option<Arc<[Arc<Publication>]>>,
    /// How far the page reaches, if it is one of a filter.
    pub(in crate::engine) covered: Covered,
    /// A gap that is announced once it is known where delivery continues.
    pub(in crate::engine) gap: Option<Missing>,
    pub(in crate::engine) why: Why,
    pub(in crate::engine) waits: Waits,
    /// A read has shown that nothing follows the cursor yet.
    pub(in crate::engine) at_head: bool,
    /// How many of the feed's jumps were handled.
    pub(in crate::engine) jumps: u32,
    /// The newest gaps of a filter's channels that were reported to the client. A page that is read
    /// again contains them again.
    told: VecDeque<Told>,
}

/// A gap of one of a filter's channels that was reported to the client.
#[derive(Debug)]
struct Told {
    channel: ChannelName,
    from: Position,
    to: Position,
}

/// The maximum number of gaps that are remembered as reported. 64: as many channels as a slow
/// client of a filter usually has; beyond that, a gap may be reported twice.
const TOLD: usize = 64;

/// What a page of a filter's publications covers. Channels without history are not in pages: what a
/// subscription missed in them is announced by the pages that pass it, so that nothing newer may be
/// handed out before the last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Covered {
    /// It was the last page, or there was none.
    Everything,
    /// It is the last page, and everything up to here is in it or announced as missing.
    UpTo(Position),
    /// More follow.
    Partly,
}

/// A gap that starts here.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Missing {
    pub(in crate::engine) from: Position,
    pub(in crate::engine) reason: GapReason,
    pub(in crate::engine) agreed: Option<Position>,
}

/// Why a subscription is behind, which determines what is known and announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Why {
    /// It started from a position that no read has confirmed yet.
    Given {
        /// Whether a lack of older publications is not a gap: "the last 50" of 20 are 20.
        lenient: bool,
    },
    /// It started from a position that is part of the stream.
    Confirmed,
    /// It fell behind while live.
    Slow {
        /// Whether the client was told.
        told: bool,
        /// Whether the stream is known to continue from the cursor. If not, it may have continued
        /// elsewhere, which a read must resolve.
        confirmed: bool,
    },
    /// It reads the channel's state, and continues after it.
    ReadsState {
        /// Whether it fell behind while live and the client has not been told.
        slow: bool,
    },
    /// It receives the channel's state, which is its page, and then continues after it.
    GivesState {
        /// The state is of everything up to here.
        head: Position,
        /// The number of values handed out.
        given: usize,
        /// The stream went on elsewhere meanwhile.
        jumped: bool,
    },
    /// Its flow is acknowledged, and it was up to date once: the client need not be told again.
    Paced,
}

/// What a subscription that is behind waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Waits {
    /// To be examined for a possible step.
    Nothing,
    /// Its `Advance` is queued.
    Turn,
    /// A read in flight, or its turn to read.
    Read,
    /// Room in the outbox. It is listed in `Extra::parked`.
    Room,
    /// This worker to receive more. It is listed in `CatchingUp::ahead`.
    Stream,
    /// An acknowledgement; for the reader of a group, room of any member.
    Done,
    /// Its turn in its group, or the broker's answer to a claim.
    Share,
}

impl Behind {
    pub(in crate::engine) fn given(cursor: Position, lenient: bool) -> Self {
        Self::at(cursor, Why::Given { lenient })
    }

    pub(in crate::engine) fn slow(cursor: Position) -> Self {
        let (told, confirmed) = (false, true);
        Self::at(cursor, Why::Slow { told, confirmed })
    }

    /// The stream continued elsewhere, which a read must resolve.
    pub(in crate::engine) fn jumped(cursor: Position) -> Self {
        let (told, confirmed) = (false, false);
        Self::at(cursor, Why::Slow { told, confirmed })
    }

    pub(in crate::engine) fn at(cursor: Position, why: Why) -> Self {
        Self {
            cursor,
            page: None,
            covered: Covered::Everything,
            gap: None,
            why,
            waits: Waits::Nothing,
            at_head: false,
            jumps: 0,
            told: VecDeque::new(),
        }
    }

    /// Continues after `to`; the first reason is kept until the gap is reported, unless it says less.
    pub(in crate::engine) fn skip(&mut self, reason: GapReason, to: Position) {
        let from = self.cursor;
        let gap = self.gap.get_or_insert(Missing {
            from,
            reason,
            agreed: None,
        });
        // Only what a restart loses is less than what may be missing already.
        if gap.reason == GapReason::Permissions && reason != GapReason::Restarted {
            gap.reason = reason;
        }
        self.move_to(to);
    }

    /// Its client may read more channels of its filter than before: what it was not allowed to read is
    /// announced as missing before anything else is handed out.
    pub(in crate::engine) fn regain(&mut self) {
        let (from, reason) = (self.cursor, GapReason::Permissions);
        let gap = self.gap.get_or_insert(Missing {
            from,
            reason,
            agreed: None,
        });
        // That would promise that channels with history continue.
        if gap.reason == GapReason::Restarted {
            gap.reason = reason;
        }
    }

    /// Continues at the start of a read, with a gap if something before it is missing.
    pub(in crate::engine) fn start_at(&mut self, start: ReadStart, trimmed: GapReason) {
        let lenient = self.why == Why::Given { lenient: true };
        let missing = start.after != start.agreed && !lenient;
        match start.resolution.gap() {
            Some(reason) => {
                self.skip(reason, start.after);
                if let Some(gap) = &mut self.gap
                    && start.resolution == Resolution::Diverged
                {
                    gap.agreed = Some(start.agreed);
                }
            }
            None if missing => self.skip(trimmed, start.after),
            // The same position, as the stream now names it.
            None => self.move_to(start.after),
        }
    }

    /// The position from which a gap of one of a filter's channels has to be reported; none if all
    /// of it was reported already.
    pub(in crate::engine) fn untold(&mut self, gap: &ChannelGap) -> Option<Position> {
        let mut known = self.told.iter_mut();
        let Some(told) = known.find(|told| told.channel == gap.channel) else {
            if self.told.len() >= TOLD {
                self.told.pop_front();
            }
            self.told.push_back(Told {
                channel: gap.channel.clone(),
                from: gap.from,
                to: gap.to,
            });
            return Some(gap.from);
        };
        let goes_on = told.to.epoch == gap.to.epoch
            && told.from.offset <= gap.from.offset
            && gap.from.offset <= told.to.offset;
        if !goes_on {
            (told.from, told.to) = (gap.from, gap.to);
            return Some(gap.from);
        }
        if gap.to.offset <= told.to.offset {
            return None;
        }
        Some(std::mem::replace(&mut told.to, gap.to))
    }

    /// Forgets the page: what is left of it is read again.
    pub(in crate::engine) fn drop_page(&mut self) {
        if self.page.take().is_some_and(|page| !page.is_empty()) {
            self.covered = Covered::Partly;
        }
    }

    pub(in crate::engine) fn move_to(&mut self, to: Position) {
        self.cursor = to;
        self.at_head = false;
        self.page = None;
    }

    /// It waits for a page that begins after this position.
    pub(in crate::engine) fn reads_after(&self, position: Position) -> bool {
        self.waits == Waits::Read && self.cursor == position
    }

    /// The publication after the cursor, if the page contains it. `place_of` returns a
    /// publication's place in the feed.
    pub(in crate::engine) fn next_in_page(
        &self,
        place_of: impl Fn(&Publication) -> Position,
    ) -> Option<Arc<Publication>> {
        let page = self.page.as_ref()?;
        let passed = |p: &Arc<Publication>| place_of(p).offset <= self.cursor.offset;
        page.get(page.partition_point(passed)).cloned()
    }

    /// It waits for the channel's state, or is being given it.
    pub(in crate::engine) fn is_given_state(&self) -> bool {
        matches!(self.why, Why::ReadsState { .. } | Why::GivesState { .. })
    }

    /// Marks the client as told that it is behind. Returns whether it has to be told now.
    pub(in crate::engine) fn is_told(&mut self) -> bool {
        match &mut self.why {
            Why::Slow { told, .. } => !std::mem::replace(told, true),
            Why::ReadsState { slow } => std::mem::replace(slow, false),
            Why::Given { .. } | Why::Confirmed | Why::GivesState { .. } | Why::Paced => false,
        }
    }

    /// Whether the client was told that it is behind, and must be told when it no longer is.
    pub(in crate::engine) fn knows(&self) -> bool {
        match self.why {
            Why::Given { .. } | Why::Confirmed => true,
            // Nobody asks before it has the state.
            Why::ReadsState { .. } | Why::GivesState { .. } => true,
            Why::Slow { told, .. } => told,
            Why::Paced => false,
        }
    }

    pub(in crate::engine) fn is_confirmed(&self) -> bool {
        match self.why {
            Why::Given { .. } => false,
            Why::Slow { confirmed, .. } => confirmed,
            Why::Confirmed | Why::Paced | Why::ReadsState { .. } | Why::GivesState { .. } => true,
        }
    }

    /// The stream continued elsewhere, this many times in total: the cursor may no longer be part
    /// of it.
    pub(in crate::engine) fn doubt(&mut self, jumps: u32) {
        if self.jumps == jumps {
            return;
        }
        (self.jumps, self.at_head) = (jumps, false);
        match &mut self.why {
            Why::Given { .. } | Why::ReadsState { .. } => {}
            Why::Confirmed => self.why = Why::Given { lenient: false },
            Why::Slow { confirmed, .. } => *confirmed = false,
            Why::GivesState { jumped, .. } => *jumped = true,
            Why::Paced => self.why = Self::jumped(self.cursor).why,
        }
    }

    /// A read has shown that the cursor is part of the stream.
    pub(in crate::engine) fn confirm(&mut self) {
        match &mut self.why {
            Why::Given { .. } => self.why = Why::Confirmed,
            Why::Slow { confirmed, .. } => *confirmed = true,
            Why::Confirmed | Why::Paced | Why::ReadsState { .. } | Why::GivesState { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
