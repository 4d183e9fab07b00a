//! Subscriptions that are behind read on at their own pace, until they have everything.
//!
//! A step is decided when it is polled, against the stream as it was handed out just then: so
//! what was read and what is broadcast can't overlap and can't leave a hole.

use std::sync::Arc;

use crate::{
    broker::{BrokerRequest, ReadFrom, ReadLimit, ReadStart, RequestId, StreamState},
    delivery::{ConnectionId, GapReason, Notice},
    error::{ErrorCode, Refusal, Retry},
    position::Position,
    publication::Publication,
    slab::Slot,
};

use super::{
    Engine, Stage, Step,
    state::{Again, Behind, Channel, Pending, Read},
};

/// The smallest read in bytes: small outboxes shall not make a read for each publication.
const SMALLEST_READ: usize = 4096;

/// What a subscription that is behind does next.
enum Move {
    /// Its outbox has no room: wait for `handle_writable`.
    Park,
    /// Everything was handed out.
    GoLive,
    /// Hand this out; what is missing before it was put into `Behind::gap`.
    HandOut(Arc<Publication>),
    /// Nothing is retained up to the tail.
    SkipToTail,
    /// Read from the broker.
    Read,
    /// Wait until this worker hears of what the subscription has already.
    AwaitStream,
}

impl Engine {
    pub(super) fn advance(&mut self, connection: ConnectionId, channel: Slot) -> Option<Step> {
        let l = self.connections.get_mut(connection.into())?;
        let credit = l.credit;
        let c = self.channels.get_mut(channel)?;
        let tail = c.tail?;
        let s = l.subscription(channel)?;
        let Stage::Behind(behind) = &mut s.stage else {
            return None;
        };
        behind.queued = false;
        if behind.reading {
            return None;
        }
        if behind.cursor.epoch != tail.epoch && !c.rules.history.is_kept() {
            // Nothing can be read that would tell what became of that epoch.
            let offset = 0;
            let epoch = tail.epoch;
            behind.skip(GapReason::EpochChanged, Position { epoch, offset });
            (s.received, s.marked) = (0, 0);
        }
        match next_move(behind, c, tail, credit) {
            Move::Park => {
                behind.page = None;
                None
            }
            Move::GoLive => self.caught_up(connection, channel, tail),
            Move::HandOut(publication) => self.hand_out(connection, channel, publication),
            Move::SkipToTail => {
                let reason = if behind.slow {
                    GapReason::Dropped
                } else {
                    GapReason::EvictedBySize
                };
                behind.skip(reason, tail);
                self.queue_advance(connection, channel);
                None
            }
            Move::Read => {
                behind.reading = true;
                self.read_is_free(connection, channel);
                None
            }
            Move::AwaitStream => {
                if !std::mem::replace(&mut behind.ahead, true) {
                    c.catching_up().ahead.push(connection);
                }
                None
            }
        }
    }

    /// Live again: first what has to be said about the way there, then the marker, then live.
    fn caught_up(
        &mut self,
        connection: ConnectionId,
        channel: Slot,
        tail: Position,
    ) -> Option<Step> {
        if let Some(notice) = self.gap_before_next(connection, channel) {
            self.queue_advance(connection, channel);
            return Some(Step::Notice { connection, notice });
        }
        let c = self.channels.get(channel)?;
        let name = c.name.clone();
        let s = self
            .connections
            .get_mut(connection.into())?
            .subscription(channel)?;
        let Stage::Behind(behind) = &s.stage else {
            return None;
        };
        let told = behind.told;
        self.go_live(connection, channel);
        let notice = Notice::Live {
            channel: name,
            position: tail,
        };
        // A connection that was full for a moment and missed nothing need not know.
        told.then_some(Step::Notice { connection, notice })
    }

