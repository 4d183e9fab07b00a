//! The connections a server has open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use slab::Slab;
use tokio::sync::Notify;

use crate::line::Line;

/// Knows every open connection of a server, to close them, and how many there are, to limit them.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    lines: Mutex<Lines>,
    /// The last one has left, or nobody waits for it any more.
    over: Notify,
    /// The server stops.
    stop: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    open: Slab<Weak<Line>>,
    stopping: bool,
    abandoned: bool,
}

/// A connection's place in the registry; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Arc<Registry>,
    key: usize,
}

impl Registry {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection that is being made, if fewer than `limit` are taken.
    pub(crate) fn take(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let mut lines = self.lines();
        if lines.open.len() >= limit || lines.stopping {
            return None;
        }
        let key = lines.open.insert(Weak::new());
        Some(Place {
            registry: Arc::clone(self),
            key,
        })
    }

    /// Stops taking connections, and gives those that are open.
    pub(crate) fn stop(&self) -> Vec<Arc<Line>> {
        let mut lines = self.lines();
        lines.stopping = true;
        // One permit is kept for a server that has not come to wait yet.
        self.stop.notify_one();
        lines
            .open
            .iter()
            .filter_map(|(_, line)| line.upgrade())
            .collect()
    }

    /// Waits for [`stop`](Self::stop).
    pub(crate) async fn stopped(&self) {
        self.stop.notified().await;
    }

    /// Ends the waiting for those that are still there.
    pub(crate) fn abandon(&self) {
        self.lines().abandoned = true;
        self.over.notify_waiters();
    }

    /// Waits until every place is free, or those that are not are [abandoned](Self::abandon).
    pub(crate) async fn emptied(&self) {
        self.until(|lines| lines.open.is_empty() || lines.abandoned)
            .await;
    }

    /// Waits for [`abandon`](Self::abandon).
    pub(crate) async fn abandoned(&self) {
        self.until(|lines| lines.abandoned).await;
    }

    async fn until(&self, is_so: impl Fn(&Lines) -> bool) {
        loop {
            let over = self.over.notified();
            if is_so(&self.lines()) {
                return;
            }
            over.await;
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
    pub(crate) fn fill(&self, line: &Arc<Line>) -> bool {
        let mut lines = self.registry.lines();
        if let Some(place) = lines.open.get_mut(self.key) {
            *place = Arc::downgrade(line);
        }
        !lines.stopping
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.registry.lines();
        lines.open.try_remove(self.key);
        if lines.open.is_empty() {
            self.registry.over.notify_waiters();
        }
    }
}
