//! Routes the requests of workers: to the writer, to the reader, or to what is in memory.

use std::time::Instant;

use offhook_engine::{BrokerFailure, BrokerRequest, ChannelName, Position, Resolution};

use super::{
    super::{filters::FilterJob, queue::Job, states::ValuesJob, write::Write},
    Shared, WAITING, channel_of, is_on_disk, refuse,
};
use crate::{broker::WorkerId, hub::Durable};

/// Requests of one call that are not accepted. What follows one of them is not accepted either, even
/// if there is room again, so that it cannot overtake.
#[derive(Default)]
struct NotAccepted {
    requests: Vec<BrokerRequest>,
    /// Whether a request to the writer is among them.
    on_disk: bool,
    /// Whether a publication in a channel in memory is among them.
    in_memory: bool,
}

impl Shared {
    /// Handles requests, in order. The writer is woken when all are queued: if it were woken by the
    /// first of a hundred publications, it could commit that one alone, with an fsync of its own.
    /// Returns the requests for which there is no room.
    pub(in crate::log) fn submit_all(
        &self,
        worker: WorkerId,
        requests: &mut dyn Iterator<Item = BrokerRequest>,
    ) -> Vec<BrokerRequest> {
        let (mut writes, mut at) = (Vec::new(), None);
        let mut not_accepted = NotAccepted::default();
        for request in requests {
            let at = *at.get_or_insert_with(Instant::now);
            if let Some(other) = self.submit(request, at, &mut writes) {
                // What was requested before it comes first.
                self.write_all(worker, &mut writes, &mut not_accepted);
                self.submit_other(worker, other, &mut not_accepted);
            }
        }
        self.write_all(worker, &mut writes, &mut not_accepted);
        self.reads.wake();
        not_accepted.requests
    }

    /// Prepares a request for the writer, or returns it unchanged if it is not for the writer.
    fn submit(
        &self,
        request: BrokerRequest,
        at: Instant,
        writes: &mut Vec<Write>,
    ) -> Option<BrokerRequest> {
        let is_write = matches!(
            request,
            BrokerRequest::Publish { .. } | BrokerRequest::Ack { .. }
        );
        let channel = channel_of(&request).filter(|_| is_write);
        if !channel.is_some_and(|channel| self.hub.has(channel, is_on_disk)) {
            return Some(request);
        }
        match Write::of(request, at) {
            Ok(write) => {
                writes.push(write);
                None
            }
            Err(request) => Some(request),
        }
    }

    fn write_all(&self, worker: WorkerId, writes: &mut Vec<Write>, not_accepted: &mut NotAccepted) {
        if writes.is_empty() {
            return;
        }
        let left = match not_accepted.on_disk {
            true => std::mem::take(writes),
            false => self.jobs.put(worker, writes.drain(..)),
        };
        not_accepted.on_disk |= !left.is_empty();
        let left = left.into_iter().map(Write::into_request);
        not_accepted.requests.extend(left);
    }

    /// Handles a request that is not for the writer.
    fn submit_other(
        &self,
        worker: WorkerId,
        request: BrokerRequest,
        not_accepted: &mut NotAccepted,
    ) {
        if let BrokerRequest::Publish { id, draft } = request {
            let left = match not_accepted.in_memory {
                true => Some(draft),
                false => self.hub.publish(worker, id, draft),
            };
            if let Some(draft) = left {
                not_accepted.in_memory = true;
                let request = BrokerRequest::Publish { id, draft };
                not_accepted.requests.push(request);
            }
            return;
        }
        if let BrokerRequest::Unfollow { channel } = request {
            return self.unfollow(worker, channel);
        }
        let on_disk = |channel: &&ChannelName| self.hub.has(channel, is_on_disk);
        if channel_of(&request).filter(on_disk).is_none() {
            return self.in_memory(worker, request);
        }
        let Some(channel) = channel_of(&request).cloned() else {
            return;
        };
        let mut bus = self.hub.bus();
        match bus.durable.get_mut(&channel) {
            Some(Durable::Open(_)) => {
                self.answer(&mut bus, worker, request);
                bus.forget_empty(&channel);
            }
            Some(Durable::Loading(waiting)) if waiting.len() < WAITING => {
                waiting.push_back((worker, request));
            }
            Some(Durable::Loading(_)) => refuse(&mut bus, worker, &request, BrokerFailure::Busy),
            None => self.load(&mut bus, channel, worker, request),
        }
    }

