//! Pages of history for subscriptions that are behind: few reads at a time, shared by subscriptions
//! that need the same.

use std::sync::Arc;

use crate::{
    broker::{
        BrokerRequest, ChannelGap, ReadFrom, ReadLimit, ReadStart, RequestId, Resolution,
        StreamState,
    },
    delivery::Notice,
    error::{ErrorCode, Refusal, Retry},
    position::Position,
    publication::Publication,
    slab::Slot,
    subscription::Target,
};

use super::{
    Engine, Step,
    shrinking::list,
    state::{Again, Covered, Feed, Pending, Read, Waits},
};

/// The smallest read in bytes: small outboxes must not cause a read for each publication.
const SMALLEST_READ: usize = 4096;

/// The bytes that one page may become for all subscriptions that get it at once. 512 KiB: takes about a
/// millisecond. After a page of 128 KiB was read for four, reading it again costs little beside sending
/// it.
const HANDED_OUT: usize = 512 * 1024;

/// What a page costs for a subscription apart from its publications, in bytes. 1 KiB: an empty one ends
/// in the message `live`, for at most 512 at once.
const FOR_EACH: usize = 1024;

impl Engine {
    /// Starts the read that a subscription waits for, or joins one in flight. If too many are in
    /// flight, it waits for its turn.
    pub(super) fn read_is_free(&mut self, slot: Slot) {
        let Some(s) = self.subscriptions.get_mut(slot) else {
            return;
        };
        let credit = self
            .connections
            .get(s.connection.into())
            .map_or(0, |c| c.credit);
        let bytes = credit.max(SMALLEST_READ).min(self.limits.page_bytes);
        let feed = s.feed;
        // No more than may be handed out: the rest would be read again.
        let group = s.shared.as_ref().and_then(|shared| shared.group);
        let room = match (&s.window, group) {
            (Some(window), _) => window.room(),
            (None, Some(group)) => self.room_of_group(group),
            (None, None) => u32::MAX,
        };
        let Some(s) = self.subscriptions.get_mut(slot) else {
            return;
        };
        let Some(behind) = s.behind().filter(|behind| behind.waits == Waits::Read) else {
            return;
        };
        let after = behind.cursor;
        let Some(f) = self.feeds.known_mut(feed) else {
            return;
        };
        let most = f.subscribers;
        let reads = &mut f.catching_up().reads;
        // Clients that return with the same position share one read.
        if let Some(same) = reads.iter_mut().find(|read| read.after == after) {
            list(slot, &mut same.waiters, &self.subscriptions, most);
            return;
        }
        if self.reads >= self.limits.reads {
            self.reads_waiting.push_back(slot);
            if self.reads_waiting.len() > 2 * self.subscriptions.len() + 16 {
                let all = &self.subscriptions;
                self.reads_waiting.retain(|slot| all.get(*slot).is_some());
            }
            return;
        }
        self.reads += 1;
        let target = f.target.clone();
        let count = self.limits.page_count.min(room.max(1));
        let limit = ReadLimit { count, bytes };
        let id = self.request(Pending::Read { feed });
        if let Some(f) = self.feeds.get_mut(feed) {
            let waiters = vec![slot];
            f.catching_up().reads.push(Read { id, after, waiters });
        }
        self.broker_requests
            .push_back(read_request(id, target, after, limit));
    }

    /// A read ended, successfully or not: the next can start.
    fn read_ended(&mut self, feed: Slot, id: RequestId) -> Option<Read> {
        self.reads = self.reads.saturating_sub(1);
        let reads = self.feeds.get_mut(feed).map(|f| &mut f.catching_up().reads);
        let read = reads.and_then(|reads| {
            let index = reads.iter().position(|read| read.id == id)?;
            Some(reads.swap_remove(index))
        });
        // A waiting subscription may be gone or join another read: continue until a read was
        // started.
        while self.reads < self.limits.reads {
            let Some(slot) = self.reads_waiting.pop_front() else {
                break;
            };
            self.read_is_free(slot);
        }
        read
    }

    pub(super) fn page_read(
        &mut self,
        feed: Slot,
        id: RequestId,
        (stream, start): (StreamState, ReadStart),
        gaps: (&[ChannelGap], Covered),
        publications: Vec<Arc<Publication>>,
    ) {
        let Some(read) = self.read_ended(feed, id) else {
            return;
        };
        let page: Arc<[_]> = publications.into();
        let tail = self.feeds.get(feed).and_then(|f| f.tail);
        if tail.is_some_and(|tail| tail.epoch != stream.head.epoch) {
            // This worker has not received that epoch yet.
            self.follow_again(feed);
        }
        let mut waiters = read.waiters;
        let others = waiters.split_off(waiters.len().min(takers(&page)));
        for slot in waiters {
            self.turn_page(slot, read.after, (stream, start), gaps, &page);
        }
        // They share another read of the same.
        for slot in others {
            self.read_is_free(slot);
        }
        self.settle(feed);
    }

