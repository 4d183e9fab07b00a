//! The messages between engine and broker: their contract.
//!
//! The trait itself is part of the brokers crate; the engine only returns [`BrokerRequest`]s and
//! handles [`BrokerEvent`]s. A broker must keep this order for each worker:
//!
//! - Requests of one worker about one channel take effect in the order they were given.
//! - [`BrokerEvent::Followed`] precedes every publication after its head. Those are delivered in
//!   order, each naming the one before as its `previous`, until `Unfollow`, or until a `Lagged`
//!   reports that some were dropped because the worker did not take them fast enough.
//! - A publication can be read by `History` before any worker receives it.
//! - Every request with an id is answered exactly once, unless the broker has not accepted it: see
//!   [`Engine::handle_not_accepted`](crate::Engine::handle_not_accepted).

mod read;
mod share;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    channel_name::ChannelName,
    delivery::GapReason,
    error::{ErrorCode, Refusal},
    filter::Filter,
    position::Position,
    publication::{Draft, Key, Publication},
    session::{Member, SessionId},
};

pub use read::{ReadFrom, ReadLimit, ReadStart, Resolution};
pub use share::{Claim, ShareName, ShareRequest};

/// The engine's number for a request that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// The broker's id for a question to all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// Which subscribers received a publication: their WebSocket stack has everything up to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// How many have received it.
    pub received: u64,
    /// The number of subscribers.
    pub subscribers: u64,
    /// The first sessions that have received it.
    pub sessions: Vec<SessionId>,
}

/// Something the engine asks of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerRequest {
    /// Assign a position, retain it, deliver it. Answered by `Published` once it is as durable as
    /// the broker guarantees. The same key in the same scope is answered with the first position.
    Publish {
        /// The id of the answer.
        id: RequestId,
        /// The publication.
        draft: Draft,
    },
    /// Send this channel's publications from now on; each request is answered by `Followed`.
    Follow {
        /// The id of the answer.
        id: RequestId,
        /// The channel.
        channel: ChannelName,
    },
    /// Stop sending them.
    Unfollow {
        /// The channel.
        channel: ChannelName,
    },
    /// Send the publications of every matching channel from now on. Answered by `Followed`, whose
    /// head is in the broker's own order: the epoch and the newest sequence. A worker receives a
    /// publication once, however many of its channels and filters match.
    FollowFilter {
        /// The id of the answer.
        id: RequestId,
        /// The filter.
        filter: Filter,
    },
    /// Stop sending what only this filter matches.
    UnfollowFilter {
        /// The filter.
        filter: Filter,
    },
    /// Read retained publications of all matching channels in the broker's order; see
    /// `FilterHistory`.
    FilterHistory {
        /// The id of the answer.
        id: RequestId,
        /// The filter.
        filter: Filter,
        /// The position in the broker's own order to read after.
        after: Position,
        /// Limits of the read.
        limit: ReadLimit,
    },
    /// Keep a session's state for this long, replacing the old one. Later publications are not
    /// written before it.
    SaveSession {
        /// The id of the answer, `SessionSaved`, which is sent once the state is durable; none if
        /// it may be written with the next publication.
        id: Option<RequestId>,
        /// The session.
        session: SessionId,
        /// The state.
        bytes: Bytes,
        /// How long to keep it, from now.
        expiry: Duration,
    },
    /// Delete a session's state.
    DropSession {
        /// The session.
        session: SessionId,
    },
    /// Return a session's state; answered by `Session`.
    LoadSession {
        /// The id of the answer.
        id: RequestId,
        /// The session.
        session: SessionId,
    },
    /// Read retained publications; answered by `History`.
    History {
        /// The id of the answer.
        id: RequestId,
        /// The channel.
        channel: ChannelName,
        /// Where to start.
        from: ReadFrom,
        /// Limits of the read.
        limit: ReadLimit,
    },
    /// Read the states of channels that match a filter; answered by `Values`.
    Values {
        /// The id of the answer.
        id: RequestId,
        /// The filter.
        filter: Filter,
        /// Only channels whose names come after this one.
        after: Option<ChannelName>,
        /// Limits of the read. Each channel's state is read completely.
        limit: ReadLimit,
    },
    /// Read the channel's state; answered by `State`.
    State {
        /// The id of the answer.
        id: RequestId,
        /// The channel.
        channel: ChannelName,
    },
    /// A member is present, under this worker's lease. Members already present do not join again; a
    /// claim with a higher `generation` takes the member over.
    Join {
        /// The channel.
        channel: ChannelName,
        /// The member.
        member: Arc<Member>,
        /// The number of the session's connection: the highest claim counts.
        generation: u64,
    },
    /// A member left; ignored if a later claim holds it.
    Leave {
        /// The channel.
        channel: ChannelName,
        /// The member's session.
        session: SessionId,
        /// The claim that ends.
        generation: u64,
        /// How long to wait for it to return; zero if it left on purpose.
        grace: Duration,
    },
    /// Return the members; answered by `Members`.
    Members {
        /// The id of the answer.
        id: RequestId,
        /// The channel.
        channel: ChannelName,
        /// The maximum number of members.
        limit: u32,
    },
    /// Records a consumer's position; answered by `Acked` once that is as durable as a publication.
    /// Within an epoch, the position never decreases.
    Ack {
        /// The id of the answer.
        id: RequestId,
        /// The channel.
        channel: ChannelName,
        /// The user whose consumer it is; empty for anonymous clients, who share theirs.
        scope: Arc<str>,
        /// The consumer's name.
        consumer: Key,
        /// The position; none only queries it.
        position: Option<Position>,
    },
    /// Asks all workers who has received a publication; answered by `Receipts`, or fails with
    /// [`BrokerFailure::UnknownPosition`] if there is none at this position.
    Receipts {
        /// The id of the answer.
        id: RequestId,
        /// The channel.
        channel: ChannelName,
        /// The publication's position.
        position: Position,
    },
    /// This worker's answer to `AskReceipts`.
    Found {
        /// The id of the question.
        ask: AskId,
        /// The answer; none if it was asked too often.
        receipts: Option<Receipts>,
    },
    /// Something about a group of subscriptions that share publications.
    Share {
        /// The group.
        name: ShareName,
        /// What is asked.
        request: ShareRequest,
    },
    /// This worker is alive: renew its members for this long.
    Renew {
        /// The duration, from now.
        lease: Duration,
    },
}

