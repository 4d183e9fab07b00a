//! The positions of groups that share publications, for the brokers of one process: see [`Shares`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    broker::{Claim, ShareName},
    position::Position,
    session::SessionId,
};

pub use self::saved::is_saved_share;
use self::saved::restore;

/// The maximum number of groups. 10,000: a queue for each kind of work, for each tenant of a large
/// installation.
const GROUPS: usize = 10_000;

/// The maximum number of claimed and returned publications of one group. 65,536: 64 members with
/// the largest window. At the limit, nothing new is claimed until some publications have been
/// processed.
const OPEN: usize = 65_536;

/// How much longer a stored state of a group with members is kept than without: as long as a session
/// whose client is connected. The state is stored again before half of this time is over, so that
/// it does not expire while nothing is published.
const WHILE_SERVED: Duration = Duration::from_secs(600);

/// The approximate number of bytes of groups that are saved at a time. 1 MiB: enough for all
/// changed groups on most servers, and other requests wait only about a millisecond.
const SAVED_AT_ONCE: usize = 1 << 20;

/// Which publications of each group are claimed, returned or processed.
///
/// All publications up to a group's cursor have been processed, except open ones: those that a
/// worker has claimed or returned. Memory usage depends only on the number of open publications.
///
/// `W` identifies a worker.
#[derive(Debug)]
pub struct Shares<W> {
    groups: HashMap<ShareName, Group<W>>,
    /// How often groups were saved.
    rounds: u64,
}

#[derive(Debug)]
struct Group<W> {
    cursor: Position,
    /// The newest epoch of a claimed publication; 0 before the first claim.
    epoch: u64,
    open: BTreeMap<u64, Open<W>>,
    /// The offsets of returned publications, which are part of `open`.
    returned: BTreeSet<u64>,
    /// Workers with members.
    workers: BTreeSet<W>,
    /// How long to keep the group if every worker dies.
    keep: Duration,
    /// When the group is removed, in wall-clock milliseconds, if no worker has members.
    until_ms: u64,
    /// Whether the group has changed since it was saved.
    stale: bool,
    /// The round in which the group was last saved.
    saved_in: u64,
    /// When the group was last saved, in wall-clock milliseconds.
    saved_ms: u64,
    /// Whether a claim was refused because too many publications are open.
    stalled: bool,
}

#[derive(Debug)]
struct Open<W> {
    position: Position,
    /// The worker that has claimed the publication; `None` if it was returned.
    by: Option<W>,
    deliveries: u16,
}

/// Workers to wake, and the position from which they may claim again.
pub type Woken<W> = Vec<(W, Position)>;

/// The state of a group, to be stored in the same way as a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedShare {
    /// The id under which the group is stored.
    pub id: SessionId,
    /// The state, and how long to keep it; `None` to delete it.
    pub state: Option<(Bytes, Duration)>,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The publications that the worker has claimed.
    pub claims: Vec<Claim>,
    /// The position after which there may be more to claim.
    pub next: Position,
    /// Too many publications are open: nothing new can be claimed until some are processed.
    pub full: bool,
}

/// The maximum number of groups has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyShares;

impl<W> Default for Shares<W> {
    fn default() -> Self {
        Self {
            groups: HashMap::new(),
            rounds: 0,
        }
    }
}

impl<W: Copy + Ord> Shares<W> {
    /// Whether the group is known; if not, [`join`](Self::join) needs its saved state.
    #[must_use]
    pub fn knows(&self, name: &ShareName) -> bool {
        self.groups.contains_key(name)
    }

    /// Notes that a worker has members from now on. A group that is not known continues from
    /// `saved`, or else begins at `after`. Returns the position after which there may be something
    /// to claim.
    ///
    /// # Errors
    /// If there are too many groups.
    pub fn join(
        &mut self,
        name: &ShareName,
        worker: W,
        (after, keep): (Position, Duration),
        saved: Option<&[u8]>,
    ) -> Result<Position, TooManyShares> {
        if !self.knows(name) {
            if self.groups.len() >= GROUPS {
                return Err(TooManyShares);
            }
            let saved = saved.and_then(|bytes| restore(name, bytes));
            let group = saved.unwrap_or_else(|| Group::new(after));
            self.groups.insert(name.clone(), group);
        }
        let group = self.groups.get_mut(name).ok_or(TooManyShares)?;
        group.workers.insert(worker);
        group.keep = group.keep.max(keep);
        group.stale = true;
        Ok(group.next())
    }