    /// Gives a subscription the page that was read for it.
    fn turn_page(
        &mut self,
        slot: Slot,
        after: Position,
        (stream, start): (StreamState, ReadStart),
        (gaps, covered): (&[ChannelGap], Covered),
        page: &Arc<[Arc<Publication>]>,
    ) {
        let Some(s) = self.subscriptions.get_mut(slot) else {
            return;
        };
        let Some(f) = self.feeds.known(s.feed) else {
            return;
        };
        if !s.behind().is_some_and(|behind| behind.reads_after(after)) {
            return;
        }
        let goes_on = matches!(
            start.resolution,
            Resolution::Continuous | Resolution::Restarted
        );
        if f.is_filter()
            && goes_on
            && let Some(window) = &mut s.window
        {
            window.goes_on_in(stream.head.epoch);
        }
        let Some(behind) = s.behind() else {
            return;
        };
        behind.start_at(start, stream.trimmed.into());
        behind.page = Some(Arc::clone(page));
        behind.covered = if page.is_empty() {
            Covered::Everything
        } else {
            covered
        };
        if let Some(tail) = after_nothing(f, behind.cursor, stream.head, page) {
            behind.move_to(tail);
        }
        let here = behind.cursor;
        let expects_more = |tail: Position| tail.epoch == here.epoch && tail.offset > here.offset;
        let expected_more = f.tail.is_some_and(expects_more);
        behind.at_head = here == stream.head && !expected_more;
        let has_next = behind.next_in_page(|p| f.place_of(p)).is_some();
        let moved = here != after || has_next || !behind.is_confirmed();
        behind.confirm();
        if here.offset < after.offset {
            // Receipts for another stream do not apply to this one.
            s.forget_receipts(here);
        }
        if expected_more && !moved {
            // The broker will receive more soon, or has lost it: do not retry at once.
            if let Some(behind) = s.behind() {
                behind.page = None;
            }
            self.try_again(Again::Read { subscription: slot });
            return;
        }
        if let Some(behind) = s.behind() {
            behind.waits = Waits::Nothing;
        }
        self.tell_channel_gaps(slot, gaps);
        self.queue_advance(slot);
        self.group_has_read(slot);
    }

    /// Reports to a filter's subscriber what is missing from the channels that it matches, after what
    /// is missing from the subscription as a whole.
    fn tell_channel_gaps(&mut self, slot: Slot, gaps: &[ChannelGap]) {
        if gaps.is_empty() {
            return;
        }
        while let Some(Step::Notice { connection, notice }) = self
            .behind_before_next(slot)
            .or_else(|| self.gap_before_next(slot))
        {
            self.notice(connection, notice);
        }
        for gap in gaps {
            let Some(s) = self.subscriptions.get(slot) else {
                return;
            };
            let connection = s.connection;
            if !self.may_see(s, &gap.channel) {
                continue;
            }
            let Some(from) = self.behind(slot).and_then(|behind| behind.untold(gap)) else {
                continue;
            };
            let Some(subscription) = self.name_of(slot) else {
                return;
            };
            let ChannelGap {
                channel,
                from: _,
                to,
                reason,
            } = gap.clone();
            self.notice(
                connection,
                Notice::ChannelGap {
                    subscription,
                    channel,
                    from,
                    to,
                    reason,
                },
            );
        }
    }

    pub(super) fn page_failed(&mut self, feed: Slot, id: RequestId, refusal: &Refusal) {
        let Some(read) = self.read_ended(feed, id) else {
            return;
        };
        let corrupt = refusal.code == ErrorCode::StorageCorrupt;
        debug_assert!(
            !corrupt || refusal.code.retry() == Retry::Never,
            "it never recovers"
        );
        for slot in read.waiters {
            if corrupt {
                // Skipping the damage would lose publications silently.
                self.end_unasked(slot, refusal.clone());
            } else {
                self.try_again(Again::Read { subscription: slot });
            }
        }
        self.settle(feed);
    }
}

/// How many subscriptions get the same page at once.
fn takers(page: &[Arc<Publication>]) -> usize {
    let bytes: usize = page.iter().map(|publication| publication.weight()).sum();
    (HANDED_OUT / (bytes + FOR_EACH)).max(1)
}

/// The position of a filter's subscriber after a read found nothing more: the tail, from which it is
/// live, unless it is there or further.
fn after_nothing(
    f: &Feed,
    here: Position,
    head: Position,
    page: &[Arc<Publication>],
) -> Option<Position> {
    if !f.is_filter() || !page.is_empty() {
        return None;
    }
    let tail = f
        .tail
        .filter(|tail| tail.epoch == head.epoch && head.offset >= tail.offset)?;
    let is_behind = here.epoch != tail.epoch || here.offset < tail.offset;
    is_behind.then_some(tail)
}

fn read_request(id: RequestId, target: Target, after: Position, limit: ReadLimit) -> BrokerRequest {
    let from = ReadFrom::After(after);
    match target {
        Target::Channel(channel) => BrokerRequest::History {
            id,
            channel,
            from,
            limit,
        },
        Target::Filter(filter) => BrokerRequest::FilterHistory {
            id,
            filter,
            after,
            limit,
        },
    }
}
