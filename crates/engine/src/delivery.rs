//! Deliveries of the engine to connections.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    broker::{PresenceChange, Receipts},
    channel_name::ChannelName,
    command::CommandId,
    error::Refusal,
    filter::Filter,
    position::Position,
    publication::{Format, Publication},
    session::Member,
    subscription::{Class, Recipients, SubscriptionId, SubscriptionName, Target},
};

/// Identifies a connection within one engine. [`ConnectionId::index`] is small and dense: the
/// caller keeps its connections in a plain vector.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnectionId {
    /// A dense index, reused after the connection is gone.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// A message for one or many connections. Not `Clone`: it is encoded, written and dropped.
#[derive(Debug)]
pub enum Delivery<'a> {
    /// A publication for live subscribers. The body is encoded once for each class and sent to all
    /// recipients, with the subscription's id in the head of each if [`Recipients::are_numbered`].
    /// Call [`Engine::handle_full`](crate::Engine::handle_full) for every connection whose outbox
    /// now exceeds its limit, before the next `poll_delivery`.
    Broadcast {
        /// The publication.
        publication: Arc<Publication>,
        /// Its place in the subscription: its position or, for a filter, its place in the broker's
        /// order.
        place: Position,
        /// The filter they subscribe to; none if they subscribe to the channel.
        filter: Option<&'a Target>,
        /// The class of all recipients.
        class: Class,
        /// Who gets it.
        recipients: Recipients<'a>,
    },
    /// A publication for one subscription that is catching up, is acknowledged, or is given the
    /// channel's state.
    Publication {
        /// Who gets it.
        connection: ConnectionId,
        /// The connection's class.
        class: Class,
        /// The connection's subscription.
        subscription: SubscriptionName,
        /// The publication.
        publication: Arc<Publication>,
        /// Its place in the subscription, as in a broadcast.
        place: Position,
        /// How many times it was delivered to the session, this time included, if the flow is
        /// acknowledged: more than 1 is a redelivery. 0 if it is pushed.
        deliveries: u16,
        /// Whether it is a value of the channel's state: such values have holes between them, and a
        /// [`Notice::Gap`] with [`GapReason::State`] follows the last.
        state: bool,
    },
    /// A member joined, changed its info, or left, for subscriptions that asked to know.
    Presence {
        /// The change.
        change: Arc<PresenceChange>,
        /// The class of all recipients.
        class: Class,
        /// Who gets it.
        recipients: Recipients<'a>,
    },
    /// A notice for one connection.
    Connection {
        /// Who gets it.
        connection: ConnectionId,
        /// The notice.
        notice: Notice,
    },
    /// Send this connection a ping, after everything handed out to it, whose pong returns the mark:
    /// it shows what the connection has received.
    Mark {
        /// Who gets it.
        connection: ConnectionId,
        /// The mark, for [`Engine::handle_receipt`](crate::Engine::handle_receipt).
        mark: u32,
    },
}

impl Delivery<'_> {
    /// The number of recipients, which a turn's budget counts.
    #[must_use]
    pub fn recipients(&self) -> usize {
        match self {
            Self::Broadcast { recipients, .. } | Self::Presence { recipients, .. } => {
                recipients.len()
            }
            Self::Publication { .. } | Self::Connection { .. } | Self::Mark { .. } => 1,
        }
    }
}

/// A message for one connection that is not a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The reply to a command. Without an id, the engine sends it unasked: a resumed subscription,
    /// or the list of members after changes could not be delivered.
    Reply {
        /// The id of the command.
        id: Option<CommandId>,
        /// The reply.
        reply: Reply,
    },
    /// Publications are missing, for this reason. Delivery continues after `to`.
    Gap {
        /// The subscription. If it is to a filter, positions are the broker's sequence.
        subscription: SubscriptionName,
        /// The position before the first missing publication.
        from: Position,
        /// The position of the last missing publication.
        to: Position,
        /// The reason.
        reason: GapReason,
        /// For [`GapReason::Diverged`]: the last position that the client has in common with the
        /// stream. What the client received after it is not part of the stream.
        agreed: Option<Position>,
    },
    /// Publications of one channel are missing from a filter's subscription, for this reason.
    ChannelGap {
        /// The subscription.
        subscription: SubscriptionName,
        /// The channel.
        channel: ChannelName,
        /// The position in the channel before the first missing publication.
        from: Position,
        /// The position of the last missing publication.
        to: Position,
        /// The reason.
        reason: GapReason,
    },
    /// A publication of the session itself, in a subscription that excludes its own: delivery
    /// continues after it.
    Own {
        /// The subscription.
        subscription: SubscriptionName,
        /// Its channel.
        channel: ChannelName,
        /// Its position in the channel.
        position: Position,
        /// The position before it in its channel.
        previous: Position,
        /// For a subscription to a filter, its position after this publication.
        at: Option<Position>,
    },
    /// The subscription could not keep up; from here on it reads the retained history.
    CatchingUp {
        /// The subscription. If it is to a filter, positions are the broker's sequence.
        subscription: SubscriptionName,
        /// The position after which it continues.
        position: Position,
    },
    /// Everything was delivered; from here on the subscription is live.
    Live {
        /// The subscription. If it is to a filter, positions are the broker's sequence.
        subscription: SubscriptionName,
        /// The position up to which publications were delivered.
        position: Position,
    },
    /// The subscription ended without the client asking for it.
    Unsubscribed {
        /// The subscription.
        subscription: SubscriptionName,
        /// The reason.
        refusal: Refusal,
    },
    /// Every subscription of a resumed session has begun, or has been refused.
    Restored,
    /// Data sent to this session by the server's side.
    Told {
        /// The data.
        data: Bytes,
        /// The format of `data`.
        format: Format,
    },
    /// The server is going away: reconnect after this delay.
    Reconnect {
        /// The delay, chosen for each connection.
        after: Duration,
    },
    /// Write what is queued, then close the connection.
    Close {
        /// The reason.
        reason: CloseReason,
    },
}