    /// Claims publications for a worker: see [`ShareRequest::Claim`](crate::ShareRequest).
    #[must_use]
    pub fn claim(
        &mut self,
        name: &ShareName,
        worker: W,
        after: Position,
        places: &[Position],
    ) -> Claimed {
        let Some(group) = self.groups.get_mut(name) else {
            return Claimed {
                claims: Vec::new(),
                next: after,
                full: false,
            };
        };
        group.stale |= !places.is_empty();
        if name.target.channel().is_some()
            && let Some(diverged) = places.iter().find(|place| group.diverges_at(**place))
        {
            group.restart_at(*diverged);
        }
        group.forget_missing(after, places);
        let (mut claims, mut full) = (Vec::new(), false);
        for place in places {
            match group.claim(worker, *place) {
                Ok(claim) => claims.extend(claim),
                Err(Stalled) => {
                    (group.stalled, full) = (true, true);
                    break;
                }
            }
        }
        Claimed {
            claims,
            next: group.next(),
            full,
        }
    }

    /// Notes that members of a worker have processed publications.
    #[must_use]
    pub fn done(&mut self, name: &ShareName, worker: W, places: &[Position]) -> Woken<W> {
        let Some(group) = self.groups.get_mut(name) else {
            return Vec::new();
        };
        group.stale = true;
        for place in places {
            if group.is_claimed(worker, *place) {
                group.open.remove(&place.offset);
            }
        }
        if std::mem::take(&mut group.stalled) {
            return group.wake(group.cursor);
        }
        Vec::new()
    }

    /// Returns publications that the members of a worker have not processed.
    #[must_use]
    pub fn give_back(
        &mut self,
        name: &ShareName,
        worker: W,
        places: &[Position],
        delivered: bool,
    ) -> Woken<W> {
        let Some(group) = self.groups.get_mut(name) else {
            return Vec::new();
        };
        group.stale = true;
        let claimed = places
            .iter()
            .filter(|place| group.is_claimed(worker, **place));
        let offsets: Vec<u64> = claimed.map(|place| place.offset).collect();
        group.give_back(&offsets, delivered)
    }

    /// Handles a worker without members, whose claimed publications are returned.
    #[must_use]
    pub fn leave(
        &mut self,
        name: &ShareName,
        worker: W,
        keep: Duration,
        now_ms: u64,
    ) -> (Woken<W>, Option<SavedShare>) {
        let Some(group) = self.groups.get_mut(name) else {
            return (Vec::new(), None);
        };
        let woken = group.worker_left(worker);
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        group.until_ms = group.until_ms.max(now_ms.saturating_add(keep_ms));
        if !group.workers.is_empty() {
            return (woken, None);
        }
        let left = Duration::from_millis(group.until_ms.saturating_sub(now_ms));
        let state = (!left.is_zero()).then(|| (group.to_bytes(name), left));
        // The group is loaded from its saved state when it has members again.
        self.groups.remove(name);
        let id = name.saved_as();
        (woken, Some(SavedShare { id, state }))
    }

    /// Handles the death of a worker, whose claimed publications are returned.
    #[must_use]
    pub fn worker_gone(
        &mut self,
        worker: W,
        now_ms: u64,
    ) -> (Vec<(ShareName, Woken<W>)>, Vec<SavedShare>) {
        let on_it = |group: &Group<W>| group.workers.contains(&worker);
        let all = self.groups.iter().filter(|(_, group)| on_it(group));
        let names: Vec<(ShareName, Duration)> = all
            .map(|(name, group)| (name.clone(), group.keep))
            .collect();
        let (mut woken, mut saved) = (Vec::new(), Vec::new());
        for (name, keep) in names {
            let (awake, save) = self.leave(&name, worker, keep, now_ms);
            saved.extend(save);
            woken.push((name, awake));
        }
        (woken, saved)
    }

    /// Takes the states of durable groups that have changed since they were saved, and of those that
    /// would expire although they have members. If they are large, only some are returned, least
    /// recently saved first; later calls return the others.
    #[must_use]
    pub fn unsaved(&mut self, now_ms: u64) -> Vec<SavedShare> {
        self.rounds += 1;
        let due = self.groups.iter_mut().filter(|(_, g)| g.is_due(now_ms));
        let mut due: Vec<_> = due.collect();
        due.sort_unstable_by_key(|(_, group)| group.saved_in);
        let (mut all, mut bytes) = (Vec::new(), 0);
        for (name, group) in due {
            if bytes >= SAVED_AT_ONCE {
                break;
            }
            (group.stale, group.saved_in, group.saved_ms) = (false, self.rounds, now_ms);
            let Some(keep) = group.kept_for(now_ms) else {
                continue;
            };
            let state = group.to_bytes(name);
            bytes += state.len();
            let (id, state) = (name.saved_as(), Some((state, keep + WHILE_SERVED)));
            all.push(SavedShare { id, state });
        }
        all
    }

    /// The approximate memory usage in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let open: usize = self.groups.values().map(|group| group.open.len()).sum();
        open * 64 + self.groups.len() * 512
    }
}

/// Too many publications are open.
struct Stalled;

