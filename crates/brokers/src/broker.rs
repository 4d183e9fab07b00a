//! The contract of brokers.

use std::{fmt::Debug, sync::Arc};

use offhook_engine::{BrokerRequest, ChannelName, Now, RuleBook};

use crate::{changes::Changes, mailbox::Mailbox};

/// Identifies a worker at a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

/// The health of a broker. If it is not `Good`, the text says what happened and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Everything is stored as guaranteed.
    Good,
    /// Nothing can be stored at present; the broker keeps retrying.
    Failing(String),
    /// Stored data cannot be read; an operator must act.
    Corrupt(String),
}

impl Health {
    /// Whether everything is stored as guaranteed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        *self == Self::Good
    }
}

/// What a broker may hold, whatever strangers do. Each bound says its default and why.
///
/// What loses when memory is short, in this order: the oldest idempotency keys of channels in memory,
/// then their oldest history (a gap says so), then their state, each in the channel that is published in
/// and, with the ticks, in all others; then channels that are new, which are refused as
/// [`TooManyChannels`](offhook_engine::BrokerFailure::TooManyChannels). Channels on disk lose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of memory for channels: names that somebody follows, members, sessions' states, and the
    /// keys, history and state of channels that live in memory. Default 512 MiB: a million names, and
    /// as much again for what is in them.
    pub memory_bytes: usize,
    /// Channels on disk. A name that was published in once stays, so that its positions do. Default
    /// 1,000,000: some 200 MB of disk.
    pub channels: u32,
    /// Bytes of the log on disk; beyond it publications are refused as
    /// [`StorageFull`](offhook_engine::BrokerFailure::StorageFull). Default none: the disk's size is
    /// the bound.
    pub disk_bytes: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            channels: 1_000_000,
            disk_bytes: None,
        }
    }
}

/// What a broker holds now, as counted for its [`Budget`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of memory for channels, about.
    pub memory_bytes: usize,
    /// Channels that have an entry in memory, on disk or not.
    pub open_channels: usize,
    /// Channels on disk.
    pub channels: u32,
    /// Bytes of the log on disk, as of the last tick.
    pub disk_bytes: u64,
}

/// A channel that somebody subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// Its name.
    pub channel: ChannelName,
    /// The number of its members; 0 in a channel without presence.
    pub members: u64,
}

/// What every broker does; the words are in [`BrokerRequest`] and
/// [`BrokerEvent`](offhook_engine::BrokerEvent), and so is the order that is kept.
///
/// In addition:
///
/// - A publication is acknowledged only once it is as durable as this broker guarantees. An
///   acknowledged publication is present after any crash, once, at its position.
/// - The same key from the same user in the same channel within the rule's `key_window` is answered
///   with the first position, across restarts if the broker is durable.
/// - Offsets of an epoch start at 1 and have no holes; retention removes only the oldest
///   publications.
/// - Nothing blocks the caller, and everything is bounded. Excess requests are answered with
///   [`Busy`](offhook_engine::BrokerFailure::Busy); updates that a worker does not take become
///   [`Lagged`](offhook_engine::BrokerEvent::Lagged).
pub trait Broker: Send + Sync + Debug {
    /// Registers a worker; its answers and updates are put into this mailbox.
    fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId;

    /// Removes a worker. Members it still holds leave with the next tick.
    fn detach(&self, worker: WorkerId);

    /// Handles a request. Its answer, if it has one, is put into the worker's mailbox, possibly
    /// before this returns.
    fn submit(&self, worker: WorkerId, request: BrokerRequest);

    /// Tells the time. A wall clock that steps forward is followed at a bounded speed, so that one that is
    /// wrong for a moment takes nothing away. Then leases run out, old publications go, what failed is tried again. Call it
    /// about once a second, from anywhere.
    fn tick(&self, now: Now);

    /// Exchanges the rules of channels while it runs. What is retained is trimmed by the new ones from
    /// the next ticks on. A channel that moves between memory and disk begins a stream of its own there;
    /// who had positions in the other one is told of a gap.
    fn set_rules(&self, rules: Arc<RuleBook>);

    /// How the broker is, for health checks and for people.
    fn health(&self) -> Health;

    /// Puts what happens to channels into this queue from now on, in the order in which it happens in
    /// each channel. It replaces an earlier queue.
    fn observe(&self, changes: Arc<Changes>);

    /// The channels that somebody subscribes to and whose names start with a prefix, in the order of
    /// their names' bytes, after this name, at most so many. Takes time proportional to their number.
    fn occupied(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Occupied>;

    /// What the broker holds. Cheap enough to be asked several times a second.
    fn held(&self) -> Held;
}
