//! Groups of subscriptions that share publications.

use offhook_engine::{
    BrokerEvent, BrokerFailure, SavedShare, ShareName, ShareRequest, Shares, Woken,
};

use super::{Hub, registry::Registry};
use crate::broker::WorkerId;

impl Hub {
    /// Handles a request about a group.
    pub(crate) fn share(&self, worker: WorkerId, name: &ShareName, request: ShareRequest) {
        let now_ms = self.bus().now().unix_ms;
        let mut registry = self.registry();
        let registry = &mut *registry;
        let shares = &mut registry.shares;
        match request {
            ShareRequest::Join { id, after, keep } => {
                let known = shares.knows(name);
                let saved = || registry.sessions.load(name.saved_as(), now_ms);
                let saved = if known { None } else { saved() };
                let start = (after, keep);
                let joined = shares.join(name, worker, start, saved.as_deref());
                let bus = self.bus();
                match joined {
                    Ok(next) => {
                        let (claims, full) = (Vec::new(), false);
                        let event = BrokerEvent::Claimed {
                            id,
                            claims,
                            next,
                            full,
                        };
                        bus.tell(worker, event);
                    }
                    Err(_too_many) => bus.tell_failed(worker, id, BrokerFailure::TooManyGroups),
                }
            }
            ShareRequest::Claim { id, after, places } => {
                let claimed = shares.claim(name, worker, after, &places);
                let event = BrokerEvent::Claimed {
                    id,
                    claims: claimed.claims,
                    next: claimed.next,
                    full: claimed.full,
                };
                self.bus().tell(worker, event);
            }
            ShareRequest::Done { places } => {
                let woken = shares.done(name, worker, &places);
                self.wake(name, woken);
            }
            ShareRequest::Return { places, delivered } => {
                let woken = shares.give_back(name, worker, &places, delivered);
                self.wake(name, woken);
            }
            ShareRequest::Leave { keep } => {
                let (woken, saved) = shares.leave(name, worker, keep, now_ms);
                self.wake(name, woken);
                if let Some(saved) = saved {
                    save(registry, saved, self.stamp_ms());
                }
            }
        }
    }

    /// A worker is gone: what it had claimed returns.
    pub(super) fn shares_without(&self, registry: &mut Registry, worker: WorkerId, now_ms: u64) {
        let (woken, saved) = registry.shares.worker_gone(worker, now_ms);
        for (name, woken) in woken {
            self.wake(&name, woken);
        }
        let stamp_ms = self.stamp_ms();
        for saved in saved {
            save(registry, saved, stamp_ms);
        }
    }

    /// Saves the groups that need it.
    pub(crate) fn save_shares(&self) {
        let (now_ms, stamp_ms) = (self.bus().now().unix_ms, self.stamp_ms());
        let mut registry = self.registry();
        for saved in registry.shares.unsaved(now_ms) {
            save(&mut registry, saved, stamp_ms);
        }
    }

    fn wake(&self, name: &ShareName, woken: Woken<WorkerId>) {
        let bus = self.bus();
        for (worker, after) in woken {
            let name = name.clone();
            bus.tell(worker, BrokerEvent::Returned { name, after });
        }
    }
}

/// Stores a group's state, as that of a session.
fn save(registry: &mut Registry, saved: SavedShare, stamp_ms: u64) {
    let SavedShare { id, state } = saved;
    match state {
        Some((bytes, keep)) => registry.sessions.save(id, bytes, keep, stamp_ms),
        None => registry.sessions.drop(id),
    }
}

/// The groups of a registry.
pub(super) type Groups = Shares<WorkerId>;
