//! Groups of subscriptions that share publications: requests of a worker to the broker.

use std::time::Duration;

use crate::{broker::RequestId, position::Position, publication::Key, subscription::Target};

/// A group: all subscriptions to one target with the same group name, on any worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareName {
    /// The channel or filter.
    pub target: Target,
    /// The group's name among those of the target.
    pub group: Key,
}

/// A request to the broker by a worker that has members of a group. The broker keeps the position
/// of the group:
///
/// ```text
///   processed, except what is claimed or was returned │ never claimed
///                                                     ▲ the group's cursor
/// ```
/// Places are positions in the channel or, for a filter, in the broker's own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareRequest {
    /// This worker has members from now on. The answer is
    /// [`BrokerEvent::Claimed`](crate::BrokerEvent) without claims.
    Join {
        /// The id of the answer.
        id: RequestId,
        /// The position after which the group begins, if the broker does not know it.
        after: Position,
        /// How long to keep the group if this worker dies.
        keep: Duration,
    },
    /// Claim publications. `places` must be complete between `after` and its last position:
    /// returned publications in this range that are not listed are no longer retained, and are
    /// removed. The answer is [`BrokerEvent::Claimed`](crate::BrokerEvent).
    Claim {
        /// The id of the answer.
        id: RequestId,
        /// The position after which this worker has read.
        after: Position,
        /// The publications that this worker has read, in order, without those that it has claimed
        /// already.
        places: Vec<Position>,
    },
    /// These publications have been processed.
    Done {
        /// Publications that this worker has claimed.
        places: Vec<Position>,
    },
    /// These publications have not been processed. They may be claimed again, by any worker.
    Return {
        /// Publications that this worker has claimed.
        places: Vec<Position>,
        /// Whether they were delivered, which counts as an attempt.
        delivered: bool,
    },
    /// This worker has no members any more. The publications that it has claimed are returned.
    Leave {
        /// How long to keep the group if no other worker has members.
        keep: Duration,
    },
}

impl ShareRequest {
    /// The id of the answer, if there is one.
    #[must_use]
    pub fn id(&self) -> Option<RequestId> {
        match self {
            Self::Join { id, .. } | Self::Claim { id, .. } => Some(*id),
            Self::Done { .. } | Self::Return { .. } | Self::Leave { .. } => None,
        }
    }
}

/// A publication that a worker has claimed for its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The position of the publication.
    pub place: Position,
    /// How often it was delivered to members of the group, including the coming delivery.
    pub deliveries: u16,
}
