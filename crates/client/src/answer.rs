//! What the server answers.

use offhook_dialects::native::client::Position;

use crate::error::Error;
use crate::event::{GapReason, Members, Publication};

/// The server's answer to what a user wished for.
#[derive(Debug)]
pub(crate) enum Answer {
    Published(Published),
    History(History),
    Members(Members),
    Acked(Option<Position>),
    Receipts(Receipts),
}

impl Answer {
    /// What is wrong with a server that answers something else than was asked.
    pub(crate) fn to_something_else() -> Error {
        Error::Server("it answered something else than was asked".into())
    }
}

/// A publication was made, and is as safe as the server promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Where it stands in the channel's stream.
    pub position: Position,
    /// An earlier attempt with the same key had made it already, perhaps one of this client's
    /// own whose answer was lost with the connection.
    pub duplicate: bool,
}

/// What a channel keeps, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Oldest first. The server may bring fewer than were asked for: there is more to read as
    /// long as the last one is not at `head`.
    pub publications: Vec<Publication>,
    /// The newest publication as of the read.
    pub head: Position,
    /// Why publications between where it should begin and the first are no longer kept.
    pub gap: Option<GapReason>,
}

/// Who has received a publication, as far as the server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipts {
    /// How many of the subscribers have it, and everything before it.
    pub received: u64,
    /// How many subscribers there are that are not catching up.
    pub subscribers: u64,
    /// The sessions of some of those that have it, where the channel keeps presence.
    pub sessions: Vec<Box<str>>,
}