impl<W: Copy + Ord> Group<W> {
    fn new(cursor: Position) -> Self {
        Self {
            cursor,
            epoch: 0,
            open: BTreeMap::new(),
            returned: BTreeSet::new(),
            workers: BTreeSet::new(),
            keep: Duration::ZERO,
            until_ms: 0,
            stale: true,
            saved_in: 0,
            saved_ms: 0,
            stalled: false,
        }
    }

    /// How long the group is kept without members; `None` if it ends with its last member.
    fn kept_for(&self, now_ms: u64) -> Option<Duration> {
        let absent = Duration::from_millis(self.until_ms.saturating_sub(now_ms));
        let keep = self.keep.max(absent);
        (!keep.is_zero()).then_some(keep)
    }

    /// Whether the stored state is out of date, or soon expires.
    fn is_due(&self, now_ms: u64) -> bool {
        let half = WHILE_SERVED.as_millis() / 2;
        self.stale || u128::from(now_ms.abs_diff(self.saved_ms)) >= half
    }

    /// The position after which there may be something to claim.
    fn next(&self) -> Position {
        let first = self.returned.first();
        let first = first.and_then(|offset| self.open.get(offset));
        first.map_or(self.cursor, |first| just_before(first.position))
    }

    /// Whether a channel's stream at this position is not the one that the group knows. Within one
    /// stream, epochs never decrease as offsets increase.
    fn diverges_at(&self, place: Position) -> bool {
        if place.offset > self.cursor.offset {
            return false;
        }
        let known = self.open.get(&place.offset);
        let newest = self.cursor.epoch.0.max(self.epoch);
        let known = known.map_or(newest, |known| known.position.epoch.0);
        place.epoch.0 > known
    }

    /// Handles a stream that was replaced from this position on: nothing after it has been claimed.
    fn restart_at(&mut self, place: Position) {
        self.open.split_off(&place.offset);
        self.returned.split_off(&place.offset);
        self.cursor = just_before(place);
    }

    /// Removes returned publications that are no longer retained: those that lie between `after`
    /// and the last of these positions, but are not among them.
    fn forget_missing(&mut self, after: Position, places: &[Position]) {
        let Some(last) = places.last().filter(|last| last.offset > after.offset) else {
            return;
        };
        let range = self
            .returned
            .range(after.offset.saturating_add(1)..=last.offset);
        let is_there = |offset: &u64| {
            let found = places.binary_search_by_key(offset, |place| place.offset);
            found.is_ok()
        };
        let missing: Vec<u64> = range.copied().filter(|offset| !is_there(offset)).collect();
        for offset in missing {
            self.returned.remove(&offset);
            self.open.remove(&offset);
        }
    }

    fn claim(&mut self, worker: W, place: Position) -> Result<Option<Claim>, Stalled> {
        if place.offset > self.cursor.offset {
            if place.epoch.0 < self.epoch {
                // The publication was read from a stream that has ended.
                return Ok(None);
            }
            if self.open.len() >= OPEN {
                return Err(Stalled);
            }
            (self.cursor, self.epoch) = (place, place.epoch.0);
            let open = Open {
                position: place,
                by: Some(worker),
                deliveries: 1,
            };
            self.open.insert(place.offset, open);
            let deliveries = 1;
            return Ok(Some(Claim { place, deliveries }));
        }
        let Some(open) = self.open.get_mut(&place.offset) else {
            return Ok(None);
        };
        if open.by.is_some() {
            return Ok(None);
        }
        (open.by, open.position) = (Some(worker), place);
        open.deliveries = open.deliveries.saturating_add(1);
        let deliveries = open.deliveries;
        self.returned.remove(&place.offset);
        Ok(Some(Claim { place, deliveries }))
    }

    fn is_claimed(&self, worker: W, place: Position) -> bool {
        let open = self.open.get(&place.offset);
        open.is_some_and(|open| open.by == Some(worker) && open.position == place)
    }

    fn give_back(&mut self, offsets: &[u64], delivered: bool) -> Woken<W> {
        for offset in offsets {
            let Some(open) = self.open.get_mut(offset) else {
                continue;
            };
            open.by = None;
            open.deliveries = open.deliveries.saturating_sub(u16::from(!delivered));
            self.returned.insert(*offset);
        }
        match offsets {
            [] => Vec::new(),
            [..] => self.wake(self.next()),
        }
    }

    fn wake(&self, after: Position) -> Woken<W> {
        self.workers.iter().map(|worker| (*worker, after)).collect()
    }

    fn worker_left(&mut self, worker: W) -> Woken<W> {
        self.stale = true;
        self.workers.remove(&worker);
        let all = self.open.iter();
        let claimed = all.filter(|(_, open)| open.by == Some(worker));
        let offsets: Vec<u64> = claimed.map(|(offset, _)| *offset).collect();
        self.give_back(&offsets, true)
    }
}

/// The position directly before this one.
fn just_before(place: Position) -> Position {
    Position {
        offset: place.offset.saturating_sub(1),
        ..place
    }
}

mod saved;
#[cfg(test)]
mod tests;
