//! The contract of brokers.

use std::{fmt::Debug, sync::Arc};

use offhook_engine::{BrokerRequest, Now};

use crate::mailbox::Mailbox;

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

    /// Advances the time: expires leases, trims old publications, retries what failed. Call it
    /// about once a second, from any thread.
    fn tick(&self, now: Now);

    /// How the broker is, for health checks and for people.
    fn health(&self) -> Health;
}