/// The state of a channel's stream at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The position of the newest publication; offset 0 before the first.
    pub head: Position,
    /// The offset of the oldest retained publication; one more than that of `head` if there is
    /// none.
    pub first: u64,
    /// Why publications before `first` were trimmed.
    pub trimmed: Trimmed,
}

/// Why the oldest publications of a stream were trimmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trimmed {
    /// The channel's limit on count or bytes.
    #[default]
    BySize,
    /// The channel's limit on age.
    ByAge,
    /// They cannot be read: the disk returned other data than was written.
    Damaged,
}

impl From<Trimmed> for GapReason {
    fn from(trimmed: Trimmed) -> Self {
        match trimmed {
            Trimmed::BySize => Self::EvictedBySize,
            Trimmed::ByAge => Self::EvictedByAge,
            Trimmed::Damaged => Self::Damaged,
        }
    }
}

/// A message from the broker to one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerEvent {
    /// A draft was published.
    Published {
        /// The id of the request.
        id: RequestId,
        /// Its position.
        position: Position,
        /// Whether it had been published before.
        duplicate: bool,
    },
    /// The channel is followed.
    Followed {
        /// The id of the request.
        id: RequestId,
        /// Every publication after this head will be sent.
        stream: StreamState,
    },
    /// Retained publications, oldest first, without holes.
    History {
        /// The id of the request.
        id: RequestId,
        /// The stream at the time of the read.
        stream: StreamState,
        /// How the start position was resolved.
        start: ReadStart,
        /// The publications.
        publications: Vec<Arc<Publication>>,
    },
    /// A channel's state: the newest publication of each key, in the order of their offsets. These,
    /// followed by everything after the head, contain every value.
    State {
        /// The id of the request.
        id: RequestId,
        /// The stream at the time of the read.
        stream: StreamState,
        /// The values.
        values: Vec<Arc<Publication>>,
    },
    /// The states of channels that match a filter, in the order of their names.
    Values {
        /// The id of the request.
        id: RequestId,
        /// The values.
        values: Vec<Arc<Publication>>,
        /// The last channel that was read, if there may be more.
        next: Option<ChannelName>,
    },
    /// The session's state is durable.
    SessionSaved {
        /// The id of the request.
        id: RequestId,
    },
    /// The members of a channel.
    Members {
        /// The id of the request.
        id: RequestId,
        /// The first members.
        members: Vec<Arc<Member>>,
        /// The number of members.
        total: u64,
    },
    /// A consumer's position.
    Acked {
        /// The id of the request.
        id: RequestId,
        /// None if it never acknowledged anything.
        position: Option<Position>,
    },
    /// Which subscribers received a publication.
    Receipts {
        /// The id of the request.
        id: RequestId,
        /// The answers of all workers, combined.
        receipts: Receipts,
    },
    /// Which of this worker's subscribers received it? Answered by `Found`.
    AskReceipts {
        /// The id of the question.
        ask: AskId,
        /// The channel.
        channel: ChannelName,
        /// The publication's position.
        position: Position,
    },
    /// The request failed.
    Failed {
        /// The id of the request.
        id: RequestId,
        /// The reason.
        failure: BrokerFailure,
    },
    /// A followed channel has a new publication.
    Publication(Arc<Publication>),
    /// A followed channel's members changed.
    Presence(Arc<PresenceChange>),
    /// Retained publications of channels that match a filter, in the broker's own order.
    FilterHistory {
        /// The id of the request.
        id: RequestId,
        /// The broker's newest position at the time of the read, where the reader is at the end.
        head: Position,
        /// How the start position was resolved.
        start: ReadStart,
        /// Publications missing from channels, before `publications`.
        gaps: Vec<ChannelGap>,
        /// The publications; empty at the end.
        publications: Vec<Arc<Publication>>,
        /// Whether this is everything up to `head`, in `publications` or in `gaps`.
        complete: bool,
    },
    /// A session's state.
    Session {
        /// The id of the request.
        id: RequestId,
        /// The state as saved last; none if it does not exist or has expired.
        bytes: Option<Bytes>,
    },
    /// The answer of a group of subscriptions that share publications.
    Claimed {
        /// The id of the request.
        id: RequestId,
        /// What this worker may deliver to the group's members.
        claims: Vec<Claim>,
        /// The place after which there may be more to claim.
        next: Position,
        /// Too many publications are claimed or returned: claim again once one was processed, which
        /// is announced by `Returned`.
        full: bool,
    },
    /// Publications that a worker had claimed can be claimed again.
    Returned {
        /// The group.
        name: ShareName,
        /// They come after this place.
        after: Position,
    },
    /// This worker's lease had expired, and its members have left: it must join them again.
    LeaseEnded,
    /// Publications, joins or leaves were dropped at this place: the worker was too slow.
    Lagged,
}

