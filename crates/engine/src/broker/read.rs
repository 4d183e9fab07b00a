//! Where a history read starts, how that was resolved, and how much it may return.

use crate::{delivery::GapReason, position::Position};

/// Where a history read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// With the oldest publication that is still there.
    Start,
    /// With the publication after this position, or the oldest that is still there.
    After(Position),
    /// The newest publications, up to this number.
    Last(u64),
    /// The newest publications before this position: as many as the limit allows, oldest first. The
    /// answer's [`ReadStart::agreed`] is the position of the newest publication that can exist
    /// there, and [`ReadStart::after`] the position before the oldest one that was read. If the
    /// newest one that was read is not at `agreed`, those in between are damaged. If the position
    /// is not valid in the stream, the read starts where both streams agree, or at the head.
    Before(Position),
}

/// Whether the start position of a read is valid in the present stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// It is.
    #[default]
    Continuous,
    /// Its epoch ended before this offset: publications after [`ReadStart::agreed`] in that epoch
    /// are not part of the stream.
    Diverged,
    /// Its epoch is unknown, so nothing is known to be shared.
    UnknownEpoch,
    /// It is ahead of the newest publication, in the newest epoch.
    AheadOfHead,
    /// Only in the order of a filter: the position is valid, but its epoch has ended. Publications
    /// after it in channels that are not on disk are lost, if there were any. The read continues
    /// from the same place in the newest epoch.
    Restarted,
}

impl Resolution {
    /// The gap to report to a subscriber that continues from such a position.
    #[must_use]
    pub fn gap(self) -> Option<GapReason> {
        match self {
            Self::Continuous => None,
            Self::Diverged => Some(GapReason::Diverged),
            Self::UnknownEpoch => Some(GapReason::EpochChanged),
            Self::AheadOfHead => Some(GapReason::UnknownPosition),
            Self::Restarted => Some(GapReason::Restarted),
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

/// How much a history read may return; at least one publication is returned if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Publications.
    pub count: u32,
    /// Bytes by [`Publication::weight`](crate::Publication::weight).
    pub bytes: usize,
}
