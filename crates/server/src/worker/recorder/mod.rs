//! The flight recorder: what a worker remembers about its connections, to explain why a client did
//! not receive a publication.
//!
//! Deliveries are never recorded: the state of a subscription contains the last position that was
//! delivered. No code of this module runs for a delivery, and a connection uses no memory here if
//! all of its subscriptions were accepted and it has published nothing. The recorder contains what
//! that state does not: refusals, gaps, subscriptions that fell behind or ended, publications of the
//! client, and the end of the connection with the progress of its subscriptions.
//!
//! Everything is limited: the decisions and messages of a connection, the time for which they are
//! kept after its end, and the memory of the worker for all connections (`recorder`).

mod ended;
mod forgetting;
mod record;

use std::collections::{HashMap, VecDeque};

use offhook_engine::{Command, CommandId, ConnectionId, Key, Notice, Reply, Target};

use super::quick_hash::QuickHash;
use crate::config;
pub(crate) use ended::{End, LastWords};
pub(super) use ended::{Ended, Leaver};
use record::Record;
pub(crate) use record::{Entry, Outcome, What, Why};

/// How many commands are remembered until they are answered, so that a refusal can be recorded
/// together with the request. 256: most are answered in the same turn.
const PENDING: usize = 256;

/// How many close codes are remembered for connections that are about to be removed. 64: a
/// connection with thousands of subscriptions waits for its turn; all others are removed
/// immediately.
const ENDING: usize = 64;

/// How many subscriptions of an ended connection are remembered. 64: more than most sessions have.
pub(super) const AT_THE_END: usize = 64;

/// What a worker remembers about its connections.
#[derive(Debug)]
pub(super) struct Recorder {
    /// The limit for `used`; 0 disables the recorder.
    bytes: usize,
    keep_ms: u64,
    entries: usize,
    open: HashMap<ConnectionId, Box<Record>, QuickHash>,
    /// Connections in the order in which they were first recorded. Some of them may have ended.
    order: VecDeque<ConnectionId>,
    /// Ended connections, in the order of their ends.
    ended: VecDeque<Ended>,
    /// The memory in use.
    used: usize,
    pending: VecDeque<Pending>,
    /// How transports have ended, for connections that are about to be removed.
    last_words: VecDeque<(ConnectionId, LastWords)>,
    /// The time of the newest record that was discarded for lack of memory; 0 if there was none.
    forgotten_ms: u64,
}

/// A command that is not answered yet.
#[derive(Debug)]
struct Pending {
    connection: ConnectionId,
    id: CommandId,
    verb: &'static str,
    target: Option<Target>,
}

/// What is recorded about a connection, as part of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) decisions: Vec<Entry>,
    pub(crate) messages: Vec<Entry>,
    /// How many older decisions were discarded.
    pub(crate) dropped: u32,
}

impl Recorder {
    pub(super) fn new(settings: &config::Recorder, workers: usize) -> Self {
        Self {
            bytes: settings.bytes / workers.max(1),
            keep_ms: u64::try_from(settings.keep.as_millis()).unwrap_or(u64::MAX),
            entries: settings.entries,
            open: HashMap::default(),
            order: VecDeque::new(),
            ended: VecDeque::new(),
            used: 0,
            pending: VecDeque::new(),
            last_words: VecDeque::new(),
            forgotten_ms: 0,
        }
    }

    const fn is_off(&self) -> bool {
        self.bytes == 0
    }

