//! What the engine asks of a broker, and what a broker tells: the words of the contract.
//!
//! The trait itself lives with the brokers; the engine only hands out [`BrokerRequest`]s and takes
//! [`BrokerEvent`]s. The order a broker must keep for one worker:
//!
//! - Requests of one worker about one channel take effect in the order they were given.
//! - [`BrokerEvent::Followed`] comes before every publication after its head. Those come in order,
//!   each with the one before as its `previous`, until `Unfollow`, or until a `Lagged` says that
//!   some were left out because the worker did not take them fast enough.
//! - A publication can be read by `History` before any worker is told of it.
//! - Every request with an id is answered exactly once.

mod read;

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

/// The engine's number for a request that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// The broker's number for a question to all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// Who has received a publication: everything up to it reached their WebSocket stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// How many have it.
    pub received: u64,
    /// Of how many.
    pub subscribers: u64,
    /// The first of those who have it.
    pub sessions: Vec<SessionId>,
}

/// Something the engine asks of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerRequest {
    /// Give it a position, retain it, pass it on; answered by `Published` once it is as durable
    /// as the broker promises. The same key in the same scope is answered with the first position.
    Publish {
        /// To be answered.
        id: RequestId,
        /// What.
        draft: Draft,
    },
    /// Send this channel's publications from now on; answered by `Followed`. Following twice is
    /// answered twice and sends once.
    Follow {
        /// To be answered.
        id: RequestId,
        /// Which.
        channel: ChannelName,
    },
    /// Stop sending them.
    Unfollow {
        /// Which.
        channel: ChannelName,
    },
    /// Send the publications of every channel that matches from now on; answered by `Followed`,
    /// whose head is that of the broker's own order: the epoch and the newest sequence. A worker is
    /// told of a publication once, however many of its channels and filters match.
    FollowFilter {
        /// To be answered.
        id: RequestId,
        /// Which.
        filter: Filter,
    },
    /// Stop sending what only this filter matches.
    UnfollowFilter {
        /// Which.
        filter: Filter,
    },
    /// Read retained publications of every channel that matches, in the broker's own order;
    /// answered by `FilterHistory`.
    FilterHistory {
        /// To be answered.
        id: RequestId,
        /// Which.
        filter: Filter,
        /// After which place in the broker's own order.
        after: Position,
        /// How many at most.
        limit: ReadLimit,
    },
    /// Keep a session's state for so long; an earlier state of it goes. It is as durable as the next
    /// publication.
    SaveSession {
        /// Whose.
        session: SessionId,
        /// The state.
        bytes: Bytes,
        /// From now.
        expiry: Duration,
    },
    /// Forget a session's state.
    DropSession {
        /// Whose.
        session: SessionId,
    },
    /// Give a session's state back; answered by `Session`.
    LoadSession {
        /// To be answered.
        id: RequestId,
        /// Whose.
        session: SessionId,
    },
    /// Read retained publications; answered by `History`.
    History {
        /// To be answered.
        id: RequestId,
        /// Of which channel.
        channel: ChannelName,
        /// From where.
        from: ReadFrom,
        /// How many at most.
        limit: ReadLimit,
    },
    /// Read the channel's state; answered by `State`.
    State {
        /// To be answered.
        id: RequestId,
        /// Of which channel.
        channel: ChannelName,
    },
    /// A member is there, held by this worker's lease. Members who are there already don't join
    /// again; a claim with a higher `generation` takes the member over.
    Join {
        /// Where.
        channel: ChannelName,
        /// Who.
        member: Arc<Member>,
        /// Which of the session's connections it is on: the highest claim counts.
        generation: u64,
    },
    /// A member went; ignored when a later claim holds it.
    Leave {
        /// Where.
        channel: ChannelName,
        /// Who.
        session: SessionId,
        /// The claim that ends.
        generation: u64,
        /// How long to wait for it to come back; zero for a proper goodbye.
        grace: Duration,
    },
    /// Who is there; answered by `Members`.
    Members {
        /// To be answered.
        id: RequestId,
        /// Where.
        channel: ChannelName,
        /// How many at most.
        limit: u32,
    },
    /// A consumer has come so far; answered by `Acked` once that is as durable as a publication.
    /// Within an epoch it never goes back.
    Ack {
        /// To be answered.
        id: RequestId,
        /// In which channel.
        channel: ChannelName,
        /// The user whose consumer it is; empty for strangers, who share theirs.
        scope: Arc<str>,
        /// Which.
        consumer: Key,
        /// How far; none only asks.
        position: Option<Position>,
    },
    /// Ask all workers who has received a publication; answered by `Receipts`, or fails with
    /// [`BrokerFailure::UnknownPosition`] where there is none at this position.
    Receipts {
        /// To be answered.
        id: RequestId,
        /// Where.
        channel: ChannelName,
        /// Which.
        position: Position,
    },
    /// What this worker knows, asked by `AskReceipts`.
    Found {
        /// The question.
        ask: AskId,
        /// The answer; none when it was asked too often.
        receipts: Option<Receipts>,
    },
    /// This worker lives: its members stay for so long again.
    Renew {
        /// From now.
        lease: Duration,
    },
}

