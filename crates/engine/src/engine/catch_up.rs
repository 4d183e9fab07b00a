//! Subscriptions that are behind read the retained history, as fast as their outbox empties.
//!
//! One step of one subscription hands out one publication or one notice, then the subscription goes
//! to the end of the queue: subscriptions that catch up at the same time share the engine fairly.

use std::sync::Arc;

use crate::{
    delivery::{GapReason, Notice},
    position::Position,
    publication::Publication,
    rules::SlowPolicy,
    slab::Slot,
    subscription::SubscriptionName,
};

use super::{
    Engine, Step,
    state::{Behind, Covered, Feed, Subscription, Waits, Why, window::Next},
};

/// The next step of a subscription that is behind.
enum Move {
    /// The outbox has no room: wait for `handle_writable`.
    Park,
    /// Everything was handed out.
    GoLive,
    /// Hand this out; a gap before it was recorded in `Behind::gap`.
    HandOut(Arc<Publication>),
    /// Nothing is retained before the tail.
    SkipToTail,
    /// Read from the broker.
    Read,
    /// Read the channel's state, and continue after it.
    ReadState,
    /// Hand out the next value of the channel's state.
    GiveState,
    /// Wait until this worker receives what the subscription already has.
    AwaitStream,
}

impl Engine {
    pub(super) fn advance(&mut self, slot: Slot) -> Option<Step> {
        self.apply_first(slot);
        let s = self.subscriptions.get_mut(slot)?;
        let connection = self.connections.get(s.connection.into())?;
        let feed = s.feed;
        let f = self.feeds.known_mut(feed)?;
        let tail = f.tail?;
        let group = s.shared.as_ref().and_then(|shared| shared.group);
        let full_window = s.window.as_ref().is_some_and(|window| !window.has_room());
        let behind = s.behind()?;
        if behind.waits != Waits::Turn {
            return None;
        }
        behind.waits = Waits::Nothing;
        behind.doubt(f.jumps);
        let mut unreadable = false;
        if !behind.is_given_state()
            && behind.cursor.epoch != tail.epoch
            && !f.rules.history.is_kept()
        {
            // Without history, no read can tell what became of that epoch.
            let epoch = tail.epoch;
            behind.skip(GapReason::EpochChanged, Position { epoch, offset: 0 });
            unreadable = true;
        }
        let next = next_move(behind, f, tail, connection.credit);
        if unreadable {
            s.forget_receipts(Position {
                epoch: tail.epoch,
                offset: 0,
            });
        }
        match next {
            Move::Park => match group {
                Some(group) => self.next_turn(group),
                None => self.park(slot),
            },
            Move::GoLive => return self.caught_up(slot, tail),
            Move::HandOut(publication) if group.is_some() => {
                return self.share_out(slot, publication);
            }
            Move::HandOut(_) if full_window => {
                if let Some(behind) = self.behind(slot) {
                    // For an unknown time: the page is read again afterwards.
                    behind.drop_page();
                    behind.waits = Waits::Done;
                }
            }
            Move::HandOut(publication) => return self.hand_out(slot, publication),
            Move::SkipToTail => {
                let behind = self.behind(slot)?;
                let reason = match behind.why {
                    Why::Slow { .. }
                    | Why::ReadsState { .. }
                    | Why::GivesState { .. }
                    | Why::Paced => GapReason::Dropped,
                    Why::Given { .. } | Why::Confirmed => GapReason::EvictedBySize,
                };
                behind.skip(reason, tail);
                self.queue_advance(slot);
            }
            Move::Read => {
                self.behind(slot)?.waits = Waits::Read;
                self.read_is_free(slot);
            }
            Move::ReadState => return self.read_state(slot),
            Move::GiveState => return self.give_value(slot),
            Move::AwaitStream => self.await_stream_behind_it(slot),
        }
        None
    }

    /// The position of a subscription that the caller knows to be behind.
    pub(super) fn behind(&mut self, slot: Slot) -> Option<&mut Behind> {
        let behind = self
            .subscriptions
            .get_mut(slot)
            .and_then(Subscription::behind);
        debug_assert!(
            behind.is_some(),
            "only a subscription that is behind comes here"
        );
        behind
    }

