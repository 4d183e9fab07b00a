//! The memory broker.

use std::sync::Arc;

use offhook_engine::{BrokerRequest, Now, RuleBook};

use crate::{
    broker::{Broker, Budget, Health, Held, Occupied, WorkerId},
    changes::Changes,
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
        Self::within(Budget::default(), rules, now)
    }

    /// The same within a budget of one's own.
    #[must_use]
    pub fn within(budget: Budget, rules: Arc<RuleBook>, now: Now) -> Self {
        let epoch = fresh_epoch(None, now);
        Self(Hub::new(rules, epoch, 0, budget.memory_bytes, now))
    }
}

impl Broker for Memory {
    fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId {
        self.0.attach(mailbox)
    }

    fn detach(&self, worker: WorkerId) {
        self.0.detach(worker);
    }

    fn submit(&self, worker: WorkerId, request: BrokerRequest) -> Option<BrokerRequest> {
        self.0.handle(worker, request);
        None
    }

    fn submit_all(
        &self,
        worker: WorkerId,
        requests: &mut dyn Iterator<Item = BrokerRequest>,
    ) -> Vec<BrokerRequest> {
        for request in requests {
            self.0.handle(worker, request);
        }
        // Each takes effect at once, so that there is no queue.
        Vec::new()
    }

    fn tick(&self, now: Now) {
        let now = self.0.believe(now);
        self.0.tick(now);
        self.0.save_shares();
        self.0.end_sessions(now);
    }

    fn set_rules(&self, rules: Arc<RuleBook>) {
        self.0.set_rules(&rules, |_| false);
    }

    fn health(&self) -> Health {
        Health::Good
    }

    fn observe(&self, changes: Arc<Changes>) {
        self.0.observe(changes);
    }

    fn occupied(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Occupied> {
        self.0.occupied(prefix, after, limit)
    }

    fn held(&self) -> Held {
        self.0.held()
    }
}
