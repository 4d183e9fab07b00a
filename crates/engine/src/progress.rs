//! The progress of a subscription: the answer to "why was this not delivered?".

use crate::{position::Position, subscription::SubscriptionName};

/// The progress of a subscription, returned by [`Engine::progress`](crate::Engine::progress).
///
/// For a subscription to a channel, offsets are those of the channel. For a subscription to a
/// filter, they are the broker's sequence numbers ([`Publication::sequence`](crate::Publication)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The subscription.
    pub subscription: SubscriptionName,
    /// What it is doing.
    pub activity: Activity,
    /// Publications up to this offset precede the subscription, which does not deliver them.
    pub began_after: u64,
    /// Publications after this offset and up to `handed_out` were delivered without a gap. Between
    /// `began_after` and this offset, some may have been announced as missing.
    pub whole_after: u64,
    /// The last position that was delivered; `None` while the subscription is being opened.
    pub handed_out: Option<Position>,
    /// The client's pongs prove that it has received everything up to this offset. 0 if no proof
    /// has been requested yet: see [`Engine::ask_receipt`](crate::Engine::ask_receipt).
    pub received: u64,
    /// Whether it delivers the session's own publications.
    pub echo: bool,
    /// Whether it is a member of a group, in which each publication goes to only one member. It is
    /// not recorded which member received a publication.
    pub shared: bool,
    /// Whether the session may read the channel in question, if there is one. A subscription to a
    /// filter skips channels that its session may not read.
    pub may_read: bool,
}

/// What a subscription is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activity {
    /// It waits for the backend to allow it.
    Asked,
    /// It waits for the broker.
    Opening,
    /// Publications are delivered as they are published.
    Live,
    /// It reads from the history.
    Reading,
    /// It reads from the history, and waits until its client has read what was sent.
    AwaitsRoom,
    /// It waits for the client's acknowledgements.
    AwaitsAcknowledgement,
    /// It shares publications with others, and waits for its turn.
    AwaitsTurn,
}

impl Activity {
    /// A stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Opening => "opening",
            Self::Live => "live",
            Self::Reading => "reading",
            Self::AwaitsRoom => "awaits_room",
            Self::AwaitsAcknowledgement => "awaits_acknowledgement",
            Self::AwaitsTurn => "awaits_turn",
        }
    }
}
