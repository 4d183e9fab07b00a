//! The members of channels: claims, grace periods and leases.
//!
//! ```text
//!          Join                      Leave with grace
//! absent ───────▶ present (claim) ────────────────────▶ awaited
//!    ▲               ▲  ▲   │ Leave without grace          │
//!    │               │  └───┼──────── Join ────────────────┤
//!    │               │ Join with a later claim             │
//!    └───────────────┴──────┴◀─────────────────────────────┘
//!      "left" is told once                       grace is over
//! ```
//! When a worker's lease ends, all its members are awaited without a grace period. They are searched
//! for a slice at a time. A worker that renews its lease meanwhile claims all of its members again, so
//! that the search for them ends.
//!
//! Time is counted in ticks: a late tick, because the process was stopped or starved, counts for at
//! most [`MAX_STEP`]. A pause of the whole process therefore removes no members.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::{ChannelName, Member, PresenceChange, SessionId};

use crate::broker::WorkerId;

/// The maximum time that one tick counts for. Ticks happen about once a second.
const MAX_STEP: Duration = Duration::from_secs(2);

/// A lease ends only after this many ticks without a renewal, however short it is: after a pause of
/// the process, its workers are running again by then.
const MISSED_TICKS: u8 = 3;

/// The members that [`Members::tend`] handles at once: about a millisecond, after which others get the
/// lock.
const SLICE: usize = 1024;

/// Approximate bytes of a member of a channel, without its info.
const CLAIM: usize = 256;

#[derive(Debug)]
struct Claim {
    member: Arc<Member>,
    worker: WorkerId,
    generation: u64,
    /// When it leaves if it does not return.
    awaited_until: Option<Instant>,
    /// It left, and its grace period starts with the next tick.
    leaving: bool,
}

/// The members of one channel.
#[derive(Debug, Default)]
struct Present {
    claims: BTreeMap<SessionId, Claim>,
    /// The number of members of each user; members without a user name are not included.
    users: HashMap<Arc<str>, u32>,
    /// The number of members without a user name.
    nameless: u64,
}

impl Present {
    /// Counts a new member. Returns how many members its user has now.
    fn count_in(&mut self, user: &Arc<str>) -> u32 {
        if user.is_empty() {
            self.nameless += 1;
            return 1;
        }
        let count = self.users.entry(Arc::clone(user)).or_default();
        *count += 1;
        *count
    }

    /// Removes a member from the count. Returns how many members its user still has.
    fn count_out(&mut self, user: &Arc<str>) -> u32 {
        if user.is_empty() {
            self.nameless -= 1;
            return 0;
        }
        let Some(count) = self.users.get_mut(user) else {
            debug_assert!(false, "a member's user was counted");
            return 0;
        };
        *count -= 1;
        let left = *count;
        if left == 0 {
            self.users.remove(user);
            if self.users.capacity() > 4 * self.users.len().max(16) {
                self.users.shrink_to(2 * self.users.len());
            }
        }
        left
    }

    /// How many members the user of a member has.
    fn of_user(&self, user: &Arc<str>) -> u32 {
        self.users.get(user).copied().unwrap_or(1)
    }
}

#[derive(Debug)]
pub(crate) struct Members {
    /// Ordered, so that a search can continue where it stopped.
    channels: BTreeMap<ChannelName, Present>,
    /// Members with an `awaited_until`, ordered by it.
    awaited: BTreeSet<(Instant, ChannelName, SessionId)>,
    leases: BTreeMap<WorkerId, Lease>,
    /// Workers whose lease ended and that may not know it.
    ended: BTreeSet<WorkerId>,
    /// Workers whose members are to be awaited, and after which member the search for them continues.
    searched: BTreeSet<WorkerId>,
    searched_to: Option<(ChannelName, Option<SessionId>)>,
    /// Members whose grace period starts with the next tick: until then the current time is not
    /// known exactly, and a grace period must not be shortened.
    leaving: VecDeque<(ChannelName, SessionId, Duration)>,
    /// Members whose info changed since the last tick: watchers are told at most once per tick,
    /// however often it changes.
    changed: BTreeSet<(ChannelName, SessionId)>,
    /// How many of `leaving` and of `changed` are left of those that were there at the last tick.
    due: (usize, usize),
    /// Bytes of the members' info, and the total number of members.
    info_bytes: usize,
    claims: usize,
    /// This part's clock, and the time of the last tick.
    now: Instant,
    told: Instant,
}

