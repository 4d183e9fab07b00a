//! Which connection each session is on, over all workers.
//!
//! A session counts its connections: each is one *generation*. A resume token carries the generation of
//! the connection that it was sealed for, which decides who is newer when two connections claim one
//! session.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::{Mutex, MutexGuard, PoisonError},
};

use offhook_engine::{ConnectionId, SessionId};

/// Sessions without a connection whose generation is remembered. 65,536: the tokens of all who went in
/// the last minutes can't be used twice, in 3 MB.
const REMEMBERED: usize = 65_536;

/// Which connection each session is on.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    here: HashMap<SessionId, Entry>,
    /// Generations of sessions that have no connection.
    away: HashMap<SessionId, u32>,
    /// In the order in which they went; some may have come back since.
    went: VecDeque<(SessionId, u32)>,
}

/// A session that is on a connection. 16 bytes: there is one of these for each connection.
#[derive(Clone, Copy, Debug)]
struct Entry {
    connection: ConnectionId,
    generation: u32,
    worker: u16,
    /// The client has proven that it read what this connection was told, its token among it.
    confirmed: bool,
}

/// A connection of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The worker's number.
    pub(crate) worker: u16,
    pub(crate) connection: ConnectionId,
}

/// Another connection of the session came in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overtaken;

impl Directory {
    /// The generation of a new connection of a session that comes with a token of this generation, or
    /// without one. None if the token is out of date: a newer connection is alive whose client has
    /// its newer token, or was.
    pub(crate) fn next_generation(&self, session: SessionId, token: Option<u32>) -> Option<u32> {
        let sessions = &*self.lock();
        let offered = token.unwrap_or(0);
        let before = sessions.away.get(&session).copied();
        if before.is_some_and(|generation| offered < generation) {
            return None;
        }
        let live = sessions.here.get(&session);
        if live.is_some_and(|live| live.confirmed && offered < live.generation) {
            return None;
        }
        let known = live.map_or(0, |live| live.generation).max(offered);
        Some(known.saturating_add(1))
    }

    /// A connection of a session is open. Returns the older connection, which is to be closed.
    pub(crate) fn enter(
        &self,
        session: SessionId,
        generation: u32,
        place: Place,
    ) -> Result<Option<Place>, Overtaken> {
        let sessions = &mut *self.lock();
        let entry = Entry {
            connection: place.connection,
            generation,
            worker: place.worker,
            confirmed: false,
        };
        let older = match sessions.here.entry(session) {
            hash_map::Entry::Occupied(live) if live.get().generation >= generation => {
                return Err(Overtaken);
            }
            hash_map::Entry::Occupied(mut live) => Some(live.insert(entry).place()),
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
                None
            }
        };
        sessions.away.remove(&session);
        Ok(older)
    }

    /// The client on this connection has proven that it has read its welcome.
    pub(crate) fn confirm(&self, session: SessionId, place: Place) {
        let sessions = &mut *self.lock();
        if let Some(entry) = sessions.here.get_mut(&session)
            && entry.place() == place
        {
            entry.confirmed = true;
        }
    }

    /// A connection has ended. Older tokens than its own are out of date from now on if its client has
    /// that one.
    pub(crate) fn left(&self, session: SessionId, place: Place) {
        let sessions = &mut *self.lock();
        let hash_map::Entry::Occupied(entry) = sessions.here.entry(session) else {
            return;
        };
        if entry.get().place() != place {
            return;
        }
        let entry = entry.remove();
        if !entry.confirmed {
            return;
        }
        sessions.away.insert(session, entry.generation);
        sessions.went.push_back((session, entry.generation));
        while sessions.went.len() > REMEMBERED {
            let Some((oldest, generation)) = sessions.went.pop_front() else {
                return;
            };
            if sessions.away.get(&oldest) == Some(&generation) {
                sessions.away.remove(&oldest);
            }
        }
    }

    /// Where a session is.
    pub(crate) fn find(&self, session: SessionId) -> Option<Place> {
        Some(self.lock().here.get(&session)?.place())
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        // Each change is whole before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
