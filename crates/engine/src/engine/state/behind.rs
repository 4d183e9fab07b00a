//! A subscription that has not received everything yet: where it is, and what it waits for.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    broker::{ChannelGap, ReadStart, Resolution},
    channel_name::ChannelName,
    delivery::GapReason,
    position::Position,
    publication::Publication,
};

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
