//! Rooms of Socket.IO: a part of the rules of channels.

use super::group::group;
use super::kind::{Choice, EventPattern, Many, Switch};

/// The events of Socket.IO that join and leave these channels, or are published in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rooms {
    /// Events that join a room.
    pub join: Vec<String>,
    /// Events that leave a room.
    pub leave: Vec<String>,
    /// Events that everyone in the room receives.
    pub events: Vec<String>,
    /// Events that everyone in the room but the sender receives.
    pub broadcasts: Vec<String>,
    /// How an event says for which room it is.
    pub named_by: RoomNamedBy,
    /// Whether every client is in the room.
    pub everyone: bool,
}

/// How an event says for which room it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomNamedBy {
    /// It is for the only room of the rule that the client has joined.
    #[default]
    Joined,
    /// Its first argument is the name.
    Argument,
    /// Its first argument has a field `room`.
    Field,
}

impl Rooms {
    /// Whether nothing is configured.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

const NAMED_BY: &[(&str, RoomNamedBy)] = &[
    ("joined", RoomNamedBy::Joined),
    ("argument", RoomNamedBy::Argument),
    ("field", RoomNamedBy::Field),
];

group! {
    /// Events with which clients of Socket.IO join and leave these channels as rooms, and which are
    /// published there. In the names of events, `*` matches any sequence of characters. The first rule
    /// that lists an event applies. Changes apply to
    /// clients that connect afterwards.
    for Rooms {
        /// Events that join the room that their argument names: the name stands in the place of the
        /// `*` in `pattern`. The argument is a text, a number, or an object with the field `room`.
        ///
        /// No event is the server's business unless you say so.
        join => Many(EventPattern);

        /// Events that leave a room: the one that their argument names, or without an argument the
        /// only one that the client has joined.
        ///
        /// Likewise.
        leave => Many(EventPattern);

        /// Events that are published, and that everyone in the room receives, the sender included.
        ///
        /// Likewise.
        events => Many(EventPattern);

        /// Events that are published, and that everyone in the room but the sender receives.
        ///
        /// Likewise.
        broadcasts => Many(EventPattern);

        /// For which room an event is: the only one of this rule that the client has joined
        /// (`joined`), the one that its first argument names, which is not published (`argument`), or
        /// the one in the field `room` of its first argument (`field`).
        ///
        /// Most programs have a client in one room at a time.
        named_by => Choice(NAMED_BY);

        /// Every client is in the room as soon as it is connected to the main namespace. Only for a
        /// `pattern` without a `*`.
        ///
        /// A room has to be joined.
        everyone => Switch;
    }
}
