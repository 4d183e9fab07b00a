//! What the engine has for connections.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    broker::{PresenceChange, Receipts},
    channel_name::ChannelName,
    command::CommandId,
    error::Refusal,
    position::Position,
    publication::{Format, Publication},
    session::Member,
    subscription::{Class, Recipients, SubscriptionId, SubscriptionName, Target},
};

/// Names a connection within one engine. [`ConnectionId::index`] is small and dense: the caller keeps its
/// connections in a plain vector beside the engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnectionId {
    /// A dense index, used again after the connection is gone.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// Something for one connection or many. Not `Clone`: it is encoded and written, then gone.
#[derive(Debug)]
pub enum Delivery<'a> {
    /// A publication for live subscribers: the body is encoded once for each class, then goes to all
    /// recipients, with the subscription's number in the head of each where
    /// [`Recipients::are_numbered`] says so. Tell
    /// [`Engine::handle_full`](crate::Engine::handle_full) of every connection whose outbox is now
    /// above its bound, before the next `poll_delivery`.
    Broadcast {
        /// What was published.
        publication: Arc<Publication>,
        /// Its place in what they subscribe to: its position, or, for a filter, its place in the
        /// broker's own order.
        place: Position,
        /// The filter by which they subscribe to it; none where they subscribe to its channel.
        filter: Option<&'a Target>,
        /// What the recipients have in common.
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
        /// For which of the connection's subscriptions.
        subscription: SubscriptionName,
        /// What was published.
        publication: Arc<Publication>,
        /// Its place in what is subscribed to, as in a broadcast.
        place: Position,
        /// How often it has been delivered to the session now, where the flow is acknowledged:
        /// more than 1 is a redelivery. 0 where it is pushed.
        deliveries: u16,
        /// Whether it is a value of the channel's state: such values have holes between them, and a
        /// [`Notice::Gap`] with [`GapReason::State`] follows the last.
        state: bool,
    },
    /// Somebody joined, shows themselves differently, or left, for those who asked to know.
    Presence {
        /// Who did what where.
        change: Arc<PresenceChange>,
        /// What the recipients have in common.
        class: Class,
        /// Who gets it.
        recipients: Recipients<'a>,
    },
    /// Something for one connection.
    Connection {
        /// Who gets it.
        connection: ConnectionId,
        /// What it gets.
        notice: Notice,
    },
    /// Send this connection a ping, behind everything it was handed out, whose payload brings the mark
    /// back: somebody wants to know what it has received.
    Mark {
        /// Who gets it.
        connection: ConnectionId,
        /// For [`Engine::handle_receipt`](crate::Engine::handle_receipt).
        mark: u32,
    },
}

impl Delivery<'_> {
    /// How many recipients there are: what a turn's budget counts.
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

/// Something for one connection that is no publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The answer to a command; without an id, what the engine says unasked: a resumed
    /// subscription, or the members anew after changes could not be delivered.
    Reply {
        /// Of which command.
        id: Option<CommandId>,
        /// The answer.
        reply: Reply,
    },
    /// Publications are missing, and why. What follows goes on after `to`.
    Gap {
        /// Of which subscription. Where that is a filter, positions are the broker's sequence.
        subscription: SubscriptionName,
        /// After where they are missing.
        from: Position,
        /// Up to where they are missing.
        to: Position,
        /// Why.
        reason: GapReason,
        /// For [`GapReason::Diverged`]: up to here the client has what the stream has. What it
        /// has beyond is not part of the stream.
        agreed: Option<Position>,
    },
    /// Publications of one channel are missing from what comes by a filter, and why.
    ChannelGap {
        /// Of which subscription.
        subscription: SubscriptionName,
        /// In which channel.
        channel: ChannelName,
        /// After where in the channel they are missing.
        from: Position,
        /// Up to where in the channel they are missing.
        to: Position,
        /// Why.
        reason: GapReason,
    },
    /// A publication of the session's own, in a subscription that does not want it: what follows
    /// goes on after it.
    Own {
        /// Of which subscription.
        subscription: SubscriptionName,
        /// Where it stands.
        position: Position,
        /// The position before it in its channel.
        previous: Position,
    },
    /// This subscription could not keep up; from here it reads the retained history.
    CatchingUp {
        /// Of which subscription. Where that is a filter, positions are the broker's sequence.
        subscription: SubscriptionName,
        /// From where on.
        position: Position,
    },
    /// This subscription has everything; from here it is live.
    Live {
        /// Of which subscription. Where that is a filter, positions are the broker's sequence.
        subscription: SubscriptionName,
        /// As of where.
        position: Position,
    },
    /// The subscription ended, not by the client's wish.
    Unsubscribed {
        /// Which.
        subscription: SubscriptionName,
        /// Why.
        refusal: Refusal,
    },
    /// Every subscription of a resumed session has begun, or has been refused.
    Restored,
    /// The server's side tells this session something.
    Told {
        /// What.
        data: Bytes,
        /// What `data` is.
        format: Format,
    },
    /// The server is going away: come back on a new connection after this pause.
    Reconnect {
        /// A pause of its own for each connection.
        after: Duration,
    },
    /// Write what is queued, then close the connection.
    Close {
        /// Why.
        reason: CloseReason,
    },
}

