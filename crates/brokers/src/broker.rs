//! The contract.

use std::{fmt::Debug, sync::Arc};

use offhook_engine::{BrokerRequest, Now};

use crate::mailbox::Mailbox;

/// Names a worker at a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

/// How a broker is. What is not `Good` says in words what happened and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Everything is stored as promised.
    Good,
    /// Nothing can be stored now; tried again by itself.
    Failing(String),
    /// Something stored can't be read; an operator has to look.
    Corrupt(String),
}

impl Health {
    /// Whether everything is as promised.
    #[must_use]
    pub fn is_good(&self) -> bool {
        *self == Self::Good
    }
}

/// What every broker does; the words are in [`BrokerRequest`] and
/// [`BrokerEvent`](offhook_engine::BrokerEvent), and so is the order that is kept.
///
/// Beyond that order:
///
/// - A publication is acknowledged only once it is as durable as this broker promises; what was
///   acknowledged is there after any crash, once, at its position.
/// - The same key from the same user in the same channel within the rule's `key_window` is
///   answered with the first position, across restarts where the broker is durable.
/// - Offsets of an epoch begin at 1 and have no holes; retention takes from the oldest end only.
/// - Nothing blocks the caller, nothing grows without a bound: what is too much is answered
///   with [`Busy`](offhook_engine::BrokerFailure::Busy), news that a worker does not take become
///   [`Lagged`](offhook_engine::BrokerEvent::Lagged).
pub trait Broker: Send + Sync + Debug {
    /// A worker begins; its answers and news go to this mailbox.
    fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId;

    /// A worker ends. Members it still holds leave with the next tick.
    fn detach(&self, worker: WorkerId);

    /// Takes a request. Its answer, if it has one, comes to the worker's mailbox; possibly
    /// before this returns.
    fn submit(&self, worker: WorkerId, request: BrokerRequest);

    /// Tells the time: leases run out, old publications go, what failed is tried again. Call it
    /// about once a second, from anywhere.
    fn tick(&self, now: Now);

    /// How the broker is, for health checks and for people.
    fn health(&self) -> Health;
}
