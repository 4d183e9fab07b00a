//! The open connections of a server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use slab::Slab;
use tokio::sync::Notify;

use crate::driver::Driver;

/// Tracks every open connection of a server, to close them and to limit their number.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    drivers: Mutex<Drivers>,
    /// The last connection has left, or the server has entered the next state.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Drivers {
    open: Slab<Weak<Driver>>,
    state: ServerState,
}

/// How far the server has progressed towards its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServerState {
    /// It accepts connections.
    #[default]
    Open,
    /// It accepts none, and waits for the open ones.
    Stopping,
    /// It no longer waits.
    Cut,
}

/// A connection's place in the registry; given up on drop.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Arc<Registry>,
    key: usize,
}

impl Registry {
    fn drivers(&self) -> MutexGuard<'_, Drivers> {
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a new connection, if fewer than `limit` are taken.
    pub(crate) fn take(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let mut drivers = self.drivers();
        if drivers.open.len() >= limit || drivers.state != ServerState::Open {
            return None;
        }
        let key = drivers.open.insert(Weak::new());
        Some(Place {
            registry: Arc::clone(self),
            key,
        })
    }

    /// Enters a state, and returns the open connections.
    pub(crate) fn enter(&self, state: ServerState) -> Vec<Arc<Driver>> {
        let mut drivers = self.drivers();
        drivers.state = drivers.state.max(state);
        self.changed.notify_waiters();
        drivers
            .open
            .iter()
            .filter_map(|(_, driver)| driver.upgrade())
            .collect()
    }

    /// Waits until the server has [entered](Self::enter) this state.
    pub(crate) async fn reached(&self, state: ServerState) {
        self.until(|drivers| drivers.state >= state).await;
    }

    /// Waits until every place is free, or the server no longer waits for them.
    pub(crate) async fn emptied(&self) {
        self.until(|drivers| drivers.open.is_empty() || drivers.state == ServerState::Cut)
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
    /// The registry of this place.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Records which connection holds this place. `false` if the server is stopping: then the
    /// connection was not closed with the others.
    pub(crate) fn fill(&self, driver: &Arc<Driver>) -> bool {
        let mut drivers = self.registry.drivers();
        if let Some(place) = drivers.open.get_mut(self.key) {
            *place = Arc::downgrade(driver);
        }
        drivers.state == ServerState::Open
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
