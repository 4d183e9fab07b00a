//! Where a subscription or a history read starts.

use offhook_dialects::native::client::{self as wire, Position};

/// Where a subscription or a history read starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Since {
    /// At new publications.
    #[default]
    Now,
    /// At the oldest retained publication.
    Start,
    /// At this many of the newest retained publications.
    Last(u32),
    /// With the channel's state: the newest publication of each value of the tag `key`, then what
    /// follows. For channels that keep state, and not for histories.
    State,
    /// With the publication after this position. A gap reports those that are no longer retained.
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
            Since::State => Self::State,
            Since::After(position) => Self::Position(position),
        }
    }
}