    fn hand_out(
        &mut self,
        connection: ConnectionId,
        channel: Slot,
        next: Arc<Publication>,
    ) -> Option<Step> {
        self.queue_advance(connection, channel);
        let notice = self
            .behind_before_next(connection, channel)
            .or_else(|| self.gap_before_next(connection, channel));
        if let Some(notice) = notice {
            return Some(Step::Notice { connection, notice });
        }
        let l = self.connections.get_mut(connection.into())?;
        l.credit = l.credit.saturating_sub(next.weight());
        let Stage::Behind(behind) = &mut l.subscription(channel)?.stage else {
            return None;
        };
        behind.cursor = next.position;
        Some(Step::Publication {
            connection,
            publication: next,
        })
    }

    fn behind_before_next(&mut self, connection: ConnectionId, channel: Slot) -> Option<Notice> {
        let name = self.channels.get(channel)?.name.clone();
        let s = self
            .connections
            .get_mut(connection.into())?
            .subscription(channel)?;
        let Stage::Behind(behind) = &mut s.stage else {
            return None;
        };
        if std::mem::replace(&mut behind.told, true) {
            return None;
        }
        let position = behind.gap.map_or(behind.cursor, |gap| gap.from);
        Some(Notice::CatchingUp {
            channel: name,
            position,
        })
    }

    fn gap_before_next(&mut self, connection: ConnectionId, channel: Slot) -> Option<Notice> {
        let name = self.channels.get(channel)?.name.clone();
        let s = self
            .connections
            .get_mut(connection.into())?
            .subscription(channel)?;
        let Stage::Behind(behind) = &mut s.stage else {
            return None;
        };
        let gap = behind.gap.take()?;
        Some(Notice::Gap {
            channel: name,
            from: gap.from,
            to: behind.cursor,
            reason: gap.reason,
            agreed: gap.agreed,
        })
    }

    /// Starts the read a subscription waits for, or joins one that is under way; when too many
    /// are, it waits for its turn.
    pub(super) fn read_is_free(&mut self, connection: ConnectionId, channel: Slot) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let bytes = l.credit.max(SMALLEST_READ).min(self.limits.page_bytes);
        let Some(s) = l.subscription(channel) else {
            return;
        };
        let Stage::Behind(behind) = &mut s.stage else {
            return;
        };
        let after = behind.cursor;
        let Some(c) = self.channels.get_mut(channel) else {
            return;
        };
        let reads = &mut c.catching_up().reads;
        // A herd that comes back with the same position reads once.
        if let Some(same) = reads.iter_mut().find(|read| read.after == after) {
            same.waiters.push(connection);
            return;
        }
        if self.reads >= self.limits.reads {
            self.reads_waiting.push_back((connection, channel));
            return;
        }
        self.reads += 1;
        let (name, limit) = (
            c.name.clone(),
            ReadLimit {
                count: self.limits.page_count,
                bytes,
            },
        );
        let id = self.request(Pending::Read { channel });
        let Some(c) = self.channels.get_mut(channel) else {
            return;
        };
        c.catching_up().reads.push(Read {
            id,
            after,
            waiters: vec![connection],
        });
        let from = ReadFrom::After(after);
        self.broker_requests.push_back(BrokerRequest::History {
            id,
            channel: name,
            from,
            limit,
        });
    }

    /// A read ended, well or not: the next may begin.
    fn read_ended(&mut self, channel: Slot, id: RequestId) -> Option<Read> {
        self.reads = self.reads.saturating_sub(1);
        let reads = self
            .channels
            .get_mut(channel)
            .map(|c| &mut c.catching_up().reads);
        let read = reads.and_then(|reads| {
            let index = reads.iter().position(|read| read.id == id)?;
            Some(reads.swap_remove(index))
        });
        // One waiter may have gone or join another read: go on until a read was started.
        while self.reads < self.limits.reads {
            let Some((connection, channel)) = self.reads_waiting.pop_front() else {
                break;
            };
            self.read_is_free(connection, channel);
        }
        read
    }

    pub(super) fn page_read(
        &mut self,
        channel: Slot,
        id: RequestId,
        stream: StreamState,
        start: ReadStart,
        publications: Vec<Arc<Publication>>,
    ) {
        let Some(read) = self.read_ended(channel, id) else {
            return;
        };
        let page: Arc<[_]> = publications.into();
        let tail = self.channels.get(channel).and_then(|c| c.tail);
        if tail.is_some_and(|tail| tail.epoch != stream.head.epoch) {
            // This worker has not heard of that epoch yet.
            self.follow_again(channel);
        }
        for connection in read.waiters {
            let Some(l) = self.connections.get_mut(connection.into()) else {
                continue;
            };
            let Some(s) = l.subscription(channel) else {
                continue;
            };
            let Stage::Behind(behind) = &mut s.stage else {
                continue;
            };
            if !behind.reading || behind.cursor != read.after {
                continue;
            }
            let turned = turn_page(behind, stream, start, &page, tail);
            if behind.cursor.offset < read.after.offset {
                // What was received of another stream is no receipt for this one.
                let shared = behind.cursor.offset;
                (s.received, s.marked) = (s.received.min(shared), s.marked.min(shared));
            }
            if !turned {
                self.try_again(Again::Read {
                    connection,
                    channel,
                });
                continue;
            }
            self.queue_advance(connection, channel);
        }
        self.settle(channel);
    }

    pub(super) fn page_failed(&mut self, channel: Slot, id: RequestId, refusal: &Refusal) {
        let Some(read) = self.read_ended(channel, id) else {
            return;
        };
        let Some(name) = self.channels.get(channel).map(|c| c.name.clone()) else {
            return;
        };
        let never = refusal.code.retry() == Retry::Never;
        for connection in read.waiters {
            if never && refusal.code == ErrorCode::StorageCorrupt {
                // Reading around the damage would lose something silently.
                self.end(connection, channel, self.limits.presence_grace);
                self.unsubscribed(connection, &name, refusal.clone());
            } else {
                self.try_again(Again::Read {
                    connection,
                    channel,
                });
            }
        }
        self.settle(channel);
    }
}

