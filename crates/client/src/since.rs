//! Where a subscription or a history begins.

use offhook_dialects::native::client::{self as wire, Position};

/// Where a subscription or a history begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// With what comes from now on.
    #[default]
    Now,
    /// With the oldest publication that is kept.
    Start,
    /// With the newest so many that are kept.
    Last(u32),
    /// With the one after this position. What of that is no longer kept is told as a gap.
    After(Position),
}

impl From<Position> for Since {
    fn from(position: Position) -> Self {
        Self::After(position)
    }
}

impl From<Since> for wire::Since {
    fn from(since: Since) -> Self {
        match since {
            Since::Now => Self::Now,
            Since::Start => Self::Start,
            Since::Last(count) => Self::Last(count),
            Since::After(position) => Self::Position(position),
        }
    }
}