/// Why publications are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The position is of an epoch unknown to the broker.
    EpochChanged,
    /// The position's epoch ended before it: the log was restored from an older copy, or lost
    /// its newest publications.
    Diverged,
    /// The limit of the channel's history on count or bytes.
    EvictedBySize,
    /// The limit of the channel's history on age.
    EvictedByAge,
    /// They are damaged on the server's disk and cannot be read.
    Damaged,
    /// The position is ahead of the stream: it was never assigned, or was lost with a disk.
    UnknownPosition,
    /// The connection was too slow in a channel without history.
    Dropped,
    /// The connection was too slow; the newest publication of each tag `key` follows.
    Conflated,
    /// The values of the channel's state, which were delivered before, stand for them.
    State,
    /// Only for a subscription to a filter: the broker was restarted. Publications in channels that
    /// are not on disk are lost; those of all other channels follow.
    Restarted,
    /// Only for a subscription to a filter: it may read channels that it could not read before.
    /// Publications that it was not allowed to read are missing; those that follow need not continue
    /// what the client has of their channels.
    Permissions,
}

impl GapReason {
    /// The stable name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::Diverged => "diverged",
            Self::EvictedBySize => "evicted_by_size",
            Self::EvictedByAge => "evicted_by_age",
            Self::Damaged => "damaged",
            Self::UnknownPosition => "unknown_position",
            Self::Dropped => "dropped",
            Self::Conflated => "conflated",
            Self::State => "state",
            Self::Restarted => "restarted",
            Self::Permissions => "permissions",
        }
    }
}

/// Why the engine wants a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// It does not read fast enough for a channel that disconnects slow clients.
    TooSlow,
    /// It did not slow down after being refused for exceeding its rate.
    Flood,
    /// Its session moved to another connection.
    Replaced,
    /// The server's side closes it: the session was revoked, or is unwanted.
    Disconnected,
    /// Its authentication has expired.
    Expired,
}

impl CloseReason {
    /// The stable name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooSlow => "too_slow",
            Self::Flood => "flood",
            Self::Replaced => "replaced",
            Self::Disconnected => "disconnected",
            Self::Expired => "expired",
        }
    }
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was published, as durably as the broker guarantees.
    Published {
        /// Its position.
        position: Position,
        /// Whether an earlier attempt with the same key had published it already.
        duplicate: bool,
    },
    /// The subscription was made.
    Subscribed {
        /// The subscription.
        subscription: SubscriptionName,
        /// The stream's head at this time.
        position: Position,
        /// Whether it is live at once; otherwise history follows, then [`Notice::Live`].
        live: bool,
        /// Whether the server's side has made it just now: the client has not asked for it, and an
        /// earlier connection of its session did not have it.
        by_server: bool,
        /// Whether the client acknowledges its publications, so that none of them may be lost.
        acknowledged: bool,
    },
    /// The subscription was removed.
    Unsubscribed {
        /// The subscription.
        subscription: SubscriptionName,
    },
    /// The acknowledgement was accepted.
    Done {
        /// The subscription.
        subscription: SubscriptionName,
    },
    /// Other members see the session's new info from now on.
    InfoUpdated,
    /// What the backend answered.
    Called {
        /// The reply.
        data: Bytes,
        /// The format of `data`.
        format: Format,
    },
    /// Retained publications.
    History {
        /// The channel.
        channel: ChannelName,
        /// The stream's head at the time of the read.
        head: Position,
        /// The publications, oldest first.
        publications: Vec<Arc<Publication>>,
        /// What is missing between the requested position and the nearest of these publications.
        gap: Option<GapReason>,
        /// There may be more to read: newer ones after the last of these or, after
        /// [`Command::HistoryBefore`](crate::Command), older ones before the first.
        more: bool,
    },
    /// A channel's state, or a page of it.
    State {
        /// The channel.
        channel: ChannelName,
        /// It is of everything up to here.
        head: Position,
        /// The newest publication of each value of the tag `key`, in the order of their offsets.
        values: Vec<Arc<Publication>>,
        /// The state has more, to be read after the position of the last of these.
        more: bool,
    },
    /// The states of channels that match a filter, or a page of them.
    Values {
        /// The filter.
        filter: Filter,
        /// The newest publication of each value of the tag `key`, by the names of the channels.
        values: Vec<Arc<Publication>>,
        /// The last channel that was read, if there may be more.
        next: Option<ChannelName>,
    },
    /// The note is kept, as durably as the session is.
    Remembered,
    /// The members of a channel.
    Members {
        /// The channel.
        channel: ChannelName,
        /// The id of the subscription to which this is sent without a request, if it has one.
        subscription: Option<SubscriptionId>,
        /// The first members, in the order of their sessions.
        members: Vec<Arc<Member>>,
        /// The number of members.
        total: u64,
    },
    /// A consumer's position.
    Acked {
        /// The channel.
        channel: ChannelName,
        /// None if it never acknowledged anything.
        position: Option<Position>,
    },
    /// Which subscribers received a publication.
    Receipts {
        /// The channel.
        channel: ChannelName,
        /// The subscription.
        position: Position,
        /// The receipts; without session names if the channel does not keep presence.
        receipts: Receipts,
    },
    /// The answer to a ping.
    Pong,
    /// The command was refused.
    Refused(Refusal),
}