#[derive(Debug)]
struct Lease {
    until: Instant,
    missed: u8,
}

impl Members {
    pub(crate) fn new(now: Instant) -> Self {
        let (channels, awaited, leases) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self {
            channels,
            awaited,
            leases,
            ended: BTreeSet::new(),
            searched: BTreeSet::new(),
            searched_to: None,
            leaving: VecDeque::new(),
            changed: BTreeSet::new(),
            due: (0, 0),
            info_bytes: 0,
            claims: 0,
            now,
            told: now,
        }
    }

    /// About how many bytes all members take.
    pub(crate) const fn weight(&self) -> usize {
        self.info_bytes + self.claims * CLAIM
    }

    pub(crate) fn join(
        &mut self,
        worker: WorkerId,
        channel: &ChannelName,
        member: Arc<Member>,
        generation: u64,
    ) -> Option<PresenceChange> {
        let session = member.session;
        let there = self.channels.entry(channel.clone()).or_default();
        let before = there.claims.get(&session);
        if before.is_some_and(|claim| claim.generation > generation) {
            return None;
        }
        let awaited = before.and_then(|claim| claim.awaited_until);
        let new = before.is_none();
        if before.is_some_and(|claim| claim.member != member) {
            self.changed.insert((channel.clone(), session));
        }
        let claim = Claim {
            member: Arc::clone(&member),
            worker,
            generation,
            awaited_until: None,
            leaving: false,
        };
        self.claims += 1;
        self.info_bytes += claim.member.info.len();
        let user_sessions = there.count_in(&member.user);
        if let Some(older) = there.claims.insert(session, claim) {
            self.claims -= 1;
            self.info_bytes -= older.member.info.len();
            there.count_out(&older.member.user);
        }
        if let Some(until) = awaited {
            self.awaited.remove(&(until, channel.clone(), session));
        }
        new.then(|| PresenceChange {
            channel: channel.clone(),
            member,
            joined: true,
            user_sessions,
        })
    }

    pub(crate) fn leave(
        &mut self,
        channel: &ChannelName,
        session: SessionId,
        generation: u64,
        grace: Duration,
    ) -> Option<PresenceChange> {
        let claims = &mut self.channels.get_mut(channel)?.claims;
        let claim = claims.get_mut(&session)?;
        if claim.generation > generation {
            return None;
        }
        if grace.is_zero() {
            return self.remove(channel, session);
        }
        claim.leaving = true;
        self.leaving.push_back((channel.clone(), session, grace));
        None
    }

    /// Starts the grace periods of some members that left before the last tick and did not return.
    /// Returns how many it looked at.
    fn begin_graces(&mut self) -> usize {
        let count = self.due.0.min(SLICE);
        self.due.0 -= count;
        for _ in 0..count {
            let Some((channel, session, grace)) = self.leaving.pop_front() else {
                break;
            };
            let claim = self.channels.get_mut(&channel);
            let claim = claim.and_then(|there| there.claims.get_mut(&session));
            let Some(claim) = claim.filter(|claim| claim.leaving) else {
                continue;
            };
            claim.leaving = false;
            let until = self.now + grace;
            if let Some(before) = claim.awaited_until.replace(until) {
                self.awaited.remove(&(before, channel.clone(), session));
            }
            self.awaited.insert((until, channel, session));
        }
        if self.leaving.capacity() > 4 * self.leaving.len().max(SLICE) {
            self.leaving.shrink_to_fit();
        }
        count
    }

    fn remove(&mut self, channel: &ChannelName, session: SessionId) -> Option<PresenceChange> {
        let there = self.channels.get_mut(channel)?;
        let claim = there.claims.remove(&session)?;
        let user_sessions = there.count_out(&claim.member.user);
        self.claims -= 1;
        self.info_bytes -= claim.member.info.len();
        if there.claims.is_empty() {
            self.channels.remove(channel);
        }
        if let Some(until) = claim.awaited_until {
            self.awaited.remove(&(until, channel.clone(), session));
        }
        let (channel, member) = (channel.clone(), claim.member);
        Some(PresenceChange {
            channel,
            member,
            joined: false,
            user_sessions,
        })
    }

    /// Renews a lease. `false` if it had ended, in which case the worker's members have left.
    pub(crate) fn renew(&mut self, worker: WorkerId, lease: Duration) -> bool {
        let until = self.now + lease;
        let missed = 0;
        let before = self.leases.insert(worker, Lease { until, missed });
        self.searched.remove(&worker);
        before.is_some() || !self.ended.remove(&worker)
    }

