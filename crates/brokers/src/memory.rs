//! The memory broker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use offhook_engine::{BrokerRequest, Now, RuleBook};

use crate::{
    broker::{Broker, Health, WorkerId},
    hub::Hub,
    mailbox::Mailbox,
};

/// Keeps everything in memory: for tests, and for servers whose channels may begin anew with
/// the process. Its promise of durability is none; every start is a new epoch.
#[derive(Debug)]
pub struct Memory(Mutex<Hub>);

impl Memory {
    /// A broker without streams.
    #[must_use]
    pub fn new(rules: Arc<RuleBook>, now: Now) -> Self {
        Self(Mutex::new(Hub::new(rules, Arc::default(), now)))
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker for Memory {
    fn attach(&self, mailbox: Arc<Mailbox>) -> WorkerId {
        self.hub().attach(mailbox)
    }

    fn detach(&self, worker: WorkerId) {
        self.hub().detach(worker);
    }

    fn submit(&self, worker: WorkerId, request: BrokerRequest) {
        self.hub().handle(worker, request);
    }

    fn tick(&self, now: Now) {
        self.hub().tick(now);
    }

    fn health(&self) -> Health {
        Health::Good
    }
}
