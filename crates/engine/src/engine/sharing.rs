//! Subscriptions that share publications with a group.
//!
//! The members of a group on this worker have one cursor, which the reader holds: it reads as every
//! subscription that is behind does. What it reads is claimed at the broker before it is handed out,
//! so that no other worker delivers it; then the next member becomes the reader.

use std::{iter, sync::Arc};

use crate::{
    broker::{BrokerRequest, Claim, RequestId, ShareName, ShareRequest},
    delivery::{ConnectionId, GapReason},
    error::{ErrorCode, Refusal},
    position::Position,
    publication::Publication,
    rules::Access,
    slab::Slot,
};

use super::{
    Engine, Step,
    state::{Behind, Covered, Group, Missing, Pending, State, Subscription, Waits, Why},
};

/// The maximum number of publications claimed at once. 64: enough to keep members busy until the broker
/// answers, and few enough to leave some to other workers.
const CLAIMED_AT_ONCE: usize = 64;

impl Engine {
    pub(super) fn ask_share(&mut self, group: Slot, request: ShareRequest) {
        if let Some(g) = self.groups.get(group) {
            let name = g.name.clone();
            self.broker_requests
                .push_back(BrokerRequest::Share { name, request });
        }
    }

    /// The reader has read a publication. Hands it out, if this worker has claimed it.
    pub(super) fn share_out(&mut self, slot: Slot, next: Arc<Publication>) -> Option<Step> {
        if let Some(gap) = self.gap_before_next(slot) {
            self.queue_advance(slot);
            return Some(gap);
        }
        let s = self.subscriptions.get(slot)?;
        let (group, connection) = (s.shared.as_ref()?.group?, s.connection);
        let f = self.feeds.known(s.feed)?;
        let (place, is_filter) = (f.place_of(&next), f.is_filter());
        let g = self.groups.get_mut(group)?;
        let passed = g.take_passed(place);
        let knows = g.knows(place);
        let deliveries = g.claimed.get(&place.offset).map(|claimed| claimed.1);
        if !passed.is_empty() {
            self.ask_share(group, ShareRequest::Done { places: passed });
        }
        if !knows {
            self.claim_read(slot, group, place);
            return None;
        }
        let Some(deliveries) = deliveries else {
            // Another worker has it, or it was processed.
            self.behind(slot)?.cursor = place;
            self.queue_advance(slot);
            return None;
        };
        let reader = self.subscriptions.get(slot)?;
        if is_filter && !self.may_see(reader, &next.channel) {
            self.pass_unreadable(slot, group, (&next, place));
            return None;
        }
        if !self.has_room(slot) {
            self.go_on(group);
            return None;
        }
        self.behind(slot)?.cursor = place;
        self.groups.get_mut(group)?.claimed.remove(&place.offset);
        let subscription = self.name_of(slot)?;
        let shared = self
            .subscriptions
            .get_mut(slot)
            .and_then(Subscription::shared);
        shared?.hand_out(place);
        let class = self.connections.get(connection.into())?.class;
        self.spend(connection, next.weight());
        self.next_turn(group);
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

    /// The reader may not read a publication that a filter matches. If nobody may, it is passed over.
    fn pass_unreadable(
        &mut self,
        slot: Slot,
        group: Slot,
        (publication, place): (&Publication, Position),
    ) {
        let rules = self.rules_of(&publication.channel);
        if rules.is_ok_and(|rules| rules.subscribe != Access::Nobody) {
            // `may_share` prevents this. If it was wrong, the publication must not be withheld from
            // those who may read it: they get what this member would have been handed.
            let channel = &publication.channel;
            let detail = format!("a member of a group may not read {channel}, which is shared");
            return self.end_unasked(slot, Refusal::new(ErrorCode::Forbidden, detail));
        }
        if let Some(behind) = self.behind(slot) {
            behind.cursor = place;
        }
        if let Some(g) = self.groups.get_mut(group) {
            g.claimed.remove(&place.offset);
        }
        let places = vec![place];
        self.ask_share(group, ShareRequest::Done { places });
        self.queue_advance(slot);
    }

    /// Claims the publications that the reader has read, from this one on.
    fn claim_read(&mut self, slot: Slot, group: Slot, first: Position) {
        let room = self.room_of_group(group);
        if room == 0 {
            return self.blocked(slot);
        }
        let places = self.places_read(slot, first, room as usize);
        let id = self.request(Pending::Share { group });
        let Some(g) = self.groups.get_mut(group) else {
            return;
        };
        let after = g.claimed_to;
        g.asked = Some(id);
        g.claimed_to = places.last().copied().unwrap_or(first);
        let is_new = |place: &Position| !g.claimed.contains_key(&place.offset);
        let places = places.into_iter().filter(is_new).collect();
        if let Some(behind) = self.behind(slot) {
            behind.waits = Waits::Share;
        }
        self.ask_share(group, ShareRequest::Claim { id, after, places });
    }

    /// The places of the next publications that the reader has read, beginning with this one.
    fn places_read(&self, slot: Slot, first: Position, limit: usize) -> Vec<Position> {
        let Some(s) = self.subscriptions.get(slot) else {
            return vec![first];
        };
        let (State::Behind(behind), Some(f)) = (&s.state, self.feeds.known(s.feed)) else {
            return vec![first];
        };
        if let Some(page) = &behind.page {
            let all = page.iter().map(|publication| f.place_of(publication));
            let later = all.filter(|place| place.offset > first.offset);
            return iter::once(first).chain(later).take(limit).collect();
        }
        let recent = f.catching_up.as_ref().map(|c| &c.recent);
        let following = |place: &Position| {
            let next = recent?.next(*place, f.is_filter())?;
            Some(f.place_of(next))
        };
        let all = iter::successors(Some(first), following);
        all.take(limit).collect()
    }

    /// The broker has answered a group.
    pub(super) fn claimed(&mut self, id: RequestId, claims: &[Claim], next: Position, full: bool) {
        let Some(Pending::Share { group }) = self.requests.take(id) else {
            return;
        };
        let Some(g) = self.groups.get_mut(group).filter(|g| g.asked == Some(id)) else {
            // A further member has joined, which the broker need not answer.
            return;
        };
        g.asked = None;
        let all = claims.iter();
        g.claimed
            .extend(all.map(|claim| (claim.place.offset, (claim.place, claim.deliveries))));
        if g.claimed.is_empty() {
            // The group starts here, or continues where there is more.
            self.move_cursor(group, next);
            if full && let Some(reader) = self.groups.get(group).and_then(Group::reader) {
                return self.blocked(reader);
            }
        } else {
            // Something may have been returned before them.
            g.goes_back_to(next);
        }
        self.go_back(group);
        self.go_on(group);
    }

    /// A publication after this place can be claimed again.
    pub(super) fn returned(&mut self, name: &ShareName, after: Position) {
        let Some(feed) = self.feed_of(&name.target) else {
            return;
        };
        let known = (feed, name.group.clone());
        let Some(group) = self.group_names.get(&known).copied() else {
            return;
        };
        if let Some(g) = self.groups.get_mut(group) {
            g.goes_back_to(after);
        }
        self.go_back(group);
        self.go_on(group);
    }

    /// The broker may have dropped the event that something was returned.
    pub(super) fn groups_ask_again(&mut self) {
        let all = self.groups.iter();
        let quiet = all.filter(|(_, g)| g.asked.is_none()).map(|(slot, _)| slot);
        for group in quiet.collect::<Vec<_>>() {
            self.ask_again(group);
        }
    }

    /// Asks the broker where the group continues, unless the reader is reading: then later.
    fn ask_again(&mut self, group: Slot) {
        let reader = self.groups.get(group).and_then(Group::reader);
        let s = reader.and_then(|reader| self.subscriptions.get_mut(reader));
        let Some(behind) = s.and_then(Subscription::behind) else {
            return;
        };
        let is_reading = behind.waits == Waits::Read;
        if !is_reading {
            behind.waits = Waits::Share;
        }
        if let Some(g) = self.groups.get_mut(group) {
            g.asks_again = is_reading;
        }
        if is_reading {
            return;
        }
        let id = self.request(Pending::Share { group });
        let Some(g) = self.groups.get_mut(group) else {
            return;
        };
        g.asked = Some(id);
        let (after, places) = (g.claimed_to, Vec::new());
        self.ask_share(group, ShareRequest::Claim { id, after, places });
    }

    /// The reader of a group has got the page that it was reading. What happened to the group
    /// meanwhile is considered now.
    pub(super) fn group_has_read(&mut self, slot: Slot) {
        let s = self.subscriptions.get(slot);
        let Some(group) = s.and_then(|s| s.shared.as_ref()?.group) else {
            return;
        };
        let Some(g) = self.groups.get(group) else {
            return;
        };
        if g.reader() == Some(slot) {
            self.reader_is_free(group);
        }
    }

    /// The reader of a group does not read now: what was noted while it did is considered.
    pub(super) fn reader_is_free(&mut self, group: Slot) {
        match self.groups.get(group) {
            Some(g) if g.asks_again && g.asked.is_none() => self.ask_again(group),
            _ => self.go_back(group),
        }
    }

    /// Moves the cursor back to what was returned, unless the reader waits for an answer.
    pub(super) fn go_back(&mut self, group: Slot) {
        let Some(g) = self.groups.get(group) else {
            return;
        };
        let (Some(to), Some(reader)) = (g.back_to, g.reader()) else {
            return;
        };
        let is_asking = g.asked.is_some();
        let behind = self
            .subscriptions
            .get_mut(reader)
            .and_then(Subscription::behind);
        let Some((cursor, waits)) = behind.map(|behind| (behind.cursor, behind.waits)) else {
            return;
        };
        if is_asking || waits == Waits::Read {
            return;
        }
        if to.offset < cursor.offset {
            self.move_cursor(group, to);
        } else if let Some(g) = self.groups.get_mut(group) {
            g.back_to = None;
            if to.offset < g.claimed_to.offset {
                g.claimed_to = to;
            }
        }
    }

    /// Continues reading at this place.
    fn move_cursor(&mut self, group: Slot, to: Position) {
        let Some(g) = self.groups.get_mut(group) else {
            return;
        };
        g.back_to = None;
        g.claimed_to = to;
        let Some(reader) = g.reader() else {
            return;
        };
        let behind = self
            .subscriptions
            .get_mut(reader)
            .and_then(Subscription::behind);
        let Some(behind) = behind else {
            return;
        };
        // A gap that was not told yet is found again, if it lies ahead.
        if behind.gap.is_some_and(|gap| to.offset <= gap.from.offset) {
            behind.gap = None;
        }
        if behind.cursor != to {
            behind.move_to(to);
            behind.covered = Covered::Everything;
        }
    }

    /// How many more publications a member can take now.
    fn room_of(&self, member: Slot) -> usize {
        let Some(s) = self.subscriptions.get(member) else {
            return 0;
        };
        let c = self.connections.get(s.connection.into());
        let is_writable = c.is_some_and(|c| c.credit > 0 && !c.closing);
        let room = s.shared.as_ref().map_or(0, |shared| shared.room());
        if is_writable { room } else { 0 }
    }

    /// How many publications the members can take now, as far as they are claimed at once.
    pub(super) fn room_of_group(&self, group: Slot) -> u32 {
        let mut room = 0;
        for member in self.groups.get(group).into_iter().flat_map(|g| &g.members) {
            room += self.room_of(*member);
            if room >= CLAIMED_AT_ONCE {
                break;
            }
        }
        u32::try_from(room.min(CLAIMED_AT_ONCE)).unwrap_or(u32::MAX)
    }

    fn has_room(&self, member: Slot) -> bool {
        self.room_of(member) > 0
    }

    /// Makes the next member that has room the reader: the others first, so that members take turns.
    pub(super) fn next_turn(&mut self, group: Slot) {
        self.turn_from(group, 1);
    }

    /// Lets the reader continue or, if it has no room, the next member that has room.
    pub(super) fn go_on(&mut self, group: Slot) {
        self.turn_from(group, 0);
    }

    /// Makes the first member that has room the reader, starting with this one.
    fn turn_from(&mut self, group: Slot, first: usize) {
        let Some(g) = self.groups.get(group) else {
            return;
        };
        let Some(reader) = g.reader() else {
            return;
        };
        let waits = match self.subscriptions.get(reader).map(|s| &s.state) {
            Some(State::Behind(behind)) => behind.waits,
            Some(State::Opening(_) | State::Live { .. } | State::Ended) | None => return,
        };
        if g.asked.is_some() || waits == Waits::Read {
            return;
        }
        let members = g.members.iter().cycle().skip(first).take(g.members.len());
        let free = members.copied().find(|member| self.has_room(*member));
        match free {
            Some(member) => self.pass_to(group, member),
            None => self.blocked(reader),
        }
    }

    /// Makes a member the reader, which continues reading.
    fn pass_to(&mut self, group: Slot, member: Slot) {
        let Some(g) = self.groups.get_mut(group) else {
            return;
        };
        let Some(at) = g.members.iter().position(|known| *known == member) else {
            return;
        };
        let before = g.reader();
        g.members.rotate_left(at);
        if let Some(before) = before.filter(|before| *before != member) {
            self.hand_over(before, member);
        }
        if let Some(behind) = self.behind(member) {
            behind.waits = Waits::Nothing;
        }
        self.queue_advance(member);
    }

    /// Gives one member's cursor to another.
    pub(super) fn hand_over(&mut self, from: Slot, to: Slot) {
        let mut nowhere = Behind::at(Position::new(0, 0), Why::Paced);
        nowhere.waits = Waits::Share;
        let Some(behind) = self.behind(from) else {
            return;
        };
        let cursor = std::mem::replace(behind, nowhere);
        if let Some(behind) = self.behind(to) {
            *behind = cursor;
        }
    }

    /// No member can take anything now.
    pub(super) fn blocked(&mut self, reader: Slot) {
        let Some(behind) = self.behind(reader) else {
            return;
        };
        // For an unknown time: the page is read again afterwards.
        behind.drop_page();
        behind.waits = Waits::Done;
        let s = self.subscriptions.get(reader);
        let Some(group) = s.and_then(|s| s.shared.as_ref()?.group) else {
            return;
        };
        let Some(g) = self.groups.get_mut(group) else {
            return;
        };
        // Another worker may have room.
        let places = g.take_claimed();
        if places.is_empty() {
            return;
        }
        let delivered = false;
        self.ask_share(group, ShareRequest::Return { places, delivered });
    }

    /// A member's connection has room again.
    pub(super) fn groups_go_on(&mut self, connection: ConnectionId) {
        for slot in self.shares_of(connection) {
            let s = self.subscriptions.get(slot);
            if let Some(group) = s.and_then(|s| s.shared.as_ref()?.group) {
                self.group_goes_on(group);
            }
        }
    }

    /// A member has room again.
    pub(super) fn group_goes_on(&mut self, group: Slot) {
        let Some(reader) = self.groups.get(group).and_then(Group::reader) else {
            return;
        };
        let s = self
            .subscriptions
            .get_mut(reader)
            .and_then(Subscription::behind);
        if s.is_some_and(|behind| behind.waits == Waits::Done) {
            self.go_on(group);
        }
    }

    /// The stream continues elsewhere for the reader of a group.
    pub(super) fn share_gap(&mut self, slot: Slot, gap: &Missing, to: Position) {
        let s = self.subscriptions.get(slot);
        let Some(group) = s.and_then(|s| s.shared.as_ref()?.group) else {
            return;
        };
        let Some(g) = self.groups.get_mut(group) else {
            return;
        };
        match gap.reason {
            GapReason::Diverged | GapReason::EpochChanged | GapReason::UnknownPosition => {
                g.diverged(to);
            }
            GapReason::EvictedBySize
            | GapReason::EvictedByAge
            | GapReason::Damaged
            | GapReason::Dropped
            | GapReason::Conflated
            | GapReason::State
            | GapReason::Restarted
            | GapReason::Permissions => {}
        }
    }
}
