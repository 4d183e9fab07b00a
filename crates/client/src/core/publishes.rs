//! Publications without an answer.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use offhook_dialects::native::client::{ChannelName, Command};

use super::Ticket;

/// The limit for publications in flight. 64: a quarter of the requests that a server accepts on one
/// connection.
const WINDOW: usize = 64;

/// A publication to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) channel: ChannelName,
    /// A `Command::Publish`.
    pub(crate) command: Command,
    /// The bytes that it counts in the queue.
    pub(crate) weight: usize,
    /// Whether it must not overtake others in its channel. Then it waits for their answers: a
    /// server may refuse one of them temporarily and accept the next one.
    pub(crate) ordered: bool,
}

#[derive(Debug)]
struct Entry {
    outgoing: Outgoing,
    under_way: bool,
}

/// When the next publication may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    No,
    Until(Instant),
    NextConnection,
}

/// All publications. Each is behind another one of its channel, ready to be sent, or in flight.
#[derive(Debug)]
pub(super) struct Publishes {
    entries: BTreeMap<Ticket, Entry>,
    /// The ordered publications of a channel; the first is ready or in flight.
    lanes: HashMap<ChannelName, VecDeque<Ticket>>,
    /// Publications that are ready to be sent.
    ready: BTreeSet<Ticket>,
    under_way: usize,
    bytes: usize,
    limit: usize,
    pub(super) hold: Hold,
    /// Temporary refusals since the last other answer.
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

    /// Whether there is room. The first publication fits, whatever its size.
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

    /// The next publication to send, which is in flight from then on.
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

    /// It was answered finally, so the next one of its channel is ready.
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

    /// It was refused temporarily.
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

    /// The connection was lost, and publications in flight may have arrived or not. All are sent again
    /// with their keys.
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

    /// The client has ended.
    pub(super) fn take_all(&mut self) -> Vec<Ticket> {
        let tickets = std::mem::take(&mut self.entries).into_keys().collect();
        *self = Self::new(self.limit);
        tickets
    }
}