/// A channel's stream as of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The position of the newest publication; offset 0 before the first.
    pub head: Position,
    /// The offset of the oldest one retained; one more than that of `head` when there is none.
    pub first: u64,
    /// Why those before `first` went.
    pub trimmed: Trimmed,
}

/// Why the oldest publications of a stream went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trimmed {
    /// More than the channel keeps, by count or bytes.
    #[default]
    BySize,
    /// Older than the channel keeps.
    ByAge,
    /// They can't be read: the disk returned something else than was written.
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

/// Something a broker tells one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerEvent {
    /// It is published.
    Published {
        /// The answered request.
        id: RequestId,
        /// Where it stands.
        position: Position,
        /// Whether it stood there before.
        duplicate: bool,
    },
    /// The channel is followed.
    Followed {
        /// The answered request.
        id: RequestId,
        /// Everything after this head will be told.
        stream: StreamState,
    },
    /// Retained publications, oldest first, without a hole.
    History {
        /// The answered request.
        id: RequestId,
        /// The stream as of the read.
        stream: StreamState,
        /// How the position that it began with was resolved.
        start: ReadStart,
        /// What was read.
        publications: Vec<Arc<Publication>>,
    },
    /// A channel's state: the newest publication of each key, in the order of their offsets. Whoever
    /// has these and then everything after the head has missed no value.
    State {
        /// The answered request.
        id: RequestId,
        /// The stream as of the read.
        stream: StreamState,
        /// The values.
        values: Vec<Arc<Publication>>,
    },
    /// Who is there.
    Members {
        /// The answered request.
        id: RequestId,
        /// The first of them.
        members: Vec<Arc<Member>>,
        /// How many there are.
        total: u64,
    },
    /// How far a consumer has come.
    Acked {
        /// The answered request.
        id: RequestId,
        /// None when it never acknowledged anything.
        position: Option<Position>,
    },
    /// Who has it.
    Receipts {
        /// The answered request.
        id: RequestId,
        /// All that the workers know.
        receipts: Receipts,
    },
    /// Who of this worker's subscribers has it? To be answered by `Found`.
    AskReceipts {
        /// The question.
        ask: AskId,
        /// Where.
        channel: ChannelName,
        /// Which.
        position: Position,
    },
    /// The request failed.
    Failed {
        /// The answered request.
        id: RequestId,
        /// Why.
        failure: BrokerFailure,
    },
    /// A followed channel has a new publication.
    Publication(Arc<Publication>),
    /// A followed channel has a member more or less.
    Presence(Arc<PresenceChange>),
    /// Retained publications of channels that match a filter, in the broker's own order.
    FilterHistory {
        /// The answered request.
        id: RequestId,
        /// The broker's newest place as of the read: where there is no more to read, the reader is
        /// there.
        head: Position,
        /// How the place that it began with was resolved.
        start: ReadStart,
        /// What is missing in the channels, before the publications.
        gaps: Vec<ChannelGap>,
        /// What was read; none is the end.
        publications: Vec<Arc<Publication>>,
    },
    /// A session's state.
    Session {
        /// The answered request.
        id: RequestId,
        /// As it was saved last; none where there is none, or no longer.
        bytes: Option<Bytes>,
    },
    /// This worker's lease had run out, and its members have left: it has to join them again.
    LeaseEnded,
    /// Publications or joins and leaves were left out at this place in the order: the worker took
    /// too long.
    Lagged,
}

/// What is missing in one of the channels that a filter matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelGap {
    /// Where.
    pub channel: ChannelName,
    /// After which position in the channel.
    pub from: Position,
    /// Up to which.
    pub to: Position,
    /// Why.
    pub reason: GapReason,
}

/// Somebody joined or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// Where.
    pub channel: ChannelName,
    /// Who.
    pub member: Arc<Member>,
    /// Came, or went.
    pub joined: bool,
}

/// Why a broker could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BrokerFailure {
    /// Too much is queued.
    Busy,
    /// No space on the disk.
    StorageFull,
    /// The disk failed otherwise.
    StorageFailed,
    /// What is on the disk can't be read.
    StorageCorrupt,
    /// No rule allows this channel.
    UnknownChannel,
    /// The user has as many consumers in this channel as go.
    TooManyConsumers,
    /// There are as many channels as the broker takes.
    TooManyChannels,
    /// The position is not one of the stream.
    UnknownPosition,
}

impl From<BrokerFailure> for Refusal {
    fn from(failure: BrokerFailure) -> Self {
        let (code, detail) = match failure {
            BrokerFailure::Busy => (ErrorCode::Busy, "the broker has too much queued"),
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
                "part of the server's log can't be read; its operator has to repair it",
            ),
            BrokerFailure::UnknownChannel => (
                ErrorCode::UnknownChannel,
                "no rule of the server's configuration allows it",
            ),
            BrokerFailure::TooManyChannels => (
                ErrorCode::Busy,
                "the server has as many channels as it takes; leave some, or try again later",
            ),
            BrokerFailure::UnknownPosition => (
                ErrorCode::BadRequest,
                "this position was never given out in this channel; acknowledge one that was received",
            ),
            BrokerFailure::TooManyConsumers => (
                ErrorCode::TooManyConsumers,
                "this user has too many consumers in this channel; use fewer names",
            ),
        };
        Self::new(code, detail)
    }
}
