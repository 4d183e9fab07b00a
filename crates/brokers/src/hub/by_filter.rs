//! Following and reading the channels in memory that match a filter.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use offhook_engine::{
    BrokerEvent, ChannelGap, Filter, Position, Publication, ReadLimit, ReadStart, RequestId,
    Resolution, StreamState, Trimmed,
};

use super::{Bus, Hub};
use crate::broker::WorkerId;

impl Hub {
    pub(super) fn follow_filter(&self, worker: WorkerId, id: RequestId, filter: &Filter) {
        let mut bus = self.bus();
        match bus.follow_filter(worker, filter) {
            Ok(head) => {
                let stream = StreamState {
                    head,
                    first: head.offset + 1,
                    trimmed: Trimmed::default(),
                };
                bus.tell(worker, BrokerEvent::Followed { id, stream });
            }
            Err(failure) => bus.tell_failed(worker, id, failure),
        }
    }

    pub(super) fn filter_history(
        &self,
        worker: WorkerId,
        id: RequestId,
        filter: &Filter,
        after: Position,
        limit: ReadLimit,
    ) {
        let bus = self.bus();
        let head = bus.place();
        let (resolution, offset) = match after {
            after if after.epoch != head.epoch => (Resolution::UnknownEpoch, 0),
            after if after.offset > head.offset => (Resolution::AheadOfHead, head.offset),
            after => (Resolution::Continuous, after.offset),
        };
        let (gaps, publications, complete) = by_sequence(&bus, filter, offset, limit);
        let start = Position { offset, ..head };
        let event = BrokerEvent::FilterHistory {
            id,
            head,
            start: ReadStart {
                resolution,
                ..ReadStart::at(start)
            },
            gaps,
            publications,
            complete,
        };
        bus.tell(worker, event);
    }
}

/// Publications of streams in memory after a sequence number, in its order.
fn by_sequence(
    bus: &Bus,
    filter: &Filter,
    after: u64,
    limit: ReadLimit,
) -> (Vec<ChannelGap>, Vec<Arc<Publication>>, bool) {
    let (mut gaps, mut streams, mut next) = (Vec::new(), Vec::new(), BinaryHeap::new());
    for (channel, stream) in bus.matching(filter) {
        let (gap, mut publications) = stream.after_sequence(channel, after);
        gaps.extend(gap.map(|gap| (stream.dropped_sequence(), gap)));
        if let Some(first) = publications.next() {
            next.push(Reverse((first.sequence, streams.len())));
            streams.push((first, publications));
        }
    }
    gaps.extend(bus.forgotten_gaps(filter, after));
    let (mut page, mut bytes, mut is_all) = (Vec::<Arc<Publication>>::new(), 0, true);
    while let Some(Reverse((_, of))) = next.pop() {
        let Some((publication, publications)) = streams.get_mut(of) else {
            break;
        };
        bytes += publication.weight();
        if page.len() >= limit.count as usize || (bytes > limit.bytes && !page.is_empty()) {
            is_all = false;
            break;
        }
        page.push(Arc::clone(publication));
        if let Some(later) = publications.next() {
            *publication = later;
            next.push(Reverse((later.sequence, of)));
        }
    }
    // A gap is delivered in order: once, when the reader has passed its position.
    let reached = page.last().map_or(after, |last| last.sequence);
    gaps.retain(|(sequence, _)| is_all || *sequence <= reached);
    let gaps = gaps.into_iter().map(|(_, gap)| gap).collect();
    (gaps, page, is_all)
}
