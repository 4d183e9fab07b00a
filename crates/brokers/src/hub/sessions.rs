//! Sessions' states, kept while they have no connection: opaque bytes with an expiry.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use offhook_engine::{SessionId, is_saved_share};

/// The maximum number of sessions and of their bytes. Beyond it, the ones that expire soonest are
/// dropped: a crowd of short-lived sessions does not push out a device that returns once a day.
const SESSIONS: Budget = Budget {
    count: 100_000,
    bytes: 64 << 20,
};

/// The same for the states of groups that share publications: they never push out a session. 10,000
/// is also the limit of groups with members, and the largest group has 1.2 MB.
const GROUPS: Budget = Budget {
    count: 10_000,
    bytes: 64 << 20,
};

/// The overhead of a session's entry beyond its bytes.
const OVERHEAD: usize = 128;

/// A session's state, and its expiry in wall-clock milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) bytes: Bytes,
    pub(crate) ends_ms: u64,
}

/// What a durable broker must write: none for a session that is deleted.
pub(crate) type Change = (SessionId, Option<Saved>);

#[derive(Clone, Copy, Debug)]
struct Budget {
    count: usize,
    bytes: usize,
}

/// The states of sessions, and those of groups.
#[derive(Debug)]
pub(crate) struct Sessions {
    sessions: Shelf,
    groups: Shelf,
}

/// Stored states with a budget of their own.
#[derive(Debug)]
struct Shelf {
    budget: Budget,
    saved: HashMap<SessionId, Saved>,
    by_end: BTreeSet<(u64, SessionId)>,
    bytes: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            sessions: Shelf::new(SESSIONS),
            groups: Shelf::new(GROUPS),
        }
    }
}

impl Sessions {
    fn shelf(&mut self, session: SessionId, bytes: &[u8]) -> &mut Shelf {
        match is_saved_share(session, bytes) {
            true => &mut self.groups,
            false => &mut self.sessions,
        }
    }

    pub(crate) fn save(
        &mut self,
        session: SessionId,
        bytes: Bytes,
        expiry: Duration,
        now_ms: u64,
    ) -> Vec<Change> {
        let expiry_ms = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
        let ends_ms = now_ms.saturating_add(expiry_ms);
        let shelf = self.shelf(session, &bytes);
        shelf.save(session, Saved { bytes, ends_ms })
    }

    /// Restores a saved session.
    pub(crate) fn restore(&mut self, session: SessionId, saved: Saved) {
        self.shelf(session, &saved.bytes).put(session, saved);
    }

    pub(crate) fn load(&self, session: SessionId, now_ms: u64) -> Option<Bytes> {
        let saved = self.sessions.saved.get(&session);
        let saved = saved.or_else(|| self.groups.saved.get(&session))?;
        (saved.ends_ms > now_ms).then(|| saved.bytes.clone())
    }

    /// Returns whether the session existed.
    pub(crate) fn drop(&mut self, session: SessionId) -> bool {
        self.sessions.drop(session) | self.groups.drop(session)
    }

    /// Bytes of all stored states.
    pub(crate) const fn weight(&self) -> usize {
        self.sessions.bytes + self.groups.bytes
    }

    /// Forgets those whose time is over.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Vec<Change> {
        let mut ended = self.sessions.tick(now_ms);
        ended.extend(self.groups.tick(now_ms));
        ended
    }
}

impl Shelf {
    fn new(budget: Budget) -> Self {
        Self {
            budget,
            saved: HashMap::new(),
            by_end: BTreeSet::new(),
            bytes: 0,
        }
    }

    fn save(&mut self, session: SessionId, saved: Saved) -> Vec<Change> {
        let mut changes = vec![(session, Some(saved.clone()))];
        self.put(session, saved);
        while self.saved.len() > self.budget.count || self.bytes > self.budget.bytes {
            let Some((_, soonest)) = self.by_end.first().copied() else {
                break;
            };
            self.drop(soonest);
            changes.push((soonest, None));
        }
        changes
    }

    fn put(&mut self, session: SessionId, saved: Saved) {
        self.drop(session);
        self.by_end.insert((saved.ends_ms, session));
        self.bytes += saved.bytes.len() + OVERHEAD;
        self.saved.insert(session, saved);
    }

    fn drop(&mut self, session: SessionId) -> bool {
        let Some(saved) = self.saved.remove(&session) else {
            return false;
        };
        self.by_end.remove(&(saved.ends_ms, session));
        self.bytes -= saved.bytes.len() + OVERHEAD;
        true
    }

    fn tick(&mut self, now_ms: u64) -> Vec<Change> {
        let mut ended = Vec::new();
        while let Some((_, session)) = self.by_end.first().filter(|(at, _)| *at <= now_ms).copied()
        {
            self.drop(session);
            ended.push((session, None));
        }
        ended
    }
}

#[cfg(test)]
mod tests;
