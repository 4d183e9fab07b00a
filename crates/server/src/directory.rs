//! The directory of sessions: which connection each session is on, over all workers.
//!
//! The connections of a session are numbered; the number is the connection's *generation*. A resume
//! token contains the generation of the connection for which it was sealed. It determines which of
//! two connections that claim one session is newer.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::{Mutex, MutexGuard, PoisonError},
};

use offhook_engine::{ConnectionId, SessionId};

/// How many sessions without a connection are remembered with their generation. 65,536: for 3 MB of
/// memory, tokens of sessions whose connections ended in the last minutes cannot be used twice.
const REMEMBERED: usize = 65_536;

/// Maps sessions to their connections.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    here: HashMap<SessionId, Entry>,
    /// For sessions without a connection: the newest generation whose token the client has
    /// received, as it has proven.
    away: HashMap<SessionId, u32>,
    /// Sessions in the order in which their connections ended. Some may have resumed since.
    went: VecDeque<(SessionId, u32)>,
}

/// A session on a connection. 20 bytes: there is one for each connection.
#[derive(Clone, Copy, Debug)]
struct Entry {
    connection: ConnectionId,
    generation: u32,
    /// The number of its transport in the order in which transports were opened.
    arrival: u32,
    worker: u16,
    /// Whether the client has proven that it read this connection's messages, including its token.
    confirmed: bool,
}

/// A connection of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The worker's number.
    pub(crate) worker: u16,
    pub(crate) connection: ConnectionId,
}

/// Another connection of the session was opened in the meantime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overtaken;

impl Directory {
    /// The generation of a new connection of a session, given the generation of its token, if it
    /// has one. Returns `None` if the token is outdated, which has two possible reasons. Either the
    /// client has received the token of a newer connection, which may have ended; or the session is
    /// on a connection that was opened later. In the second case, the client has given up this
    /// connection, and the messages that it had sent on it were delayed, for example while the
    /// process was frozen.
    pub(crate) fn next_generation(
        &self,
        session: SessionId,
        token: Option<u32>,
        arrival: u32,
    ) -> Option<u32> {
        let sessions = &*self.lock();
        let offered = token.unwrap_or(0);
        let before = sessions.away.get(&session).copied();
        if before.is_some_and(|generation| offered < generation) {
            return None;
        }
        let live = sessions.here.get(&session);
        let is_outdated = |live: &Entry| live.confirmed || is_before(arrival, live.arrival);
        if live.is_some_and(|live| offered < live.generation && is_outdated(live)) {
            return None;
        }
        let known = live.map_or(0, |live| live.generation).max(offered);
        Some(known.saturating_add(1))
    }

    /// The generation of the newest known connection of a session; 0 if there is none.
    pub(crate) fn newest_generation(&self, session: SessionId) -> u32 {
        let sessions = &*self.lock();
        let live = sessions.here.get(&session).map(|live| live.generation);
        let away = sessions.away.get(&session).copied();
        live.max(away).unwrap_or(0)
    }

    /// Registers an open connection of a session. Returns the older connection, which must be
    /// closed.
    pub(crate) fn enter(
        &self,
        session: SessionId,
        generation: u32,
        place: Place,
        arrival: u32,
    ) -> Result<Option<Place>, Overtaken> {
        let sessions = &mut *self.lock();
        let entry = Entry {
            connection: place.connection,
            generation,
            arrival,
            worker: place.worker,
            confirmed: false,
        };
        let older = match sessions.here.entry(session) {
            hash_map::Entry::Occupied(live) if live.get().generation >= generation => {
                return Err(Overtaken);
            }
            hash_map::Entry::Occupied(mut live) => Some(live.insert(entry)),
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
                None
            }
        };
        // Until the client has proven that it received the newer token, the previous token stays
        // valid.
        if let Some(older) = older.filter(|older| older.confirmed) {
            sessions.remember(session, older.generation);
        }
        Ok(older.map(Entry::place))
    }

    /// Records that the client of this connection has proven that it received the welcome.
    pub(crate) fn confirm(&self, session: SessionId, place: Place) {
        let sessions = &mut *self.lock();
        if let Some(entry) = sessions.here.get_mut(&session)
            && entry.place() == place
        {
            entry.confirmed = true;
            sessions.away.remove(&session);
        }
    }

    /// Records that a connection has ended. If its client received its token, older tokens are
    /// outdated from now on.
    pub(crate) fn left(&self, session: SessionId, place: Place) {
        let sessions = &mut *self.lock();
        let hash_map::Entry::Occupied(entry) = sessions.here.entry(session) else {
            return;
        };
        if entry.get().place() != place {
            return;
        }
        let entry = entry.remove();
        if entry.confirmed {
            sessions.remember(session, entry.generation);
        }
    }

    /// The place of a session.
    pub(crate) fn find(&self, session: SessionId) -> Option<Place> {
        Some(self.lock().here.get(&session)?.place())
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        // Each change is complete before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Makes tokens of older generations outdated.
    fn remember(&mut self, session: SessionId, generation: u32) {
        self.away.insert(session, generation);
        self.went.push_back((session, generation));
        while self.went.len() > REMEMBERED {
            let Some((oldest, generation)) = self.went.pop_front() else {
                return;
            };
            if self.away.get(&oldest) == Some(&generation) {
                self.away.remove(&oldest);
            }
        }
    }
}

/// Whether one number precedes another; numbers are counted modulo 2^32.
const fn is_before(one: u32, other: u32) -> bool {
    one != other && one.wrapping_sub(other) > u32::MAX / 2
}

impl Entry {
    const fn place(self) -> Place {
        Place {
            worker: self.worker,
            connection: self.connection,
        }
    }
}

#[cfg(test)]
mod tests;
