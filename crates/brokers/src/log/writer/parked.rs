//! Publications and acknowledgements in channels that are being loaded: they wait here, in order,
//! while the writer continues with others.

use std::collections::{HashMap, VecDeque};

use offhook_engine::{BrokerFailure, BrokerRequest, ChannelName, RequestId};

use super::{Answer, Channel, Outcome, Writer};
use crate::{
    broker::WorkerId,
    log::{queue::request_bytes, reader::Load, retained::Retained, store::Group},
};

/// The maximum number of parked requests, and of their bytes of data: the same as in the writer's
/// queue.
const COUNT: usize = 65_536;
const BYTES: usize = 64 << 20;

#[derive(Default)]
pub(super) struct Parked {
    waiting: HashMap<ChannelName, VecDeque<(WorkerId, BrokerRequest)>>,
    count: usize,
    bytes: usize,
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn put(&mut self, channel: ChannelName, worker: WorkerId, request: BrokerRequest) {
        self.count += 1;
        self.bytes += request_bytes(&request);
        let waiting = self.waiting.entry(channel).or_default();
        waiting.push_back((worker, request));
    }

    fn take(&mut self, channel: &ChannelName) -> VecDeque<(WorkerId, BrokerRequest)> {
        let waiting = self.waiting.remove(channel).unwrap_or_default();
        self.count -= waiting.len();
        let bytes = waiting.iter().map(|(_, request)| request_bytes(request));
        self.bytes -= bytes.sum::<usize>();
        waiting
    }
}

impl Writer {
    /// Handles a request: stages it, or parks it until its channel is loaded.
    pub(super) fn take(
        &mut self,
        group: Option<&mut Group>,
        worker: WorkerId,
        request: BrokerRequest,
        answers: &mut Vec<Answer>,
    ) {
        let Some((id, channel)) = about(&request) else {
            return;
        };
        if group.is_none() || self.channels.contains_key(channel) {
            answers.extend(self.stage(group, worker, request));
            return;
        }
        if self.parked.count >= COUNT || self.parked.bytes >= BYTES {
            let outcome = Outcome::Failed(BrokerFailure::Busy);
            return answers.push(Answer {
                worker,
                id,
                outcome,
            });
        }
        let channel = channel.clone();
        if !self.parked.waiting.contains_key(&channel) {
            self.shared.reads.load(Load::ForWriter(channel.clone()));
        }
        self.parked.put(channel, worker, request);
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
                self.channels.insert(
                    name,
                    Channel {
                        rules,
                        retained,
                        used,
                        remembered,
                    },
                );
                for (worker, request) in waiting {
                    answers.extend(self.stage(group.as_deref_mut(), worker, request));
                }
            }
            Err(failure) => {
                for (worker, request) in waiting {
                    let Some((id, _)) = about(&request) else {
                        continue;
                    };
                    let outcome = Outcome::Failed(failure);
                    answers.push(Answer {
                        worker,
                        id,
                        outcome,
                    });
                }
            }
        }
    }
}

/// The id and channel of a request for the writer.
fn about(request: &BrokerRequest) -> Option<(RequestId, &ChannelName)> {
    match request {
        BrokerRequest::Publish { id, draft } => Some((*id, &draft.channel)),
        BrokerRequest::Ack { id, channel, .. } => Some((*id, channel)),
        // The bus handles all other requests.
        BrokerRequest::Follow { .. }
        | BrokerRequest::Unfollow { .. }
        | BrokerRequest::FollowFilter { .. }
        | BrokerRequest::UnfollowFilter { .. }
        | BrokerRequest::FilterHistory { .. }
        | BrokerRequest::SaveSession { .. }
        | BrokerRequest::DropSession { .. }
        | BrokerRequest::LoadSession { .. }
        | BrokerRequest::History { .. }
        | BrokerRequest::State { .. }
        | BrokerRequest::Join { .. }
        | BrokerRequest::Leave { .. }
        | BrokerRequest::Members { .. }
        | BrokerRequest::Receipts { .. }
        | BrokerRequest::Found { .. }
        | BrokerRequest::Renew { .. } => None,
    }
}
