//! Publications and acknowledgements in channels that are being loaded: they wait here, in order,
//! while the writer continues with others. The queue counts them: if it did not, they would have to be
//! refused here, when later ones of the same client may be in the queue already.

use std::collections::{HashMap, VecDeque};

use offhook_engine::{BrokerFailure, ChannelName};

use super::{Answer, Channel, Outcome, Writer};
use crate::{
    broker::WorkerId,
    log::{read_queue::Load, retained::Retained, store::Group, write::Write},
};

#[derive(Default)]
pub(super) struct Parked {
    waiting: HashMap<ChannelName, VecDeque<(WorkerId, Write)>>,
    count: usize,
    bytes: usize,
    /// The count and bytes that the queue knows.
    told: (usize, usize),
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn put(&mut self, channel: ChannelName, worker: WorkerId, write: Write) {
        self.count += 1;
        self.bytes += write.bytes();
        let waiting = self.waiting.entry(channel).or_default();
        waiting.push_back((worker, write));
    }

    fn take(&mut self, channel: &ChannelName) -> VecDeque<(WorkerId, Write)> {
        let waiting = self.waiting.remove(channel).unwrap_or_default();
        self.count -= waiting.len();
        let bytes = waiting.iter().map(|(_, write)| write.bytes());
        self.bytes -= bytes.sum::<usize>();
        waiting
    }
}

impl Writer {
    /// Tells the queue how much is parked. Called after each batch, so that at most one batch more
    /// than the queue's limit is held.
    pub(super) fn count_parked(&mut self) {
        let now = (self.parked.count, self.parked.bytes);
        if std::mem::replace(&mut self.parked.told, now) != now {
            self.shared.jobs.set_parked(now.0, now.1);
        }
    }

    /// Handles a request: stages it, or parks it until its channel is loaded.
    pub(super) fn take(
        &mut self,
        group: Option<&mut Group>,
        worker: WorkerId,
        write: Write,
        answers: &mut Vec<Answer>,
    ) {
        if group.is_none() || self.channels.contains_key(write.channel()) {
            return answers.push(self.stage(group, worker, write));
        }
        let channel = write.channel().clone();
        if !self.parked.waiting.contains_key(&channel) {
            self.shared.reads.load(Load::ForWriter(channel.clone()));
        }
        self.parked.put(channel, worker, write);
    }

    /// A channel was loaded, or could not be: its parked requests continue.
    pub(super) fn take_parked(
        &mut self,
        mut group: Option<&mut Group>,
        name: ChannelName,
        found: Result<Option<Retained>, BrokerFailure>,
        answers: &mut Vec<Answer>,
    ) {
        let waiting = self.parked.take(&name);
        let rules = self.shared.hub.rules_of(&name);
        let rules = rules.ok_or(BrokerFailure::UnknownChannel);
        let loaded = found.and_then(|retained| Ok((rules?, retained)));
        match loaded {
            Ok((rules, retained)) => {
                let used = self.ticks;
                let retained = retained.unwrap_or_else(|| Retained::new(0));
                let remembered = retained.head;
                self.upkeep.push_back(name.clone());
                let channel = Channel {
                    rules,
                    retained,
                    used,
                    remembered,
                };
                self.channels.insert(name, Box::new(channel));
                for (worker, write) in waiting {
                    answers.push(self.stage(group.as_deref_mut(), worker, write));
                }
            }
            Err(failure) => {
                answers.extend(waiting.into_iter().map(|(worker, write)| Answer {
                    worker,
                    id: write.id,
                    at: Some(write.at),
                    outcome: Outcome::Failed(failure),
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests;