/// Why publications are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The position is of an epoch that the broker does not know.
    EpochChanged,
    /// The position's epoch ended before it: the log was restored from an older copy, or lost
    /// its newest publications.
    Diverged,
    /// They were more than the channel's history keeps (count or bytes).
    EvictedBySize,
    /// They were older than the channel's history keeps.
    EvictedByAge,
    /// They are damaged on the server's disk and can't be read.
    Damaged,
    /// The position is ahead of the stream: never given out, or lost with a disk.
    UnknownPosition,
    /// The connection was too slow in a channel without history.
    Dropped,
    /// The connection was too slow; of each tag `key` the newest follows.
    Conflated,
    /// The values of the channel's state, which were delivered before, stand for them.
    State,
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
        }
    }
}

/// Why the engine wants a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// It does not read fast enough for a channel that has no patience.
    TooSlow,
    /// It did not stop after being refused for its speed.
    Flood,
    /// Its session came back on another connection.
    Replaced,
    /// The server's side closes it: the session was revoked, or is not wanted now.
    Disconnected,
    /// What says who it is has expired.
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
    /// It was published, as durably as the broker promises.
    Published {
        /// Where it stands.
        position: Position,
        /// Whether an earlier attempt with the same key had published it already.
        duplicate: bool,
    },
    /// The subscription is there.
    Subscribed {
        /// Which.
        subscription: SubscriptionName,
        /// The stream's head as of now.
        position: Position,
        /// Whether it is live at once; otherwise history follows, then [`Notice::Live`].
        live: bool,
    },
    /// The subscription is gone.
    Unsubscribed {
        /// Which.
        subscription: SubscriptionName,
    },
    /// The acknowledgement was taken.
    Done {
        /// Of which subscription.
        subscription: SubscriptionName,
    },
    /// The session shows itself so to others from now on.
    InfoUpdated,
    /// What the backend answered.
    Called {
        /// The answer.
        data: Bytes,
        /// What `data` is.
        format: Format,
    },
    /// Retained publications.
    History {
        /// Of which channel.
        channel: ChannelName,
        /// The stream's head as of the read.
        head: Position,
        /// What was asked, oldest first.
        publications: Vec<Arc<Publication>>,
        /// What is missing between the position that was asked for and the nearest of them.
        gap: Option<GapReason>,
        /// After [`Command::HistoryBefore`](crate::Command): older ones are retained.
        more: bool,
    },
    /// A channel's state, or a page of it.
    State {
        /// Of which channel.
        channel: ChannelName,
        /// It is of everything up to here.
        head: Position,
        /// The newest publication of each value of the tag `key`, in the order of their offsets.
        values: Vec<Arc<Publication>>,
        /// The state has more, to be read after the position of the last of these.
        more: bool,
    },
    /// Who is there.
    Members {
        /// In which channel.
        channel: ChannelName,
        /// The number of the subscription that is told unasked, if it has one.
        subscription: Option<SubscriptionId>,
        /// The first of them, in the order of their sessions.
        members: Vec<Arc<Member>>,
        /// How many there are.
        total: u64,
    },
    /// How far a consumer has come.
    Acked {
        /// In which channel.
        channel: ChannelName,
        /// None when it never acknowledged anything.
        position: Option<Position>,
    },
    /// Who has received a publication.
    Receipts {
        /// In which channel.
        channel: ChannelName,
        /// Which.
        position: Position,
        /// Who; no names where presence is not kept.
        receipts: Receipts,
    },
    /// The pong.
    Pong,
    /// No, and why.
    Refused(Refusal),
}
