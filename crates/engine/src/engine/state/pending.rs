//! Work in flight: requests to the broker, questions to outside parties, and queued steps.

use std::sync::Arc;

use crate::{
    ask::{CallerId, VerdictId},
    broker::{PresenceChange, StreamState},
    channel_name::ChannelName,
    command::{CommandId, Since},
    delivery::{ConnectionId, Notice},
    filter::Filter,
    position::Position,
    publication::Publication,
    session::{Identity, Unacknowledged},
    slab::Slot,
};

/// The receiver of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Asker {
    /// A connection's command.
    Connection(ConnectionId, CommandId),
    /// A caller without a connection.
    Caller(CallerId),
}

/// Requests to the broker, by their id.
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
    /// A client's question for the states of channels that match a filter.
    Values {
        asker: Asker,
        filter: Filter,
    },
    /// A session whose dialect waits until it is durable.
    Remember {
        asker: Asker,
    },
    /// The state with which subscriptions of a feed start.
    ReadState {
        feed: Slot,
    },
    Members {
        asker: Asker,
        channel: ChannelName,
    },
    /// The members sent to a subscription without a request.
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
    /// A group's question to the broker.
    Share {
        group: Slot,
    },
}

/// Questions to outside parties, by their id.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Asked {
    Connect {
        caller: CallerId,
        /// What is known of the client so far.
        identity: Arc<Identity>,
    },
    Subscribe {
        subscription: Slot,
    },
    Publish {
        connection: ConnectionId,
    },
    Call {
        asker: Asker,
    },
}

/// The next steps of `poll_delivery`, in order.
#[derive(Debug)]
pub(in crate::engine) enum Item {
    Publication(Arc<Publication>),
    /// A publication for the subscribers of a matching filter.
    Through {
        filter: Slot,
        publication: Arc<Publication>,
    },
    Presence(Arc<PresenceChange>),
    Notice {
        connection: ConnectionId,
        notice: Box<Notice>,
    },
    /// Start a subscription whose feed's stream is known.
    Begin {
        subscription: Slot,
    },
    /// A subscription that is behind may be able to take a step.
    Advance {
        subscription: Slot,
    },
    /// Queries what this connection has received.
    Mark {
        connection: ConnectionId,
    },
    /// The broker left something out here.
    Lagged,
    /// The broker reported the stream's head again.
    Head {
        feed: Slot,
        stream: StreamState,
    },
}

/// What is retried after a failure at the broker.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum Again {
    Read { subscription: Slot },
    Follow { feed: Slot },
    Members { subscription: Slot },
    State { subscription: Slot },
}

/// What a subscription waits for before it begins.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Opening {
    /// The command that is answered when it starts; none if the client did not request it.
    pub(in crate::engine) command: Option<CommandId>,
    /// The session had it on an earlier connection.
    pub(in crate::engine) restored: bool,
    /// It is to a filter, and may read channels that it could not read on the earlier connection.
    pub(in crate::engine) regained: bool,
    /// The members are told when it starts.
    pub(in crate::engine) members: bool,
    pub(in crate::engine) since: Since,
    /// The pending question to the outside whether it is allowed.
    pub(in crate::engine) asked: Option<VerdictId>,
    /// What an earlier connection had not acknowledged, if its flow is acknowledged.
    pub(in crate::engine) earlier: Option<Unacknowledged>,
}
