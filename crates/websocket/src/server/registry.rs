//! The connections a server has open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use slab::Slab;
use tokio::sync::Notify;

use crate::line::Line;

/// Knows every open connection of a server, to close them, and how many there are, to limit them.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    lines: Mutex<Lines>,
    /// The last one has left, or the server has come to the next stage.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    open: Slab<Weak<Line>>,
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
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection that is being made, if fewer than `limit` are taken.
    pub(crate) fn take(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let mut lines = self.lines();
        if lines.open.len() >= limit || lines.stage != Stage::Open {
            return None;
        }
        let key = lines.open.insert(Weak::new());
        Some(Place {
            registry: Arc::clone(self),
            key,
        })
    }

    /// Comes to a stage, and gives the connections that are open.
    pub(crate) fn enter(&self, stage: Stage) -> Vec<Arc<Line>> {
        let mut lines = self.lines();
        lines.stage = lines.stage.max(stage);
        self.changed.notify_waiters();
        lines
            .open
            .iter()
            .filter_map(|(_, line)| line.upgrade())
            .collect()
    }

    /// Waits until the server has [come](Self::enter) to this stage.
    pub(crate) async fn reached(&self, stage: Stage) {
        self.until(|lines| lines.stage >= stage).await;
    }

    /// Waits until every place is free, or nobody waits for those that are not.
    pub(crate) async fn emptied(&self) {
        self.until(|lines| lines.open.is_empty() || lines.stage == Stage::Cut)
            .await;
    }

    async fn until(&self, is_so: impl Fn(&Lines) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.lines()) {
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
    pub(crate) fn fill(&self, line: &Arc<Line>) -> bool {
        let mut lines = self.registry.lines();
        if let Some(place) = lines.open.get_mut(self.key) {
            *place = Arc::downgrade(line);
        }
        lines.stage == Stage::Open
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.registry.lines();
        lines.open.try_remove(self.key);
        if lines.open.is_empty() {
            self.registry.changed.notify_waiters();
        }
    }
}