    /// Waits for room in the outbox.
    pub(super) fn park(&mut self, slot: Slot) {
        let Some(behind) = self.behind(slot) else {
            return;
        };
        if !matches!(behind.why, Why::GivesState { .. }) {
            behind.drop_page();
        }
        behind.waits = Waits::Room;
        let connection = self.subscriptions.get(slot).map(|s| s.connection);
        if let Some(connection) = connection.and_then(|c| self.connections.get_mut(c.into())) {
            connection.extra().parked.push(slot);
        }
    }

    fn await_stream(&mut self, slot: Slot) {
        let Some(behind) = self.behind(slot) else {
            return;
        };
        behind.waits = Waits::Stream;
        let Some(feed) = self.subscriptions.get(slot).map(|s| s.feed) else {
            return;
        };
        if let Some(f) = self.feeds.known_mut(feed) {
            f.awaits_more(slot);
        }
    }

    /// The subscription has more than this worker has received.
    fn await_stream_behind_it(&mut self, slot: Slot) {
        self.await_stream(slot);
        let Some(feed) = self.subscriptions.get(slot).map(|s| s.feed) else {
            return;
        };
        // In a filter's order, nothing more may follow: other channels have advanced it.
        if self
            .feeds
            .get(feed)
            .is_some_and(|f| f.is_filter() && !f.following)
        {
            self.follow_again(feed);
        }
    }

    /// The subscription is live again: first the pending notices, then the marker, then live
    /// publications.
    fn caught_up(&mut self, slot: Slot, tail: Position) -> Option<Step> {
        if let Some(step) = self.gap_before_next(slot) {
            self.queue_advance(slot);
            return Some(step);
        }
        let s = self.subscriptions.get_mut(slot)?;
        let (connection, paced) = (s.connection, s.is_paced());
        let is_shared = s.shared.is_some();
        let behind = s.behind()?;
        let knows = behind.knows() && !is_shared;
        if paced {
            behind.why = Why::Paced;
            self.await_stream(slot);
        } else {
            self.go_live(slot);
        }
        let notice = Notice::Live {
            subscription: self.name_of(slot)?,
            position: tail,
        };
        // A connection that was full only briefly and missed nothing need not be told.
        knows.then_some(Step::Notice { connection, notice })
    }

    fn hand_out(&mut self, slot: Slot, next: Arc<Publication>) -> Option<Step> {
        self.queue_advance(slot);
        let before = self
            .behind_before_next(slot)
            .or_else(|| self.gap_before_next(slot));
        if before.is_some() {
            return before;
        }
        let s = self.subscriptions.get(slot)?;
        let hidden = self.feeds.known(s.feed)?.is_filter() && !self.may_see(s, &next.channel);
        let place = self.feeds.known(s.feed)?.place_of(&next);
        let connection = s.connection;
        let own = !s.echo
            && next
                .publisher
                .as_ref()
                .is_some_and(|by| self.is_session(connection, by.session));
        let s = self.subscriptions.get_mut(slot)?;
        s.behind()?.cursor = place;
        if hidden {
            return None;
        }
        let mut deliveries = 0;
        if let Some(window) = &mut s.window {
            let turn = if own { Next::Done } else { window.next(place) };
            window.handed_out(place, turn);
            match turn {
                Next::Deliver(count) => deliveries = count,
                // It was processed on an earlier connection.
                Next::Done if !own => return None,
                Next::Done => {}
            }
        }
        if own {
            return self.own(slot, &next);
        }
        let subscription = self.name_of(slot)?;
        let class = self.connections.get(connection.into())?.class;
        self.spend(connection, next.weight());
        Some(Step::Publication {
            connection,
            class,
            subscription,
            publication: next,
            place,
            deliveries,
            state: false,
        })
    }

    fn is_session(&self, connection: crate::ConnectionId, session: crate::SessionId) -> bool {
        let connection = self.connections.get(connection.into());
        connection.is_some_and(|connection| connection.session == session)
    }

    pub(super) fn behind_before_next(&mut self, slot: Slot) -> Option<Step> {
        // A member of a group is not told how the group gets on.
        if self.subscriptions.get(slot)?.shared.is_some() {
            return None;
        }
        let behind = self.behind(slot)?;
        if !behind.is_told() {
            return None;
        }
        let position = behind.gap.map_or(behind.cursor, |gap| gap.from);
        let subscription = self.name_of(slot)?;
        let notice = Notice::CatchingUp {
            subscription,
            position,
        };
        let connection = self.subscriptions.get(slot)?.connection;
        Some(Step::Notice { connection, notice })
    }