fn next_move(behind: &mut Behind, c: &Channel, tail: Position, credit: usize) -> Move {
    if behind.cursor == tail {
        return Move::GoLive;
    }
    if credit == 0 {
        return Move::Park;
    }
    if let Some(next) = behind.next_in_page() {
        return Move::HandOut(next);
    }
    behind.page = None;
    let recent = c.catching_up.as_ref().map(|c| &c.recent);
    if let Some(next) = recent.and_then(|recent| recent.next(behind.cursor)) {
        return Move::HandOut(Arc::clone(next));
    }
    let ahead = behind.cursor.epoch == tail.epoch && behind.cursor.offset > tail.offset;
    if behind.verified && (ahead || behind.at_head) {
        // Another worker was faster with these.
        return Move::AwaitStream;
    }
    if ahead {
        // Or the client made its position up: a read tells.
        return Move::Read;
    }
    let history = c.rules.history.is_kept();
    if history {
        return Move::Read;
    }
    match recent.and_then(|recent| recent.after(behind.cursor.offset)) {
        Some(next) => {
            let conflated = c.rules.slow == crate::rules::SlowPolicy::LatestByKey;
            let reason = if conflated {
                GapReason::Conflated
            } else {
                GapReason::Dropped
            };
            behind.skip(reason, next.previous);
            Move::HandOut(Arc::clone(next))
        }
        None => Move::SkipToTail,
    }
}

/// Gives a subscription what was read for it. False when that brings it nowhere.
fn turn_page(
    behind: &mut Behind,
    stream: StreamState,
    start: ReadStart,
    page: &Arc<[Arc<Publication>]>,
    tail: Option<Position>,
) -> bool {
    let before = behind.cursor;
    behind.start_at(start, stream.trimmed.into());
    behind.lenient = false;
    behind.page = Some(Arc::clone(page));
    let here = behind.cursor;
    let expected_more =
        tail.is_some_and(|tail| tail.epoch == here.epoch && tail.offset > here.offset);
    behind.at_head = page.is_empty() && here == stream.head && !expected_more;
    let moved = here != before || behind.next_in_page().is_some() || !behind.verified;
    behind.verified = true;
    if expected_more && !moved {
        behind.page = None;
        return false;
    }
    behind.reading = false;
    true
}
