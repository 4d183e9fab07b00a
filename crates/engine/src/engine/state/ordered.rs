//! Publishes of one connection that have to keep their order within a channel.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;

use crate::{
    ask::VerdictId,
    channel_name::ChannelName,
    command::CommandId,
    error::Refusal,
    publication::{Draft, Format, Key},
};

#[derive(Debug, Default)]
pub(in crate::engine) struct Ordered {
    /// Those that wait for a verdict, and those behind one that does in the same channel.
    waiting: VecDeque<WaitingPublish>,
    /// Channels in which one was refused for now. Those that were sent after it without knowing
    /// that are refused as well, until it comes again.
    refused: Vec<RefusedPublish>,
}

#[derive(Debug)]
pub(in crate::engine) struct WaitingPublish {
    pub(in crate::engine) command: CommandId,
    pub(in crate::engine) draft: Draft,
    pub(in crate::engine) verdict: Verdict,
}

#[derive(Debug)]
pub(in crate::engine) enum Verdict {
    AskedFor(VerdictId),
    Allowed,
    Refused(Refusal),
}

#[derive(Debug)]
struct RefusedPublish {
    channel: ChannelName,
    key: Key,
    /// A client that has not sent it again by then has given it up.
    until: Instant,
}

/// Channels in which a connection waits for a refused publish to come again. 16: one that publishes to
/// more of them at the limit of its rate has no order to keep between them.
const CHANNELS: usize = 16;

impl Ordered {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.refused.is_empty()
    }

    /// Whether a publish in this channel has to wait behind another.
    pub(in crate::engine) fn is_waiting(&self, channel: &ChannelName) -> bool {
        self.waiting
            .iter()
            .any(|waiting| waiting.draft.channel == *channel)
    }

    pub(in crate::engine) fn wait(&mut self, new: WaitingPublish) {
        self.waiting.push_back(new);
    }

    /// The verdict about one came.
    pub(in crate::engine) fn decide(&mut self, ask: VerdictId, verdict: Verdict) {
        let asked_for = |waiting: &&mut WaitingPublish| matches!(waiting.verdict, Verdict::AskedFor(id) if id == ask);
        if let Some(waiting) = self.waiting.iter_mut().find(asked_for) {
            waiting.verdict = verdict;
        }
    }

    /// The verdict about one is that something else is published.
    pub(in crate::engine) fn change(&mut self, ask: VerdictId, data: Bytes, format: Format) {
        let asked_for = |waiting: &&mut WaitingPublish| matches!(waiting.verdict, Verdict::AskedFor(id) if id == ask);
        if let Some(waiting) = self.waiting.iter_mut().find(asked_for) {
            (waiting.draft.data, waiting.draft.format) = (data, format);
        }
    }

    /// Takes the next that nothing waits before in its channel.
    pub(in crate::engine) fn take_decided(&mut self) -> Option<WaitingPublish> {
        let mut undecided: Vec<&ChannelName> = Vec::new();
        let ready = self.waiting.iter().position(|waiting| {
            let behind = undecided.contains(&&waiting.draft.channel);
            if matches!(waiting.verdict, Verdict::AskedFor(_)) {
                undecided.push(&waiting.draft.channel);
                return false;
            }
            !behind
        })?;
        self.waiting.remove(ready)
    }

    /// What nobody has to be asked about any more.
    pub(in crate::engine) fn asked_for(&self) -> impl Iterator<Item = VerdictId> {
        self.waiting
            .iter()
            .filter_map(|waiting| match waiting.verdict {
                Verdict::AskedFor(ask) => Some(ask),
                Verdict::Allowed | Verdict::Refused(_) => None,
            })
    }

    /// A publish was refused for now; it is the first in its channel, or comes again.
    pub(in crate::engine) fn refused(&mut self, channel: &ChannelName, key: &Key, until: Instant) {
        if let Some(first) = self.refused.iter_mut().find(|r| r.channel == *channel) {
            if first.key == *key {
                first.until = until;
            }
            return;
        }
        if self.refused.len() < CHANNELS {
            let (channel, key) = (channel.clone(), key.clone());
            self.refused.push(RefusedPublish {
                channel,
                key,
                until,
            });
        }
    }

    /// Whether a publish may go ahead of none that was refused before it.
    pub(in crate::engine) fn is_next(
        &mut self,
        channel: &ChannelName,
        key: Option<&Key>,
        now: Instant,
    ) -> bool {
        self.refused.retain(|refused| refused.until > now);
        let first = self.refused.iter().find(|r| r.channel == *channel);
        first.is_none_or(|first| Some(&first.key) == key)
    }

    /// A publish was taken, or will never be: if it is the refused one, that has come again.
    pub(in crate::engine) fn taken(&mut self, channel: &ChannelName, key: Option<&Key>) {
        let is_it = |r: &RefusedPublish| r.channel == *channel && Some(&r.key) == key;
        self.refused.retain(|refused| !is_it(refused));
    }
}
