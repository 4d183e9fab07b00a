//! Requests for histories, members and the like without an answer.

use std::collections::{BTreeMap, BTreeSet};

use offhook_dialects::native::client::Command;

use super::Ticket;

/// The limit for requests in flight. 16: answers are long, and publications need answers too.
const WINDOW: usize = 16;

/// Whether a request that was not answered is sent again on the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It only reads, or has the same effect if it is repeated.
    Yes,
    /// It is unknown whether it was carried out.
    No,
}

#[derive(Debug)]
struct Entry {
    repeat: Repeat,
    command: Command,
    under_way: bool,
    refusals: u32,
}

/// Unanswered requests are sent again, except those that must be sent only once.
#[derive(Debug, Default)]
pub(super) struct Questions {
    entries: BTreeMap<Ticket, Entry>,
    ready: BTreeSet<Ticket>,
    under_way: usize,
}

impl Questions {
    pub(super) fn add(&mut self, ticket: Ticket, command: Command, repeat: Repeat) {
        let entry = Entry {
            repeat,
            command,
            under_way: false,
            refusals: 0,
        };
        self.entries.insert(ticket, entry);
        self.ready.insert(ticket);
    }

    /// The next request to send, which is in flight from then on.
    pub(super) fn next(&mut self) -> Option<(Ticket, Command)> {
        if self.under_way >= WINDOW {
            return None;
        }
        let ticket = self.ready.pop_first()?;
        let entry = self.entries.get_mut(&ticket)?;
        entry.under_way = true;
        self.under_way += 1;
        Some((ticket, entry.command.clone()))
    }

    /// It was answered or is no longer needed. Returns whether it was needed.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        self.ready.remove(&ticket);
        let removed = self.entries.remove(&ticket);
        if let Some(entry) = &removed {
            self.under_way -= usize::from(entry.under_way);
        }
        removed.is_some()
    }

    /// It was refused temporarily. Returns how often that happened; `None` if it is no longer
    /// needed.
    pub(super) fn refused(&mut self, ticket: Ticket) -> Option<u32> {
        let entry = self.entries.get_mut(&ticket)?;
        self.under_way -= usize::from(std::mem::take(&mut entry.under_way));
        entry.refusals = entry.refusals.saturating_add(1);
        Some(entry.refusals)
    }

    /// The pause before it is sent again is over.
    pub(super) fn again(&mut self, ticket: Ticket) {
        if self.entries.contains_key(&ticket) {
            self.ready.insert(ticket);
        }
    }

    /// Removes and returns those that were sent and must not be sent again.
    pub(super) fn connection_lost(&mut self) -> Vec<Ticket> {
        self.under_way = 0;
        let is_spent = |entry: &Entry| entry.under_way && entry.repeat == Repeat::No;
        let all = self.entries.iter();
        let spent: Vec<Ticket> = all
            .filter(|(_, entry)| is_spent(entry))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in &spent {
            self.entries.remove(ticket);
        }
        for (ticket, entry) in &mut self.entries {
            entry.under_way = false;
            self.ready.insert(*ticket);
        }
        spent
    }

    /// The client has ended.
    pub(super) fn take_all(&mut self) -> Vec<Ticket> {
        std::mem::take(self).entries.into_keys().collect()
    }
}
