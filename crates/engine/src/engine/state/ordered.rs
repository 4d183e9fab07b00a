//! Publishes of one connection that must keep their order within a channel.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;

use crate::{
    ask::VerdictId,
    channel_name::ChannelName,
    command::CommandId,
    error::Refusal,
    publication::{Draft, Format, Key, Tags},
};

#[derive(Debug, Default)]
pub(in crate::engine) struct Ordered {
    /// Publishes that wait for a verdict, and those behind them in the same channel.
    waiting: VecDeque<WaitingPublish>,
    /// Channels in which a publish was refused temporarily. Later ones that were sent without
    /// knowing that are refused as well, until it is sent again.
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

/// How many channels a connection may have in which a refused publish is awaited. 16: a client that
/// publishes to more channels at its rate limit has no order to keep between them.
const CHANNELS: usize = 16;

impl Ordered {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.refused.is_empty()
    }

    /// Whether a publish in this channel must wait behind another.
    pub(in crate::engine) fn is_waiting(&self, channel: &ChannelName) -> bool {
        self.waiting
            .iter()
            .any(|waiting| waiting.draft.channel == *channel)
    }

    pub(in crate::engine) fn wait(&mut self, new: WaitingPublish) {
        self.waiting.push_back(new);
    }

    /// Handles the verdict on a publish.
    pub(in crate::engine) fn decide(&mut self, ask: VerdictId, verdict: Verdict) {
        let asked_for = |waiting: &&mut WaitingPublish| matches!(waiting.verdict, Verdict::AskedFor(id) if id == ask);
        if let Some(waiting) = self.waiting.iter_mut().find(asked_for) {
            waiting.verdict = verdict;
        }
    }

    /// Handles a verdict that changes the data and the tags.
    pub(in crate::engine) fn change(
        &mut self,
        ask: VerdictId,
        data: Bytes,
        format: Format,
        tags: Tags,
    ) {
        let asked_for = |waiting: &&mut WaitingPublish| matches!(waiting.verdict, Verdict::AskedFor(id) if id == ask);
        if let Some(waiting) = self.waiting.iter_mut().find(asked_for) {
            let draft = &mut waiting.draft;
            (draft.data, draft.format, draft.tags) = (data, format, tags);
        }
    }

    /// Takes the next publish that waits for no earlier one in its channel.
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

    /// The questions that are no longer needed.
    pub(in crate::engine) fn asked_for(&self) -> impl Iterator<Item = VerdictId> {
        self.waiting
            .iter()
            .filter_map(|waiting| match waiting.verdict {
                Verdict::AskedFor(ask) => Some(ask),
                Verdict::Allowed | Verdict::Refused(_) => None,
            })
    }

    /// Records that a publish was refused temporarily: the first in its channel, or one sent again.
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

    /// Whether a publish overtakes none that was refused earlier.
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

    /// Records that a publish was accepted or never will be: if it is the refused one, later ones
    /// may continue.
    pub(in crate::engine) fn taken(&mut self, channel: &ChannelName, key: Option<&Key>) {
        let is_it = |r: &RefusedPublish| r.channel == *channel && Some(&r.key) == key;
        self.refused.retain(|refused| !is_it(refused));
    }
}

#[cfg(test)]
mod tests;