    /// A worker is gone: its members leave with the next tick, unless another worker claims them.
    pub(crate) fn lease_ended(&mut self, worker: WorkerId) {
        self.ended.remove(&worker);
        self.leases.insert(
            worker,
            Lease {
                until: self.now,
                missed: MISSED_TICKS,
            },
        );
    }

    /// Passes the time on. [`tend`](Self::tend) does what has become due.
    pub(crate) fn pass(&mut self, told: Instant) {
        self.now += told.saturating_duration_since(self.told).min(MAX_STEP);
        self.told = told;
        let now = self.now;
        self.due = (self.leaving.len(), self.changed.len());
        let mut ended = Vec::new();
        for (worker, lease) in &mut self.leases {
            lease.missed = lease.missed.saturating_add(1);
            if lease.until <= now && lease.missed > MISSED_TICKS {
                ended.push(*worker);
            }
        }
        for worker in ended {
            self.leases.remove(&worker);
            self.ended.insert(worker);
            self.searched.insert(worker);
            self.searched_to = None;
        }
    }

    /// Starts graces, reports changed info and removes members whose lease or grace has ended: a few
    /// of them each time, since a crowd may leave at once. None if nothing is due any more.
    pub(crate) fn tend(&mut self) -> Option<Vec<PresenceChange>> {
        let (mut done, mut changes) = (self.begin_graces(), Vec::new());
        while done < SLICE && self.due.1 > 0 {
            self.due.1 -= 1;
            done += 1;
            changes.extend(self.next_changed());
        }
        while done < SLICE && !self.searched.is_empty() {
            done += self.search(SLICE - done);
        }
        while done < SLICE
            && let Some((until, channel, session)) = self.awaited.first().cloned()
            && until <= self.now
        {
            done += 1;
            changes.extend(self.remove(&channel, session));
        }
        (done > 0).then_some(changes)
    }

    /// A member whose info changed, with its current info.
    fn next_changed(&mut self) -> Option<PresenceChange> {
        let (channel, session) = self.changed.pop_first()?;
        let there = self.channels.get(&channel)?;
        let member = &there.claims.get(&session)?.member;
        Some(PresenceChange {
            member: Arc::clone(member),
            channel,
            joined: true,
            user_sessions: there.of_user(&member.user),
        })
    }

    /// Searches some members for those of workers whose lease has ended, which are awaited from then
    /// on. Returns how many it looked at; a channel counts as one more.
    fn search(&mut self, most: usize) -> usize {
        let reached = self.searched_to.take();
        let first = reached.as_ref().map(|(channel, _)| channel);
        let first = first.map_or(Bound::Unbounded, Bound::Included);
        let mut done = 0;
        let rest = (first, Bound::Unbounded);
        for (channel, there) in self.channels.range_mut::<ChannelName, _>(rest) {
            done += 1;
            let mut last = match &reached {
                Some((reached, last)) if reached == channel => *last,
                _ => None,
            };
            let after = last.map_or(Bound::Unbounded, Bound::Excluded);
            for (session, claim) in there.claims.range_mut((after, Bound::Unbounded)) {
                if done >= most {
                    self.searched_to = Some((channel.clone(), last));
                    return done;
                }
                (done, last) = (done + 1, Some(*session));
                if self.searched.contains(&claim.worker) && claim.awaited_until.is_none() {
                    claim.awaited_until = Some(self.now);
                    self.awaited.insert((self.now, channel.clone(), *session));
                }
            }
        }
        self.searched.clear();
        done.max(1)
    }

    pub(crate) fn count(&self, channel: &ChannelName) -> u64 {
        let there = self.channels.get(channel);
        there.map_or(0, |there| there.claims.len() as u64)
    }

    /// How many users are members of a channel. Members without a user name count one each.
    pub(crate) fn users(&self, channel: &ChannelName) -> u64 {
        let there = self.channels.get(channel);
        there.map_or(0, |there| there.users.len() as u64 + there.nameless)
    }

    pub(crate) fn list(&self, channel: &ChannelName, limit: u32) -> (Vec<Arc<Member>>, u64) {
        let Some(there) = self.channels.get(channel) else {
            return (Vec::new(), 0);
        };
        let members = there.claims.values().map(|claim| Arc::clone(&claim.member));
        let members = members.take(limit as usize).collect();
        (members, there.claims.len() as u64)
    }
}

#[cfg(test)]
mod tests;
