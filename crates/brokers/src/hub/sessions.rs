//! Sessions' states, kept while they have no connection: opaque bytes with an expiry.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
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

/// Approximate bytes of an id in the sets of what is to be written and of what was.
const ID: usize = 40;

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
    /// None for a broker that writes nothing.
    unwritten: Option<Unwritten>,
}

/// Which states differ from those on disk. There is no queue of states: what is written is the present
/// state of each, so that a disk that stalls costs one id for each session that changed.
#[derive(Debug, Default)]
struct Unwritten {
    /// Sessions whose states are to be written or deleted.
    changed: HashSet<SessionId>,
    /// Sessions that may have a state on disk: for any other, nothing has to be deleted.
    on_disk: HashSet<SessionId>,
}

impl Unwritten {
    fn saved(&mut self, session: SessionId) {
        self.changed.insert(session);
    }

    fn dropped(&mut self, session: SessionId) {
        if self.on_disk.contains(&session) {
            self.changed.insert(session);
        } else {
            self.changed.remove(&session);
        }
    }
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
            unwritten: None,
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

    pub(crate) fn save(&mut self, session: SessionId, bytes: Bytes, expiry: Duration, now_ms: u64) {
        let expiry_ms = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
        let ends_ms = now_ms.saturating_add(expiry_ms);
        let shelf = self.shelf(session, &bytes);
        let pushed_out = shelf.save(session, Saved { bytes, ends_ms });
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.saved(session);
            for other in pushed_out {
                unwritten.dropped(other);
            }
        }
    }

    /// Restores the sessions that are on disk. From now on, [`take_changed`](Self::take_changed) says
    /// what is to be written.
    pub(crate) fn restore(&mut self, all: impl IntoIterator<Item = (SessionId, Saved)>) {
        let mut unwritten = Unwritten::default();
        for (session, saved) in all {
            self.shelf(session, &saved.bytes).put(session, saved);
            unwritten.on_disk.insert(session);
        }
        self.unwritten = Some(unwritten);
    }

    pub(crate) fn load(&self, session: SessionId, now_ms: u64) -> Option<Bytes> {
        let saved = self.saved(session)?;
        (saved.ends_ms > now_ms).then(|| saved.bytes.clone())
    }

    fn saved(&self, session: SessionId) -> Option<&Saved> {
        let saved = self.sessions.saved.get(&session);
        saved.or_else(|| self.groups.saved.get(&session))
    }

    pub(crate) fn drop(&mut self, session: SessionId) {
        if self.sessions.drop(session) | self.groups.drop(session)
            && let Some(unwritten) = &mut self.unwritten
        {
            unwritten.dropped(session);
        }
    }

    /// Bytes of all stored states, and of what is known of those on disk.
    pub(crate) fn weight(&self) -> usize {
        let unwritten = self.unwritten.as_ref();
        let ids = unwritten.map_or(0, |of| of.changed.len() + of.on_disk.len());
        self.sessions.bytes + self.groups.bytes + ids * ID
    }

    /// Forgets those whose time is over.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let mut ended = self.sessions.tick(now_ms);
        ended.extend(self.groups.tick(now_ms));
        if let Some(unwritten) = &mut self.unwritten {
            for session in ended {
                unwritten.dropped(session);
            }
        }
    }

    /// Takes the sessions whose states are to be written. If that fails, the caller must
    /// return them with [`not_written`](Self::not_written).
    pub(crate) fn take_changed(&mut self) -> Vec<SessionId> {
        let changed = self.unwritten.as_mut().map(|of| &mut of.changed);
        let changed = changed.map_or_else(HashSet::new, std::mem::take);
        changed.into_iter().collect()
    }

    /// The present state of a session that is being written.
    pub(crate) fn next_write(&mut self, session: SessionId) -> Change {
        let saved = self.saved(session).cloned();
        if saved.is_some()
            && let Some(unwritten) = &mut self.unwritten
        {
            // Also if it fails: it is not known then what of it is on disk.
            unwritten.on_disk.insert(session);
        }
        (session, saved)
    }

    /// The deletion of these sessions' states is on disk.
    pub(crate) fn deleted(&mut self, sessions: &[SessionId]) {
        if let Some(unwritten) = &mut self.unwritten {
            for session in sessions {
                unwritten.on_disk.remove(session);
            }
            shrink(&mut unwritten.on_disk);
        }
    }

    /// Writing these sessions' states failed: they are to be written again.
    pub(crate) fn not_written(&mut self, sessions: &[SessionId]) {
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.changed.extend(sessions);
        }
    }
}

/// Frees memory after a peak.
fn shrink(ids: &mut HashSet<SessionId>) {
    if ids.capacity() > 4 * ids.len().max(1024) {
        ids.shrink_to_fit();
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

    /// Returns those that it pushed out.
    fn save(&mut self, session: SessionId, saved: Saved) -> Vec<SessionId> {
        let mut pushed_out = Vec::new();
        self.put(session, saved);
        while self.saved.len() > self.budget.count || self.bytes > self.budget.bytes {
            let Some((_, soonest)) = self.by_end.first().copied() else {
                break;
            };
            self.drop(soonest);
            pushed_out.push(soonest);
        }
        pushed_out
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

    fn tick(&mut self, now_ms: u64) -> Vec<SessionId> {
        let mut ended = Vec::new();
        while let Some((_, session)) = self.by_end.first().filter(|(at, _)| *at <= now_ms).copied()
        {
            self.drop(session);
            ended.push(session);
        }
        ended
    }
}

#[cfg(test)]
mod tests;
