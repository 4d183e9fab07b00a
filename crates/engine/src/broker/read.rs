//! Where a history read begins, how that was resolved, and how much it may bring.

use crate::{delivery::GapReason, position::Position};

/// Where a history read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// With the oldest publication that is still there.
    Start,
    /// With the publication after this position, or the oldest that is still there.
    After(Position),
    /// With the newest so many.
    Last(u64),
    /// With the newest before this position: as many as the limit allows, oldest first. The answer's
    /// [`ReadStart::agreed`] is the place of the newest that there may be, and [`ReadStart::after`] the
    /// place before the oldest that was read. Where the newest that was read is not at `agreed`,
    /// those between are damaged. A position that is no place in the stream begins where both
    /// streams agree, or at the head.
    Before(Position),
}

/// Whether a position that a read began with is a place in the stream as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// It is.
    #[default]
    Continuous,
    /// Its epoch ended before this offset: what came after [`ReadStart::agreed`] under such
    /// positions is not part of the stream.
    Diverged,
    /// Its epoch is unknown, so nothing is known to be shared.
    UnknownEpoch,
    /// It is ahead of the newest publication, in the newest epoch.
    AheadOfHead,
}

impl Resolution {
    /// The gap that a subscriber who came with such a position has to be told of.
    #[must_use]
    pub fn gap(self) -> Option<GapReason> {
        match self {
            Self::Continuous => None,
            Self::Diverged => Some(GapReason::Diverged),
            Self::UnknownEpoch => Some(GapReason::EpochChanged),
            Self::AheadOfHead => Some(GapReason::UnknownPosition),
        }
    }
}

/// How a read resolved the position that it began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadStart {
    /// Whether the position is a place in the stream.
    pub resolution: Resolution,
    /// The newest place that the position's stream and this one share, as this one calls it.
    pub agreed: Position,
    /// The place before the first publication that was read; later than `agreed` when those
    /// between are retained no longer.
    pub after: Position,
}

impl ReadStart {
    /// A read that begins just here.
    #[must_use]
    pub fn at(position: Position) -> Self {
        Self {
            resolution: Resolution::Continuous,
            agreed: position,
            after: position,
        }
    }
}

/// How much a history read may bring; at least one publication comes if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Publications.
    pub count: u32,
    /// Bytes by [`Publication::weight`](crate::Publication::weight).
    pub bytes: usize,
}
