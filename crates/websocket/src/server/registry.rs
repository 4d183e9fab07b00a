//! The connections a server has open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use slab::Slab;
use tokio::sync::Notify;

use crate::driver::Driver;

/// Knows every open connection of a server, to close them, and how many there are, to limit them.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    drivers: Mutex<Drivers>,
    /// The last one has left, or the server has come to the next stage.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Drivers {
    open: Slab<Weak<Driver>>,
    stage: Stage,
}

/// How far the server has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It takes connections.
    #[default]
    Open,
    /// It takes none, and waits for those it has.
    Stopping,
    /// It waits no longer.
    Cut,
}

/// A connection's place in the registry; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Arc<Registry>,
    key: usize,
}

impl Registry {
    fn drivers(&self) -> MutexGuard<'_, Drivers> {
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection that is being made, if fewer than `limit` are taken.
    pub(crate) fn take(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let mut drivers = self.drivers();
        if drivers.open.len() >= limit || drivers.stage != Stage::Open {
            return None;
        }
        let key = drivers.open.insert(Weak::new());
        Some(Place {
            registry: Arc::clone(self),
            key,
        })
    }

    /// Comes to a stage, and gives the connections that are open.
    pub(crate) fn enter(&self, stage: Stage) -> Vec<Arc<Driver>> {
        let mut drivers = self.drivers();
        drivers.stage = drivers.stage.max(stage);
        self.changed.notify_waiters();
        drivers
            .open
            .iter()
            .filter_map(|(_, driver)| driver.upgrade())
            .collect()
    }

    /// Waits until the server has [come](Self::enter) to this stage.
    pub(crate) async fn reached(&self, stage: Stage) {
        self.until(|drivers| drivers.stage >= stage).await;
    }

    /// Waits until every place is free, or nobody waits for those that are not.
    pub(crate) async fn emptied(&self) {
        self.until(|drivers| drivers.open.is_empty() || drivers.stage == Stage::Cut)
            .await;
    }

    async fn until(&self, is_so: impl Fn(&Drivers) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.drivers()) {
                return;
            }
            changed.await;
        }
    }
}

impl Place {
    /// The registry it is in.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Says which connection has it. `false` if the server stops: then it was not there to be
    /// closed with the others.
    pub(crate) fn fill(&self, driver: &Arc<Driver>) -> bool {
        let mut drivers = self.registry.drivers();
        if let Some(place) = drivers.open.get_mut(self.key) {
            *place = Arc::downgrade(driver);
        }
        drivers.stage == Stage::Open
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut drivers = self.registry.drivers();
        drivers.open.try_remove(self.key);
        if drivers.open.is_empty() {
            self.registry.changed.notify_waiters();
        }
    }
}
