//! Discarded streams in memory. A reader by filter that was disconnected is told that it missed
//! publications in them.

use std::collections::{HashMap, VecDeque};

use offhook_engine::{ChannelGap, ChannelName, Position};

use super::stream::Stream;

/// The maximum number of discarded streams that are remembered by name. 16,384: two megabytes. If
/// more were discarded while a reader was disconnected, it is not told of the oldest.
const REMEMBERED: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Forgotten {
    streams: HashMap<ChannelName, Ended>,
    /// In the order in which they were discarded; a name can appear several times.
    order: VecDeque<ChannelName>,
}

/// The remembered part of a discarded stream.
#[derive(Debug)]
struct Ended {
    /// The number of the newest publication, and its position.
    sequence: u64,
    head: Position,
}

impl Forgotten {
    pub(super) fn push(&mut self, channel: ChannelName, stream: &Stream) {
        let ended = Ended {
            sequence: stream.newest_sequence(),
            head: stream.state().head,
        };
        if self.streams.insert(channel.clone(), ended).is_some() {
            return;
        }
        self.order.push_back(channel);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.streams.remove(&oldest);
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ChannelName> {
        self.order.iter()
    }

    /// The publications of discarded streams after a sequence number, with the newest of each.
    pub(super) fn missed(&self, channel: &ChannelName, after: u64) -> Option<(u64, ChannelGap)> {
        let ended = self.streams.get(channel)?;
        let gap = ChannelGap {
            channel: channel.clone(),
            from: Position {
                offset: 0,
                ..ended.head
            },
            to: ended.head,
            reason: offhook_engine::Trimmed::BySize.into(),
        };
        (ended.sequence > after).then_some((ended.sequence, gap))
    }
}

#[cfg(test)]
mod tests;
