//! Sessions' states, kept while they have no connection: opaque bytes with an expiry.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use offhook_engine::SessionId;

/// The maximum number of sessions and of their bytes. Beyond it, the ones that expire soonest are
/// dropped: a crowd of short-lived sessions does not push out a device that returns once a day.
const COUNT: usize = 100_000;
const BYTES: usize = 64 << 20;

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

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    saved: HashMap<SessionId, Saved>,
    by_end: BTreeSet<(u64, SessionId)>,
    bytes: usize,
}

impl Sessions {
    pub(crate) fn save(
        &mut self,
        session: SessionId,
        bytes: Bytes,
        expiry: Duration,
        now_ms: u64,
    ) -> Vec<Change> {
        let expiry_ms = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
        let ends_ms = now_ms.saturating_add(expiry_ms);
        let saved = Saved { bytes, ends_ms };
        let mut changes = vec![(session, Some(saved.clone()))];
        self.restore(session, saved);
        while self.saved.len() > COUNT || self.bytes > BYTES {
            let Some((_, soonest)) = self.by_end.first().copied() else {
                break;
            };
            self.drop(soonest);
            changes.push((soonest, None));
        }
        changes
    }

    /// Restores a saved session.
    pub(crate) fn restore(&mut self, session: SessionId, saved: Saved) {
        self.drop(session);
        self.by_end.insert((saved.ends_ms, session));
        self.bytes += saved.bytes.len() + OVERHEAD;
        self.saved.insert(session, saved);
    }

    pub(crate) fn load(&self, session: SessionId, now_ms: u64) -> Option<Bytes> {
        let saved = self.saved.get(&session)?;
        (saved.ends_ms > now_ms).then(|| saved.bytes.clone())
    }

    /// Returns whether the session existed.
    pub(crate) fn drop(&mut self, session: SessionId) -> bool {
        let Some(saved) = self.saved.remove(&session) else {
            return false;
        };
        self.by_end.remove(&(saved.ends_ms, session));
        self.bytes -= saved.bytes.len() + OVERHEAD;
        true
    }

    /// Bytes of all stored states.
    pub(crate) const fn weight(&self) -> usize {
        self.bytes
    }

    /// Forgets those whose time is over.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Vec<Change> {
        let mut ended = Vec::new();
        while let Some((_, session)) = self.by_end.first().filter(|(at, _)| *at <= now_ms).copied()
        {
            self.drop(session);
            ended.push((session, None));
        }
        ended
    }
}
