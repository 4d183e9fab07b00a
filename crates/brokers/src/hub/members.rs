//! Who is present where: claims, graces and leases.
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
//! A worker whose lease ends lets all its members be awaited with no grace.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::{ChannelName, Member, PresenceChange, SessionId};

use crate::broker::WorkerId;

#[derive(Debug)]
struct Claim {
    member: Arc<Member>,
    worker: WorkerId,
    since_ms: u64,
    /// When it leaves, if it does not come back.
    awaited_until: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Members {
    channels: HashMap<ChannelName, BTreeMap<SessionId, Claim>>,
    /// Those with an `awaited_until`, by it.
    awaited: BTreeSet<(Instant, ChannelName, SessionId)>,
    leases: BTreeMap<WorkerId, Instant>,
    now: Instant,
}

impl Members {
    pub(crate) fn new(now: Instant) -> Self {
        let (channels, awaited, leases) = (HashMap::new(), BTreeSet::new(), BTreeMap::new());
        Self {
            channels,
            awaited,
            leases,
            now,
        }
    }

    pub(crate) fn join(
        &mut self,
        worker: WorkerId,
        channel: &ChannelName,
        member: Arc<Member>,
        since_ms: u64,
    ) -> Option<PresenceChange> {
        let session = member.session;
        let there = self.channels.entry(channel.clone()).or_default();
        let before = there.get(&session);
        if before.is_some_and(|claim| claim.since_ms > since_ms) {
            return None;
        }
        let awaited = before.and_then(|claim| claim.awaited_until);
        let new = before.is_none();
        let claim = Claim {
            member: Arc::clone(&member),
            worker,
            since_ms,
            awaited_until: None,
        };
        there.insert(session, claim);
        if let Some(until) = awaited {
            self.awaited.remove(&(until, channel.clone(), session));
        }
        new.then(|| PresenceChange {
            channel: channel.clone(),
            member,
            joined: true,
        })
    }

    pub(crate) fn leave(
        &mut self,
        channel: &ChannelName,
        session: SessionId,
        since_ms: u64,
        grace: Duration,
    ) -> Option<PresenceChange> {
        let claim = self.channels.get_mut(channel)?.get_mut(&session)?;
        if claim.since_ms > since_ms {
            return None;
        }
        if grace.is_zero() {
            return self.remove(channel, session);
        }
        let until = self.now + grace;
        if let Some(before) = claim.awaited_until.replace(until) {
            self.awaited.remove(&(before, channel.clone(), session));
        }
        self.awaited.insert((until, channel.clone(), session));
        None
    }

    fn remove(&mut self, channel: &ChannelName, session: SessionId) -> Option<PresenceChange> {
        let there = self.channels.get_mut(channel)?;
        let claim = there.remove(&session)?;
        if there.is_empty() {
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
        })
    }

    pub(crate) fn renew(&mut self, worker: WorkerId, lease: Duration) {
        self.leases.insert(worker, self.now + lease);
    }

    /// A worker is gone: its members leave with the next tick, unless another takes them over.
    pub(crate) fn lease_ended(&mut self, worker: WorkerId) {
        self.leases.insert(worker, self.now);
    }

    /// Everyone whose time has come leaves.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<PresenceChange> {
        self.now = now;
        let ended = |lease: (&WorkerId, &Instant)| (*lease.1 <= now).then_some(*lease.0);
        for worker in self.leases.iter().filter_map(ended).collect::<Vec<_>>() {
            self.leases.remove(&worker);
            self.await_all_of(worker);
        }
        let mut left = Vec::new();
        while let Some((until, channel, session)) = self.awaited.first().cloned() {
            if until > now {
                break;
            }
            left.extend(self.remove(&channel, session));
        }
        left
    }

    fn await_all_of(&mut self, worker: WorkerId) {
        for (channel, there) in &mut self.channels {
            for (session, claim) in there {
                if claim.worker == worker && claim.awaited_until.is_none() {
                    claim.awaited_until = Some(self.now);
                    self.awaited.insert((self.now, channel.clone(), *session));
                }
            }
        }
    }

    pub(crate) fn list(&self, channel: &ChannelName, limit: u32) -> (Vec<Arc<Member>>, u64) {
        let Some(there) = self.channels.get(channel) else {
            return (Vec::new(), 0);
        };
        let members = there.values().map(|claim| Arc::clone(&claim.member));
        (members.take(limit as usize).collect(), there.len() as u64)
    }
}