/// Publications missing from one of the channels that a filter matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelGap {
    /// The channel.
    pub channel: ChannelName,
    /// The position in the channel before the first missing publication.
    pub from: Position,
    /// The position of the last missing publication.
    pub to: Position,
    /// The reason.
    pub reason: GapReason,
}

/// A member joined or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The channel.
    pub channel: ChannelName,
    /// The member.
    pub member: Arc<Member>,
    /// Whether it joined.
    pub joined: bool,
    /// How many members of the channel the member's user has after the change: the user came if it
    /// is 1 after a join, and left if it is 0. A member without a user name counts alone.
    pub user_sessions: u32,
}

/// Why a broker could not carry out a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BrokerFailure {
    /// Too many requests are queued.
    Busy,
    /// The disk is full.
    StorageFull,
    /// The disk failed for another reason.
    StorageFailed,
    /// The data on the disk cannot be read.
    StorageCorrupt,
    /// No rule allows this channel.
    UnknownChannel,
    /// The user has the maximum number of consumers in this channel.
    TooManyConsumers,
    /// The broker has the maximum number of channels.
    TooManyChannels,
    /// The position is not part of the stream.
    UnknownPosition,
    /// The broker has the maximum number of groups that share subscriptions.
    TooManyGroups,
}

impl From<BrokerFailure> for Refusal {
    fn from(failure: BrokerFailure) -> Self {
        let (code, detail) = match failure {
            BrokerFailure::Busy => (ErrorCode::Busy, "the broker's queue is full"),
            BrokerFailure::StorageFull => (
                ErrorCode::StorageFull,
                "the server's disk is full; nothing acknowledged is lost, try again later",
            ),
            BrokerFailure::StorageFailed => (
                ErrorCode::StorageFailed,
                "the server's disk failed; nothing acknowledged is lost, try again later",
            ),
            BrokerFailure::StorageCorrupt => (
                ErrorCode::StorageCorrupt,
                "part of the server's log cannot be read; its operator must repair it",
            ),
            BrokerFailure::UnknownChannel => (
                ErrorCode::UnknownChannel,
                "no rule of the server's configuration allows it",
            ),
            BrokerFailure::TooManyChannels => (
                ErrorCode::Busy,
                "the server has reached its limit of channels; unsubscribe from some, or try again later",
            ),
            BrokerFailure::TooManyGroups => (
                ErrorCode::Busy,
                "the server has reached its limit of groups with shared subscriptions; try again later",
            ),
            BrokerFailure::UnknownPosition => (
                ErrorCode::BadRequest,
                "this position never existed in this channel; use one that was received",
            ),
            BrokerFailure::TooManyConsumers => (
                ErrorCode::TooManyConsumers,
                "this user has too many consumers in this channel; use fewer names",
            ),
        };
        Self::new(code, detail)
    }
}