    /// Records a command of the client.
    pub(super) fn received(
        &mut self,
        connection: ConnectionId,
        id: CommandId,
        command: &Command,
        at_ms: u64,
    ) {
        if self.is_off() {
            return;
        }
        let (verb, target) = match command {
            Command::Publish {
                channel, data, key, ..
            } => {
                let what = What::Published {
                    id,
                    channel: channel.clone(),
                    bytes: data.len(),
                    key: key.clone(),
                    outcome: Outcome::Pending,
                };
                return self.record(connection, |record, _| record.receive(at_ms, what));
            }
            Command::Call { method, .. } => {
                let method = method.clone();
                self.record(connection, |record, _| {
                    record.receive(at_ms, What::Called { id, method });
                });
                ("call", None)
            }
            Command::Subscribe(wish) => ("subscribe", Some(wish.target.clone())),
            Command::Unsubscribe { .. } => ("unsubscribe", None),
            Command::History { channel, .. } | Command::HistoryBefore { channel, .. } => {
                ("history", Some(channel.clone().into()))
            }
            Command::State { channel, .. } => ("state", Some(channel.clone().into())),
            Command::Presence { channel } => ("presence", Some(channel.clone().into())),
            Command::Receipts { channel, .. } => ("receipts", Some(channel.clone().into())),
            Command::Ack { channel, .. } => ("ack", Some(channel.clone().into())),
            Command::UpdateInfo { .. } => ("presence_update", None),
            // These arrive with every message or heartbeat, and are rarely refused.
            Command::Done { .. }
            | Command::Return { .. }
            | Command::Ping
            | Command::Remember { .. }
            | Command::Values { .. } => return,
        };
        if self.pending.len() == PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending {
            connection,
            id,
            verb,
            target,
        });
    }

    /// Records a decision of the engine about a connection.
    pub(super) fn decided(&mut self, connection: ConnectionId, notice: &Notice, at_ms: u64) {
        if self.is_off() {
            return;
        }
        let what = match notice {
            Notice::Reply { id, reply } => match self.answered(connection, *id, reply) {
                Some(what) => what,
                None => return,
            },
            Notice::Gap {
                subscription,
                from,
                to,
                reason,
                ..
            } => What::Gap {
                subscription: subscription.clone(),
                channel: None,
                from: *from,
                to: *to,
                reason: reason.name(),
            },
            Notice::ChannelGap {
                subscription,
                channel,
                from,
                to,
                reason,
            } => What::Gap {
                subscription: subscription.clone(),
                channel: Some(channel.clone()),
                from: *from,
                to: *to,
                reason: reason.name(),
            },
            Notice::CatchingUp {
                subscription,
                position,
            } => What::Behind {
                subscription: subscription.clone(),
                at: *position,
            },
            Notice::Live {
                subscription,
                position,
            } => What::Live {
                subscription: subscription.clone(),
                at: *position,
            },
            Notice::Unsubscribed {
                subscription,
                refusal,
            } => What::Unsubscribed {
                subscription: subscription.clone(),
                why: Some(refusal.into()),
            },
            Notice::Reconnect { after } => What::Reconnect {
                after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            },
            Notice::Close { reason } => What::Closing {
                reason: reason.name(),
            },
            Notice::Own { .. } | Notice::Restored | Notice::Told { .. } => return,
        };
        // The state of a subscription already shows that it was made and is live. A server that is
        // drained would record the same for every connection.
        let is_known = matches!(
            what,
            What::Subscribed { .. } | What::Live { .. } | What::Reconnect { .. }
        );
        if is_known && !self.open.contains_key(&connection) {
            return;
        }
        self.record(connection, |record, limit| {
            record.decide(at_ms, what, limit)
        });
    }

    /// The decision that a reply contains, if it is to be recorded.
    fn answered(
        &mut self,
        connection: ConnectionId,
        id: Option<CommandId>,
        reply: &Reply,
    ) -> Option<What> {
        if let Some(outcome) = outcome_of(reply)
            && let Some(id) = id
            && self.settle(connection, id, outcome)
        {
            return None;
        }
        let asked = id.and_then(|id| self.take_pending(connection, id));
        match reply {
            Reply::Refused(refusal) => {
                let (verb, target) = asked.map_or(("", None), |asked| (asked.verb, asked.target));
                let why = refusal.into();
                Some(What::Refused { verb, target, why })
            }
            Reply::Subscribed {
                subscription,
                position,
                ..
            } => Some(What::Subscribed {
                subscription: subscription.clone(),
                at: *position,
            }),
            Reply::Unsubscribed { subscription } => Some(What::Unsubscribed {
                subscription: subscription.clone(),
                why: None,
            }),
            Reply::Published { .. }
            | Reply::Done { .. }
            | Reply::InfoUpdated
            | Reply::Called { .. }
            | Reply::History { .. }
            | Reply::State { .. }
            | Reply::Values { .. }
            | Reply::Remembered
            | Reply::Members { .. }
            | Reply::Acked { .. }
            | Reply::Receipts { .. }
            | Reply::Pong => None,
        }
    }

    fn settle(&mut self, connection: ConnectionId, id: CommandId, outcome: Outcome) -> bool {
        let Some(record) = self.open.get_mut(&connection) else {
            return false;
        };
        let before = record.weight();
        let settled = record.settle(id, outcome);
        self.used = self.used + record.weight() - before;
        settled
    }

    fn take_pending(&mut self, connection: ConnectionId, id: CommandId) -> Option<Pending> {
        let mut all = self.pending.iter();
        let at = all.position(|one| one.connection == connection && one.id == id)?;
        self.pending.remove(at)
    }

    /// Records how the transport of a connection has ended. The connection is removed soon after.
    pub(super) fn transport_ended(&mut self, connection: ConnectionId, words: LastWords) {
        if self.is_off() {
            return;
        }
        if self.last_words.len() == ENDING {
            self.last_words.pop_front();
        }
        self.last_words.push_back((connection, words));
    }

    /// Records that the server has closed a connection for this reason, and removes it.
    pub(super) fn closed(
        &mut self,
        connection: ConnectionId,
        reason: &'static str,
        leaver: Leaver,
        at_ms: u64,
    ) {
        self.end(connection, End::Closed(reason), leaver, at_ms);
    }

    /// Records that a connection has ended.
    pub(super) fn ended(
        &mut self,
        connection: ConnectionId,
        left: bool,
        leaver: Leaver,
        at_ms: u64,
    ) {
        let mut ending = self.last_words.iter();
        let words = ending.position(|(of, _)| *of == connection);
        let words = words.and_then(|at| self.last_words.remove(at));
        let words = words.map(|(_, words)| words).unwrap_or_default();
        let closing = self.open.get(&connection).and_then(|record| {
            let mut decisions = record.decisions().iter().rev();
            decisions.find_map(|entry| {
                let What::Closing { reason } = entry.what else {
                    return None;
                };
                Some(reason)
            })
        });
        let end = match (closing, left) {
            (Some(reason), _) => End::Closed(reason),
            (None, true) => End::Left(words),
            (None, false) => End::Lost(words),
        };
        self.end(connection, end, leaver, at_ms);
    }

    fn end(&mut self, connection: ConnectionId, end: End, leaver: Leaver, at_ms: u64) {
        if self.is_off() {
            return;
        }
        let record = self.open.remove(&connection);
        self.used -= record.as_deref().map_or(0, Record::weight);
        let Leaver {
            number,
            session,
            user,
            progress,
            has_more,
        } = leaver;
        let ended = Ended {
            number,
            session,
            user,
            at_ms,
            end,
            progress: progress.into(),
            has_more,
            record,
        };
        self.used += ended.weight();
        self.ended.push_back(ended);
        self.expire(at_ms);
        self.stay_within();
    }

    /// Changes the record of an open connection, which may be its first entry.
    fn record(&mut self, connection: ConnectionId, change: impl FnOnce(&mut Record, usize)) {
        let record = self.open.entry(connection).or_insert_with(|| {
            self.order.push_back(connection);
            let record = Box::<Record>::default();
            self.used += record.weight();
            record
        });
        let before = record.weight();
        change(record, self.entries);
        self.used = self.used + record.weight() - before;
        self.stay_within();
        // Connections that have ended are still listed in the order.
        if self.order.len() > 2 * self.open.len() + PENDING {
            let open = &self.open;
            self.order
                .retain(|connection| open.contains_key(connection));
        }
    }

    /// What is recorded about an open connection.
    pub(super) fn of(&self, connection: ConnectionId) -> Recorded {
        let record = self.open.get(&connection);
        record.map(|record| recorded(record)).unwrap_or_default()
    }

    /// The connections that have ended, most recently ended first.
    pub(super) fn ended_ones(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter().rev()
    }

    /// The newest publication with this key in a channel, among those of all connections.
    pub(super) fn published(&self, channel: &str, wanted: &Key) -> Option<Entry> {
        let ended = self.ended.iter().filter_map(|ended| ended.record.as_ref());
        let records = self.open.values().chain(ended);
        let messages = records.flat_map(|record| record.messages());
        let fits = |entry: &&Entry| {
            let What::Published {
                channel: own, key, ..
            } = &entry.what
            else {
                return false;
            };
            own.as_str() == channel && key.as_ref() == Some(wanted)
        };
        let found = messages.filter(fits).max_by_key(|entry| entry.at_ms);
        found.cloned()
    }

    /// The time of the newest record that was discarded for lack of memory; 0 if there was none.
    pub(super) const fn forgotten_ms(&self) -> u64 {
        self.forgotten_ms
    }

    /// Whether nothing is recorded.
    pub(super) const fn is_disabled(&self) -> bool {
        self.is_off()
    }
}

/// The outcome of a publication, if this is a reply to one.
fn outcome_of(reply: &Reply) -> Option<Outcome> {
    if let Reply::Published {
        position,
        duplicate,
    } = reply
    {
        return Some(Outcome::Published {
            position: *position,
            duplicate: *duplicate,
        });
    }
    if let Reply::Refused(refusal) = reply {
        return Some(Outcome::Refused(refusal.into()));
    }
    None
}

fn recorded(record: &Record) -> Recorded {
    Recorded {
        decisions: record.decisions().iter().cloned().collect(),
        messages: record.messages().iter().cloned().collect(),
        dropped: record.dropped,
    }
}

#[cfg(test)]
mod tests;
