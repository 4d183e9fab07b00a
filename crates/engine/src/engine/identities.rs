//! Connections with equal identities or grants share them.
//!
//! A user may have several connections, and a backend usually gives many users the same grants. Each token is
//! decoded into an identity of its own; without sharing, most of a known user's memory would be copies.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Weak},
};

use crate::{delivery::ConnectionId, grant::Grant, session::Identity};

use super::{Engine, shrinking::shrink};

/// The number of lists of grants that new connections are compared with. 256: far more than a server has
/// kinds of users. Where every user has a list of their own, sharing is impossible, and this limits the memory
/// that is spent on looking for it.
const LISTS: usize = 256;

/// The lists of grants of recent connections, each at the place that its hash determines. A list does not stay
/// in use because of its entry, but its memory is freed only when another list takes its place.
#[derive(Debug, Default)]
pub(super) struct RecentGrants(Vec<Option<Weak<[Grant]>>>);

impl RecentGrants {
    /// The list in use that is equal to this one. If there is none, later connections find this one.
    fn equal_to(&mut self, grants: &Arc<[Grant]>) -> Option<Arc<[Grant]>> {
        if self.0.is_empty() {
            self.0.resize(LISTS, None);
        }
        // A collision costs only the sharing, so the hash need not be keyed.
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(grants);
        let place = self.0.get_mut(hash as usize % LISTS)?;
        let known = place.as_ref().and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known == grants) {
            return Some(known);
        }
        *place = Some(Arc::downgrade(grants));
        None
    }
}

/// The connections of each named user.
#[derive(Debug, Default)]
pub(super) struct Users(HashMap<Arc<str>, Theirs>);

/// The connections of one user. Most users have one, which then needs no memory of its own.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "most users have one connection, whose entry is then 24 bytes smaller"
)]
enum Theirs {
    One(ConnectionId),
    Several(Box<HashSet<ConnectionId>>),
}

impl Users {
    /// Adds a connection of a user; connections without a user are not recorded.
    pub(super) fn add(&mut self, user: &Arc<str>, new: ConnectionId) {
        if user.is_empty() {
            return;
        }
        match self.0.entry(Arc::clone(user)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Theirs::One(new));
            }
            Entry::Occupied(mut here) => match here.get_mut() {
                Theirs::One(first) => {
                    let both = HashSet::from([*first, new]);
                    here.insert(Theirs::Several(Box::new(both)));
                }
                Theirs::Several(all) => {
                    all.insert(new);
                }
            },
        }
    }

    /// Removes a connection of a user.
    pub(super) fn remove(&mut self, user: Arc<str>, old: ConnectionId) {
        let Entry::Occupied(mut here) = self.0.entry(user) else {
            return;
        };
        let left = match here.get_mut() {
            Theirs::One(one) => (*one != old).then_some(*one),
            Theirs::Several(all) => {
                all.remove(&old);
                if all.len() > 1 {
                    if all.len() < all.capacity() / 8 {
                        all.shrink_to(all.len() * 2);
                    }
                    return;
                }
                all.iter().next().copied()
            }
        };
        match left {
            Some(one) => drop(here.insert(Theirs::One(one))),
            None => drop(here.remove()),
        }
        shrink(&mut self.0);
    }

    /// The connections of a user, in any order.
    pub(super) fn of(&self, user: &str) -> Vec<ConnectionId> {
        match self.0.get(user) {
            None => Vec::new(),
            Some(Theirs::One(one)) => vec![*one],
            Some(Theirs::Several(all)) => all.iter().copied().collect(),
        }
    }

    /// One of the connections of a user.
    fn any_of(&self, user: &str) -> Option<ConnectionId> {
        match self.0.get(user)? {
            Theirs::One(one) => Some(*one),
            Theirs::Several(all) => all.iter().next().copied(),
        }
    }
}

impl Engine {
    /// An identity equal to this one that shares as much memory as possible with other connections: all of it
    /// with another connection of the user, or the grants with those of other users.
    pub(super) fn sharing(&mut self, mut identity: Arc<Identity>) -> Arc<Identity> {
        let other = match identity.user.is_empty() {
            true => Some(&self.stranger),
            false => self.users.any_of(&identity.user).and_then(|other| {
                let other = self.connections.get(other.into());
                other.map(|c| &c.identity)
            }),
        };
        if let Some(other) = other.filter(|other| **other == identity) {
            return Arc::clone(other);
        }
        let grants = match identity.grants.is_empty() {
            // An empty list that was collected has memory of its own.
            true => Some(Arc::clone(&self.stranger.grants)),
            false => self.recent_grants.equal_to(&identity.grants),
        };
        if let Some(grants) = grants.filter(|grants| !Arc::ptr_eq(grants, &identity.grants)) {
            Arc::make_mut(&mut identity).grants = grants;
        }
        identity
    }
}

#[cfg(test)]
mod tests;
