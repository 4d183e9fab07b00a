//! What is under way: requests at the broker, questions outside, and what comes next.

use std::sync::Arc;

use crate::{
    ask::CallerId,
    broker::{PresenceChange, StreamState},
    channel_name::ChannelName,
    command::{CommandId, Since},
    delivery::{ConnectionId, Notice},
    position::Position,
    publication::Publication,
    slab::Slot,
};

/// Who is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Asker {
    /// A connection's command.
    Connection(ConnectionId, CommandId),
    /// Somebody who is no connection.
    Caller(CallerId),
}

/// Requests that were sent to the broker, by their number.
#[derive(Debug)]
pub(in crate::engine) enum Pending {
    Publish {
        asker: Asker,
    },
    History {
        asker: Asker,
        channel: ChannelName,
        since: Since,
    },
    HistoryBefore {
        asker: Asker,
        channel: ChannelName,
    },
    /// A client's question for a channel's state.
    State {
        asker: Asker,
        channel: ChannelName,
        after: Option<Position>,
        limit: u32,
    },
    /// The state that subscriptions of a feed begin with.
    ReadState {
        feed: Slot,
    },
    Members {
        asker: Asker,
        channel: ChannelName,
    },
    /// The members that a subscription is told unasked.
    TellMembers {
        connection: ConnectionId,
        subscription: Slot,
    },
    Ack {
        asker: Asker,
        channel: ChannelName,
    },
    Receipts {
        asker: Asker,
        channel: ChannelName,
        position: Position,
        named: bool,
    },
    Session {
        caller: CallerId,
    },
    Follow {
        feed: Slot,
    },
    Read {
        feed: Slot,
    },
}

/// Questions to somebody outside, by their number.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Asked {
    Connect { caller: CallerId },
    Subscribe { subscription: Slot },
    Publish { connection: ConnectionId },
    Call { asker: Asker },
}

/// What `poll_delivery` does next, in order.
#[derive(Debug)]
pub(in crate::engine) enum Item {
    Publication(Arc<Publication>),
    /// A publication for those who subscribe to it by a filter.
    Through {
        filter: Slot,
        publication: Arc<Publication>,
    },
    Presence(Arc<PresenceChange>),
    Notice {
        connection: ConnectionId,
        notice: Box<Notice>,
    },
    /// A subscription whose feed's stream is known begins.
    Begin {
        subscription: Slot,
    },
    /// A subscription that is behind may have a step to go.
    Advance {
        subscription: Slot,
    },
    /// Somebody wants to know what this connection has received.
    Mark {
        connection: ConnectionId,
    },
    /// The broker left something out here.
    Lagged,
    /// The broker told the stream's head again.
    Head {
        feed: Slot,
        stream: StreamState,
    },
}

/// What is tried again after it failed at the broker.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Again {
    Read { subscription: Slot },
    Follow { feed: Slot },
    Members { subscription: Slot },
    State { subscription: Slot },
}