    pub(super) fn gap_before_next(&mut self, slot: Slot) -> Option<Step> {
        let subscription = self.name_of(slot)?;
        let s = self.subscriptions.get_mut(slot)?;
        let connection = s.connection;
        let behind = s.behind()?;
        let gap = behind.gap.take()?;
        let to = behind.cursor;
        // No receipt covers publications skipped by a gap.
        s.forget_receipts(to);
        if s.shared.is_some() {
            self.share_gap(slot, &gap, to);
        } else if let Some(window) = &mut s.window {
            match gap.reason {
                GapReason::Diverged => window.diverged(gap.agreed),
                GapReason::EpochChanged | GapReason::UnknownPosition => window.diverged(None),
                GapReason::EvictedBySize
                | GapReason::EvictedByAge
                | GapReason::Damaged
                | GapReason::Dropped
                | GapReason::Conflated
                | GapReason::State
                // Publications that were delivered are part of the stream.
                | GapReason::Restarted
                | GapReason::Permissions => {}
            }
            window.skip_to(to);
        }
        let notice = Notice::Gap {
            subscription,
            from: gap.from,
            to,
            reason: gap.reason,
            agreed: gap.agreed,
        };
        Some(Step::Notice { connection, notice })
    }

    /// The name of a subscription for its client.
    pub(super) fn name_of(&self, slot: Slot) -> Option<SubscriptionName> {
        let s = self.subscriptions.get(slot)?;
        let target = self.feeds.known(s.feed)?.target.clone();
        Some(SubscriptionName { target, id: s.id() })
    }
}

fn next_move(behind: &mut Behind, f: &Feed, tail: Position, credit: usize) -> Move {
    if f.is_filter() && behind.next_in_page(|p| f.place_of(p)).is_none() {
        match behind.covered {
            Covered::Everything => {}
            Covered::UpTo(head) => {
                behind.covered = Covered::Everything;
                if head.offset > behind.cursor.offset {
                    behind.move_to(head);
                }
            }
            Covered::Partly if credit == 0 => return Move::Park,
            Covered::Partly => return Move::Read,
        }
    }
    if behind.cursor == tail && !behind.is_given_state() {
        return Move::GoLive;
    }
    if credit == 0 {
        return Move::Park;
    }
    match behind.why {
        Why::ReadsState { .. } => return Move::ReadState,
        Why::GivesState { .. } => return Move::GiveState,
        Why::Given { .. } | Why::Confirmed | Why::Slow { .. } | Why::Paced => {}
    }
    if let Some(next) = behind.next_in_page(|p| f.place_of(p)) {
        return Move::HandOut(next);
    }
    behind.page = None;
    let recent = f.catching_up.as_ref().map(|c| &c.recent);
    if let Some(next) = recent.and_then(|recent| recent.next(behind.cursor, f.is_filter())) {
        return Move::HandOut(Arc::clone(next));
    }
    let ahead = behind.cursor.epoch == tail.epoch && behind.cursor.offset > tail.offset;
    if behind.is_confirmed() && (ahead || behind.at_head) {
        // Another worker received these first.
        return Move::AwaitStream;
    }
    if ahead {
        // Or the client invented its position: a read resolves that.
        return Move::Read;
    }
    if f.rules.history.is_kept() {
        return Move::Read;
    }
    if f.rules.slow == SlowPolicy::State && f.rules.state.is_kept() {
        let slow = !behind.knows();
        behind.why = Why::ReadsState { slow };
        return Move::ReadState;
    }
    let Some((next, previous)) = recent.and_then(|recent| recent.after(behind.cursor.offset))
    else {
        return Move::SkipToTail;
    };
    // Beyond the limits, not even the newest of each key is kept.
    let dropped = recent.is_some_and(|recent| recent.has_dropped_after(behind.cursor.offset));
    let conflated = f.rules.slow == SlowPolicy::LatestByKey && !dropped;
    let reason = if conflated {
        GapReason::Conflated
    } else {
        GapReason::Dropped
    };
    behind.skip(reason, previous);
    Move::HandOut(Arc::clone(next))
}
