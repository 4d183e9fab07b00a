//! Answers of the server.

use offhook_dialects::native::client::Position;

use crate::data::Data;
use crate::error::Error;
use crate::event::{GapReason, Members, Publication};

/// The server's answer to a user's request.
#[derive(Debug)]
pub(crate) enum Answer {
    Published(Published),
    History(History),
    Members(Members),
    Acked(Option<Position>),
    Receipts(Receipts),
    State(State),
    Called(Data),
    InfoUpdated,
}

impl Answer {
    /// The error for an answer of another type than the request's.
    pub(crate) fn to_something_else() -> Error {
        Error::Server("the answer does not match the request".into())
    }
}

/// A publication was stored as durably as the server guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Its position in the channel's stream.
    pub position: Position,
    /// Whether its key was published before, perhaps by this client, whose answer was lost with the
    /// connection.
    pub duplicate: bool,
}

/// A page of a channel's history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Oldest first. The server may return fewer than requested: continue reading until the last
    /// one is at `head`.
    pub publications: Vec<Publication>,
    /// The position of the newest publication at the time of the read.
    pub head: Position,
    /// Why publications between the requested position and the nearest of these are missing, if any
    /// are.
    pub gap: Option<GapReason>,
    /// Whether older publications are retained; only for a history that was read
    /// [backward](crate::ReadHistory::before).
    pub more: bool,
}

/// A channel's state, or a page of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// The newest publication of each value of the tag `key`, in the order of their positions.
    pub values: Vec<Publication>,
    /// The position of the newest publication when it was read.
    pub head: Position,
    /// Whether there are more: read on [after](crate::ReadState::after) the position of the last.
    pub more: bool,
}

/// How many subscribers have received a publication, as far as the server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipts {
    /// How many subscribers have received it and everything before it.
    pub received: u64,
    /// The number of subscribers, excluding those that are catching up.
    pub subscribers: u64,
    /// Some of the sessions that have received it, if the channel keeps presence.
    pub sessions: Vec<Box<str>>,
}
