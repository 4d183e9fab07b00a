//! The memory broker.

use std::sync::Arc;

use offhook_engine::{BrokerRequest, Now, RuleBook};

use crate::{
    broker::{Broker, Health, WorkerId},
    hub::Hub,
    lineage::fresh_epoch,
    mailbox::Mailbox,
};

/// Keeps everything in memory: for tests, and for servers whose channels may be lost with the
/// process. It guarantees no durability; every start begins a new epoch.
#[derive(Debug)]
pub struct Memory(Hub);

impl Memory {
    /// A broker without streams.
    #[must_use]
    pub fn new(rules: Arc<RuleBook>, now: Now) -> Self {
        Self(Hub::new(rules, fresh_epoch(None, now), 0, now))
    }
}

impl Broker for Memory {
    fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId {
        self.0.attach(mailbox)
    }

    fn detach(&self, worker: WorkerId) {
        self.0.detach(worker);
    }

    fn submit(&self, worker: WorkerId, request: BrokerRequest) {
        self.0.handle(worker, request);
    }

    fn tick(&self, now: Now) {
        self.0.tick(now);
        let _nothing_to_write = self.0.end_sessions(now);
    }

    fn health(&self) -> Health {
        Health::Good
    }
}
