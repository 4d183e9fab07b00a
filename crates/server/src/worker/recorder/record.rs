//! What is recorded of one connection: the decisions about it, and its newest messages. No content
//! of a message is part of it.

use std::collections::VecDeque;

use offhook_engine::{ChannelName, CommandId, Key, Position, Refusal, SubscriptionName, Target};

/// How many of a connection's newest messages are recorded. 8: a publisher that asks why its
/// message did not arrive asks about one of the last.
pub(super) const MESSAGES: usize = 8;

/// The most characters of a refusal that are recorded: longer ones contain a text of the backend.
const DETAIL: usize = 200;

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) what: What,
    /// How often the same happened in a row.
    pub(crate) times: u32,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A subscription was made.
    Subscribed {
        subscription: SubscriptionName,
        /// The stream's head then.
        at: Position,
    },
    /// A request was refused.
    Refused {
        /// What was requested; empty if that is not known.
        verb: &'static str,
        target: Option<Target>,
        why: Why,
    },
    /// A subscription ended.
    Unsubscribed {
        subscription: SubscriptionName,
        /// Why the server ended it; none if the client did.
        why: Option<Why>,
    },
    /// The client was told that publications are missing.
    Gap {
        subscription: SubscriptionName,
        /// The channel, if the gap of a filter's subscription is in one channel.
        channel: Option<ChannelName>,
        from: Position,
        to: Position,
        reason: &'static str,
    },
    /// The subscription could not keep up, and reads from the history.
    Behind {
        subscription: SubscriptionName,
        at: Position,
    },
    /// The subscription has caught up.
    Live {
        subscription: SubscriptionName,
        at: Position,
    },
    /// The client was told to reconnect.
    Reconnect { after_ms: u64 },
    /// The server closed the connection.
    Closing { reason: &'static str },
    /// The client published.
    Published {
        id: CommandId,
        channel: ChannelName,
        bytes: usize,
        key: Option<Key>,
        outcome: Outcome,
    },
    /// The client called the backend.
    Called { id: CommandId, method: Box<str> },
}

/// What became of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Not decided yet.
    Pending,
    Published {
        position: Position,
        duplicate: bool,
    },
    Refused(Why),
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Why {
    pub(crate) code: &'static str,
    pub(crate) detail: Box<str>,
}

impl From<&Refusal> for Why {
    fn from(refusal: &Refusal) -> Self {
        let detail = refusal.detail.chars().take(DETAIL).collect::<String>();
        Self {
            code: refusal.code.name(),
            detail: detail.into(),
        }
    }
}

impl What {
    /// Bytes on the heap. Names are shared with the engine while it needs them: here they may be all
    /// that is left, so each counts completely.
    fn heap(&self) -> usize {
        let named = |subscription: &SubscriptionName| subscription.target.as_str().len();
        match self {
            Self::Refused { target, why, .. } => {
                target.as_ref().map_or(0, |target| target.as_str().len()) + why.detail.len()
            }
            Self::Unsubscribed { subscription, why } => {
                named(subscription) + why.as_ref().map_or(0, |why| why.detail.len())
            }
            Self::Gap {
                subscription,
                channel,
                ..
            } => {
                let channel = channel.as_ref();
                named(subscription) + channel.map_or(0, |channel| channel.as_str().len())
            }
            Self::Subscribed { subscription, .. }
            | Self::Behind { subscription, .. }
            | Self::Live { subscription, .. } => named(subscription),
            Self::Published {
                channel,
                key,
                outcome,
                ..
            } => {
                let refused = match outcome {
                    Outcome::Refused(why) => why.detail.len(),
                    Outcome::Pending | Outcome::Published { .. } => 0,
                };
                let key = key.as_ref().map_or(0, |key| key.as_str().len());
                channel.as_str().len() + key + refused
            }
            Self::Called { method, .. } => method.len(),
            Self::Reconnect { .. } | Self::Closing { .. } => 0,
        }
    }

    /// Whether it says the same about the same: then only the newer one is kept.
    fn repeats(&self, older: &Self) -> bool {
        match (self, older) {
            (
                Self::Behind { subscription, .. },
                Self::Behind {
                    subscription: other,
                    ..
                },
            )
            | (
                Self::Live { subscription, .. },
                Self::Live {
                    subscription: other,
                    ..
                },
            ) => subscription == other,
            (
                Self::Refused { verb, target, why },
                Self::Refused {
                    verb: other_verb,
                    target: other_target,
                    why: other_why,
                },
            ) => verb == other_verb && target == other_target && why.code == other_why.code,
            _ => false,
        }
    }
}

/// What is recorded of one connection.
#[derive(Debug, Default)]
pub(super) struct Record {
    decisions: VecDeque<Entry>,
    messages: VecDeque<Entry>,
    /// How many decisions are no longer here.
    pub(super) dropped: u32,
    heap: usize,
}

/// How far back an entry is looked for that says the same: a slow connection falls behind and
/// catches up in turn.
const SAME_WITHIN: usize = 4;

impl Record {
    /// The memory that it takes.
    pub(super) fn weight(&self) -> usize {
        let places = self.decisions.capacity() + self.messages.capacity();
        size_of::<Self>() + places * size_of::<Entry>() + self.heap
    }

    pub(super) const fn decisions(&self) -> &VecDeque<Entry> {
        &self.decisions
    }

    pub(super) const fn messages(&self) -> &VecDeque<Entry> {
        &self.messages
    }

    /// Adds a decision; the oldest one goes if there are more than `limit`.
    pub(super) fn decide(&mut self, at_ms: u64, what: What, limit: usize) {
        let newest = self.decisions.len().saturating_sub(SAME_WITHIN);
        let same = self.decisions.range(newest..);
        let same = same.rev().position(|older| what.repeats(&older.what));
        let mut times = 1;
        if let Some(back) = same
            && let Some(older) = self.decisions.remove(self.decisions.len() - 1 - back)
        {
            self.heap -= older.what.heap();
            times = older.times.saturating_add(1);
        }
        self.heap += what.heap();
        self.decisions.push_back(Entry { at_ms, what, times });
        while self.decisions.len() > limit.max(1) {
            self.dropped = self.dropped.saturating_add(1);
            self.forget_decision();
        }
    }

    fn forget_decision(&mut self) {
        if let Some(oldest) = self.decisions.pop_front() {
            self.heap -= oldest.what.heap();
        }
    }

    /// Adds a message of the client.
    pub(super) fn receive(&mut self, at_ms: u64, what: What) {
        if self.messages.len() == MESSAGES
            && let Some(oldest) = self.messages.pop_front()
        {
            self.heap -= oldest.what.heap();
        }
        self.heap += what.heap();
        let times = 1;
        self.messages.push_back(Entry { at_ms, what, times });
    }

    /// Records what became of a publication. `false` if it is no longer here.
    pub(super) fn settle(&mut self, command: CommandId, result: Outcome) -> bool {
        let pending = self.messages.iter_mut().find_map(|entry| {
            let What::Published { id, outcome, .. } = &mut entry.what else {
                return None;
            };
            (*id == command && *outcome == Outcome::Pending).then_some(outcome)
        });
        let Some(outcome) = pending else {
            return false;
        };
        if let Outcome::Refused(why) = &result {
            self.heap += why.detail.len();
        }
        *outcome = result;
        true
    }
}