    /// A worker follows a channel no longer, wherever its stream is.
    fn unfollow(&self, worker: WorkerId, channel: ChannelName) {
        let mut bus = self.hub.bus();
        if let Some(Durable::Loading(waiting)) = bus.durable.get_mut(&channel) {
            // It must not overtake a request to follow. If too many wait, no other request joins them,
            // so that one of each worker is enough.
            let last = || waiting.iter().rfind(|(of, _)| *of == worker);
            let ends_so = || matches!(last(), Some((_, BrokerRequest::Unfollow { .. })));
            if waiting.len() < WAITING || !ends_so() {
                waiting.push_back((worker, BrokerRequest::Unfollow { channel }));
            }
            return;
        }
        bus.unfollow(worker, &channel);
        bus.forget_empty(&channel);
    }

    /// Handles requests about no stream on disk, or about many.
    fn in_memory(&self, worker: WorkerId, request: BrokerRequest) {
        match request {
            BrokerRequest::FilterHistory {
                id,
                filter,
                after,
                limit,
            } => {
                let bus = self.hub.bus();
                let Some(mailbox) = bus.mailbox(worker).cloned() else {
                    return;
                };
                let job = FilterJob {
                    mailbox,
                    id,
                    filter,
                    after,
                    limit,
                    merge: None,
                };
                if !self.reads.filter(job) {
                    bus.tell_failed(worker, id, BrokerFailure::Busy);
                }
            }
            BrokerRequest::Receipts {
                id,
                ref channel,
                position,
            } => {
                if !self.has(channel, position) {
                    let failure = BrokerFailure::UnknownPosition;
                    return self.hub.bus().tell_failed(worker, id, failure);
                }
                self.hub.handle(worker, request);
            }
            BrokerRequest::SaveSession { id, .. } => {
                self.hub.session(request);
                if let Some(id) = id {
                    self.jobs.put_always(Job::Saved { worker, id });
                }
            }
            BrokerRequest::DropSession { .. } => self.hub.session(request),
            BrokerRequest::Share { name, request } => self.hub.share(worker, &name, request),
            BrokerRequest::Values {
                id,
                filter,
                after,
                limit,
            } => {
                let bus = self.hub.bus();
                let Some(mailbox) = bus.mailbox(worker).cloned() else {
                    return;
                };
                if !self
                    .reads
                    .values(ValuesJob::new(mailbox, id, filter, after, limit))
                {
                    bus.tell_failed(worker, id, BrokerFailure::Busy);
                }
            }
            BrokerRequest::Publish { .. }
            | BrokerRequest::Follow { .. }
            | BrokerRequest::Unfollow { .. }
            | BrokerRequest::FollowFilter { .. }
            | BrokerRequest::UnfollowFilter { .. }
            | BrokerRequest::LoadSession { .. }
            | BrokerRequest::History { .. }
            | BrokerRequest::State { .. }
            | BrokerRequest::Join { .. }
            | BrokerRequest::Leave { .. }
            | BrokerRequest::Members { .. }
            | BrokerRequest::Ack { .. }
            | BrokerRequest::Found { .. }
            | BrokerRequest::Renew { .. } => self.hub.handle(worker, request),
        }
    }

    /// Whether a position is valid in a stream that is in use. Also true for streams that are not
    /// in use, to which no client here is subscribed.
    fn has(&self, channel: &ChannelName, position: Position) -> bool {
        let bus = self.hub.bus();
        let Some(Durable::Open(view)) = bus.durable.get(channel) else {
            return true;
        };
        let head = view.stream.head.offset;
        let (resolution, _) = view.lineage.resolve(&self.epochs, position, head);
        resolution == Resolution::Continuous
    }
}
