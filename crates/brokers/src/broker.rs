//! The contract of brokers.

use std::{fmt::Debug, sync::Arc};

use offhook_engine::{BrokerRequest, ChannelName, Now, RuleBook};

use crate::{changes::Changes, durations::CountedDurations, mailbox::Mailbox};

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

/// What a broker may hold, whatever its clients do. Each limit states its default and the reason.
///
/// When memory is short, the broker frees, in this order: the oldest idempotency keys of channels
/// in memory, then their oldest history (reported as a gap), then their state. It does so in the
/// channel that is published to and, with the ticks, in all others. After that, new channels are
/// refused as [`TooManyChannels`](offhook_engine::BrokerFailure::TooManyChannels). Channels on disk
/// lose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of memory for channels: the names of followed channels, members, the states of
    /// sessions, and the keys, history and state of channels in memory. Default 512 MiB: a million
    /// names, and as much again for their content.
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
    /// How many of these are for members.
    pub member_bytes: usize,
    /// Channels that have an entry in memory, on disk or not.
    pub open_channels: usize,
    /// Channels on disk.
    pub channels: u32,
    /// Bytes of the log on disk, as of the last tick.
    pub disk_bytes: u64,
}

/// Durations of a broker's work so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From a request to publish until the publication is as durable as guaranteed.
    pub publish: CountedDurations,
    /// Writing one batch of publications to the disk, including its fsync.
    pub commit: CountedDurations,
}

/// A channel that somebody subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// Its name.
    pub channel: ChannelName,
    /// The number of its members; 0 in a channel without presence.
    pub members: u64,
    /// The number of users among them; a member without a user name counts alone.
    pub users: u64,
}

/// The interface of all brokers. [`BrokerRequest`] and [`BrokerEvent`](offhook_engine::BrokerEvent)
/// define the requests, the events, and their order.
///
/// In addition:
///
/// - A publication is acknowledged only once it is as durable as this broker guarantees. An
///   acknowledged publication is present after any crash, once, at its position.
/// - The same key from the same user in the same channel within the rule's `key_window` is answered
///   with the first position, across restarts if the broker is durable.
/// - Offsets of an epoch start at 1 and have no holes; retention removes only the oldest
///   publications.
/// - Nothing blocks the caller, and everything is bounded. Publications and acknowledgements for which
///   there is no room are given back at once, so that the caller can keep their order; other excess
///   requests are answered with [`Busy`](offhook_engine::BrokerFailure::Busy). Updates that a worker
///   does not take become [`Lagged`](offhook_engine::BrokerEvent::Lagged).
pub trait Broker: Send + Sync + Debug {
    /// Registers a worker; its answers and updates are put into this mailbox.
    fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId;

    /// Removes a worker. Members it still holds leave with the next tick.
    fn detach(&self, worker: WorkerId);

    /// Handles a request. Its answer, if it has one, is put into the worker's mailbox, possibly
    /// before this returns. A publication or an acknowledgement for which there is no room is
    /// returned: it has no effect, and no other answer.
    fn submit(&self, worker: WorkerId, request: BrokerRequest) -> Option<BrokerRequest>;

    /// Handles several requests of a worker, in order. A broker whose own threads do some of the work
    /// wakes them once, when all requests are queued.
    ///
    /// Returns publications and acknowledgements for which there is no room, in order. Once one is
    /// not accepted, no later one of the same call in its channel is. They have no effect, and no
    /// other answer. Pass them to
    /// [`handle_not_accepted`](offhook_engine::Engine::handle_not_accepted) before the engine handles
    /// anything else: what is submitted later would otherwise overtake them.
    fn submit_all(
        &self,
        worker: WorkerId,
        requests: &mut dyn Iterator<Item = BrokerRequest>,
    ) -> Vec<BrokerRequest>;

    /// Passes the current time to the broker. A wall clock that steps forward is followed at a
    /// limited speed, so that a clock that is wrong for a moment causes no loss. Then the broker
    /// expires leases, removes old publications and retries failed operations. Call it about once a
    /// second, from any thread.
    fn tick(&self, now: Now);

    /// Replaces the rules of channels at runtime. Retained publications are trimmed by the new
    /// rules from the next ticks on. A channel that moves between memory and disk starts a new
    /// stream there; subscribers with positions in the old stream get a gap.
    fn set_rules(&self, rules: Arc<RuleBook>);

    /// How the broker is, for health checks and for people.
    fn health(&self) -> Health;

    /// Puts what happens to channels into this queue, too, from now on, in the order in which it happens in
    /// each channel. Earlier queues are kept.
    fn observe(&self, changes: Arc<Changes>);

    /// The channels that somebody subscribes to and whose names start with a prefix, in the order of
    /// their names' bytes, after this name, at most so many. Takes time proportional to their number.
    fn occupied(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Occupied>;

    /// What the broker holds. Cheap enough to be asked several times a second.
    fn held(&self) -> Held;

    /// Durations of its work. A broker without a disk has none to report.
    fn timings(&self) -> Timings {
        Timings::default()
    }
}
