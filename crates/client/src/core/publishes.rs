//! Publications that the server has not answered yet.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use offhook_dialects::native::client::{ChannelName, Command};

use super::Ticket;

/// How many may be under way at once. 64: a quarter of what a server takes of one connection.
const WINDOW: usize = 64;

/// A publication to be made.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) channel: ChannelName,
    /// A `Command::Publish`.
    pub(crate) command: Command,
    /// What it counts in the queue.
    pub(crate) weight: usize,
    /// May not overtake those before it in the same channel. Then it waits for their answers: a
    /// server may refuse any of them for now, and has taken the next one already.
    pub(crate) ordered: bool,
}

#[derive(Debug)]
struct Entry {
    outgoing: Outgoing,
    under_way: bool,
}

/// When the next may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    No,
    Until(Instant),
    NextConnection,
}

/// All of them, each in one of three states: behind another one of its channel, ready to be sent,
/// or under way.
#[derive(Debug)]
pub(super) struct Publishes {
    entries: BTreeMap<Ticket, Entry>,
    /// The ordered ones of a channel; the first is ready or under way.
    lanes: HashMap<ChannelName, VecDeque<Ticket>>,
    /// Those that wait for nothing but their turn.
    ready: BTreeSet<Ticket>,
    under_way: usize,
    bytes: usize,
    limit: usize,
    pub(super) hold: Hold,
    /// In a row, without one that was answered otherwise.
    pub(super) refusals: u32,
}

impl Publishes {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            under_way: 0,
            bytes: 0,
            limit,
            hold: Hold::No,
            refusals: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it goes in: the first does, whatever its size.
    pub(super) fn has_room(&self, weight: usize) -> bool {
        self.entries.is_empty() || self.bytes.saturating_add(weight) <= self.limit
    }

    pub(super) fn add(&mut self, ticket: Ticket, outgoing: Outgoing) {
        self.bytes += outgoing.weight;
        let is_first = !outgoing.ordered || {
            let lane = self.lanes.entry(outgoing.channel.clone()).or_default();
            lane.push_back(ticket);
            lane.len() == 1
        };
        if is_first {
            self.ready.insert(ticket);
        }
        let under_way = false;
        self.entries.insert(
            ticket,
            Entry {
                outgoing,
                under_way,
            },
        );
    }

    /// The next to be sent now; it is under way then.
    pub(super) fn next(&mut self) -> Option<(Ticket, Command)> {
        if self.hold != Hold::No || self.under_way >= WINDOW {
            return None;
        }
        let ticket = self.ready.pop_first()?;
        let entry = self.entries.get_mut(&ticket)?;
        entry.under_way = true;
        self.under_way += 1;
        Some((ticket, entry.outgoing.command.clone()))
    }

    /// It was answered for good: the next of its channel may go.
    pub(super) fn answered(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.remove(&ticket) else {
            return;
        };
        self.bytes -= entry.outgoing.weight;
        self.under_way -= usize::from(entry.under_way);
        self.refusals = 0;
        if !entry.outgoing.ordered {
            return;
        }
        let Some(lane) = self.lanes.get_mut(&entry.outgoing.channel) else {
            return;
        };
        lane.pop_front();
        match lane.front() {
            Some(next) => {
                self.ready.insert(*next);
            }
            None => {
                self.lanes.remove(&entry.outgoing.channel);
            }
        }
    }

    /// It was refused for now.
    pub(super) fn refused(&mut self, ticket: Ticket, hold: Hold) {
        self.refusals = self.refusals.saturating_add(1);
        if self.hold != Hold::NextConnection {
            self.hold = hold;
        }
        if let Some(entry) = self.entries.get_mut(&ticket) {
            self.under_way -= usize::from(std::mem::take(&mut entry.under_way));
            self.ready.insert(ticket);
        }
    }

    /// The connection is gone: nobody knows which of those under way arrived. All go again, each with
    /// its key.
    pub(super) fn connection_lost(&mut self) {
        self.hold = Hold::No;
        if self.under_way == 0 {
            return;
        }
        self.under_way = 0;
        for (ticket, entry) in &mut self.entries {
            if std::mem::take(&mut entry.under_way) {
                self.ready.insert(*ticket);
            }
        }
    }

    /// There will be no connection any more.
    pub(super) fn take_all(&mut self) -> Vec<Ticket> {
        let tickets = std::mem::take(&mut self.entries).into_keys().collect();
        *self = Self::new(self.limit);
        tickets
    }
}
