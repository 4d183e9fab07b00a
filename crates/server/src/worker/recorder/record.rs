//! What is recorded about one connection: decisions, and its newest messages without their content.

use std::collections::VecDeque;

use offhook_engine::{ChannelName, CommandId, Key, Position, Refusal, SubscriptionName, Target};

/// How many of a connection's newest messages are recorded. 8: questions about a message that did
/// not arrive are asked soon after it was published.
pub(super) const MESSAGES: usize = 8;

/// The maximum number of characters recorded of a refusal. Only texts from the backend are longer.
const DETAIL: usize = 200;

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) what: What,
    /// How many times in a row this happened.
    pub(crate) times: u32,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A subscription was made.
    Subscribed {
        subscription: SubscriptionName,
        /// The stream's head at that time.
        at: Position,
    },
    /// A request was refused.
    Refused {
        /// What was requested; empty if unknown.
        verb: &'static str,
        target: Option<Target>,
        why: Why,
    },
    /// A subscription ended.
    Unsubscribed {
        subscription: SubscriptionName,
        /// Why the server ended it; `None` if the client did.
        why: Option<Why>,
    },
    /// The client was told that publications are missing.
    Gap {
        subscription: SubscriptionName,
        /// The channel, if the subscription is to a filter and the gap is in one channel only.
        channel: Option<ChannelName>,
        from: Position,
        to: Position,
        reason: &'static str,
    },
    /// The subscription could not keep up, and now reads from the history.
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

/// The outcome of a publication.
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
    /// Bytes on the heap. Names are counted in full: the engine shares them while it needs them,
    /// but later they may be kept only here.
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

    /// Whether this entry repeats an older one, in which case only the newer one is kept.
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

/// What is recorded about one connection.
#[derive(Debug, Default)]
pub(super) struct Record {
    decisions: VecDeque<Entry>,
    messages: VecDeque<Entry>,
    /// How many older decisions were discarded.
    pub(super) dropped: u32,
    heap: usize,
}

/// How many of the newest entries are searched for a repeated one: a slow connection alternates
/// between falling behind and catching up.
const SAME_WITHIN: usize = 4;

impl Record {
    /// The memory used by this record.
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

    /// Adds a decision. If there are more than `limit`, the oldest one is discarded.
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

    /// Records the outcome of a publication. Returns `false` if its record was discarded.
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
