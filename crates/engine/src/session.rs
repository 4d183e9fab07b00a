//! The identity of a connection, and the state that outlives it.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    channel_name::{ChannelName, Pattern},
    filter::Filter,
    grant::{Grant, Verbs},
    position::Position,
    rules::Access,
    subscription::{Class, Flow, Share, SubscriptionId, SubscriptionName, Target},
};

/// Identifies a session, on whatever connection and node it is. 128 random bits chosen by the
/// caller. It is public (members see it), so it proves nothing: the sealed token does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u64; 2]);

impl SessionId {
    /// Made of 16 bytes; random ones for a new session.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let n = u128::from_be_bytes(bytes);
        Self([(n >> 64) as u64, n as u64])
    }

    /// The 16 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0[0]) << 64 | u128::from(self.0[1])).to_be_bytes()
    }
}

impl fmt::Display for SessionId {
    /// 32 hexadecimal digits. Every publication of a client carries them, so they are written at once
    /// instead of by the formatter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (two, byte) in text.chunks_exact_mut(2).zip(self.to_bytes()) {
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A session's identity and permissions, as determined by the caller's authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's name; empty for an anonymous client.
    pub user: Arc<str>,
    /// What other members see: one JSON value, or nothing.
    pub info: Bytes,
    /// Authentication provided `info`: the client itself may not change it.
    pub info_is_fixed: bool,
    /// It is that of a client's certificate: the session resumes only with a certificate, or a token,
    /// of the same user.
    pub by_certificate: bool,
    /// Its permissions where [`Access::Granted`] applies. Sessions with the same permissions share them.
    pub grants: Arc<[Grant]>,
    /// When it expires, in milliseconds since 1970; none: never. The engine does not check this:
    /// the caller closes the connection then.
    pub ends_ms: Option<u64>,
    /// Its class in [`Limits::classes`](crate::Limits); none for the limits of clients without a
    /// class.
    pub class: Option<Arc<str>>,
}

impl Identity {
    /// An anonymous client without grants.
    #[must_use]
    pub fn stranger() -> Self {
        Self::user("")
    }

    /// A user without grants.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self {
            user: name.into(),
            info: Bytes::new(),
            info_is_fixed: false,
            by_certificate: false,
            grants: Arc::default(),
            ends_ms: None,
            class: None,
        }
    }

    /// The same, with one grant more.
    #[must_use]
    pub fn with(mut self, pattern: &str, verbs: Verbs) -> Self {
        self.add(Grant::new(pattern, verbs));
        self
    }

    /// Adds a grant.
    pub fn add(&mut self, grant: Grant) {
        let grants = self.grants.iter().cloned();
        self.grants = grants.chain([grant]).collect();
    }

    /// Removes all other grants.
    pub fn retain(&mut self, keep: impl Fn(&Grant) -> bool) {
        if !self.grants.iter().all(&keep) {
            let kept = self.grants.iter().filter(|grant| keep(grant));
            self.grants = kept.cloned().collect();
        }
    }

    /// The owner of this session's keys and consumers: its user, or, without one, the session
    /// itself, which survives reconnects. No user has such a name.
    pub(crate) fn scope(&self, session: SessionId) -> Arc<str> {
        if self.user.is_empty() {
            return format!("\0{session}").into();
        }
        Arc::clone(&self.user)
    }

    /// Whether it may subscribe to a filter.
    pub(crate) fn may_filter(&self, access: Access, filter: &Filter) -> bool {
        match access {
            Access::Everyone => true,
            Access::Users => !self.user.is_empty(),
            Access::Granted => self
                .grants_of(Verbs::SUBSCRIBE)
                .any(|grant| grant.pattern.covers(filter)),
            Access::Asked | Access::Nobody => false,
        }
    }

    /// Whether it may read every channel that matches both a filter and the pattern of a rule with
    /// this access. Channels that nobody may read do not count.
    pub(crate) fn may_read_all(
        &self,
        access: Access,
        (filter, pattern): (&Filter, &Pattern),
        vouched: bool,
    ) -> bool {
        match access {
            Access::Everyone | Access::Nobody => true,
            Access::Users => !self.user.is_empty(),
            Access::Asked => vouched,
            // A pattern that matches the text of another matches all of its names: only a `*`
            // matches a `*`.
            Access::Granted => self.grants_of(Verbs::SUBSCRIBE).any(|grant| {
                grant.pattern.contains(filter) || grant.pattern.fits(pattern.as_str())
            }),
        }
    }

    /// Whether it may read channels that `earlier`, an identity of the same session, might not.
    pub(crate) fn may_read_more_than(&self, earlier: &Self) -> bool {
        let is_new = |grant: &Grant| {
            let mut old = earlier.grants_of(Verbs::SUBSCRIBE);
            !old.any(|old| old.pattern == grant.pattern)
        };
        let has_now_a_name = earlier.user.is_empty() && !self.user.is_empty();
        has_now_a_name || self.grants_of(Verbs::SUBSCRIBE).any(is_new)
    }

    /// Whether it may call a method of the backend.
    #[must_use]
    pub fn may_call(&self, access: Access, method: &str) -> bool {
        match access {
            // The backend answers each call, and may refuse it.
            Access::Everyone | Access::Asked => true,
            Access::Users => !self.user.is_empty(),
            Access::Granted => self
                .grants_of(Verbs::CALL)
                .any(|grant| grant.pattern.fits(method)),
            Access::Nobody => false,
        }
    }

    fn grants_of(&self, verb: Verbs) -> impl Iterator<Item = &Grant> {
        let grants = self.grants.iter();
        grants.filter(move |grant| grant.verbs.contains(verb))
    }

    /// Whether it may do something in a channel with this `access`.
    #[must_use]
    pub fn may(&self, access: Access, verb: Verbs, channel: &ChannelName) -> bool {
        match access {
            Access::Everyone => true,
            Access::Users => !self.user.is_empty(),
            Access::Granted => self
                .grants_of(verb)
                .any(|grant| grant.pattern.matches(channel)),
            // The permission was not queried yet.
            Access::Asked | Access::Nobody => false,
        }
    }
}

/// A session that is present in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The session: one member each, even if one user has several.
    pub session: SessionId,
    /// The user's name; may be empty.
    pub user: Arc<str>,
    /// What others see: one JSON value, or nothing.
    pub info: Bytes,
}

/// A subscription in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionSnapshot {
    /// The channel or filter.
    pub target: Target,
    /// The dialect's id for it.
    pub id: Option<SubscriptionId>,
    /// The position up to which publications were handed out or, with an acknowledged flow, were
    /// all acknowledged.
    pub position: Position,
    /// Whether joins and leaves are wanted.
    pub presence: bool,
    /// Whether the session's own publications are wanted.
    pub echo: bool,
    /// Whether an outside party has allowed it, so that it is not asked again.
    pub vouched: bool,
    /// How publications are delivered to the subscriber.
    pub flow: Flow,
    /// Unacknowledged publications, if its flow is acknowledged and it is not shared.
    pub unacknowledged: Option<Unacknowledged>,
    /// The group with which it shares publications.
    pub share: Option<Share>,
}

impl SubscriptionSnapshot {
    /// Its name for the client.
    #[must_use]
    pub fn name(&self) -> SubscriptionName {
        SubscriptionName {
            target: self.target.clone(),
            id: self.id,
        }
    }
}

/// Publications handed out to an acknowledged subscription and not acknowledged when its connection
/// was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unacknowledged {
    /// The position up to which publications were handed out.
    pub until: Position,
    /// The publications, in order.
    pub publications: Vec<Earlier>,
}

/// A publication that was not acknowledged on an earlier connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Its position.
    pub position: Position,
    /// How often it was delivered.
    pub deliveries: u16,
}

/// A session at one time, to be sealed into a token and returned by the client on a new connection,
/// to any node that can open the seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// The session's name.
    pub session: SessionId,
    /// The number of the session's connection it was taken of: later connections have higher
    /// numbers.
    pub generation: u64,
    /// Its identity.
    pub identity: Arc<Identity>,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionSnapshot>,
    /// What its dialect has the engine keep with it: see [`Command::Remember`](crate::Command).
    pub note: Bytes,
    /// When it was taken, in wall-clock milliseconds, for the seal's expiry.
    pub time_ms: u64,
}

/// A connection, as reported to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its session: a fresh random id, or that of a returning session.
    pub session: SessionId,
    /// Its identity.
    pub identity: Arc<Identity>,
    /// The class of its wire format.
    pub class: Class,
    /// The number of the session's connection: higher than that of every earlier one, on any
    /// worker. If the session is already known to this engine, the engine ensures that itself.
    pub generation: u64,
    /// How long the session is kept after this connection has ended; none if it is not kept.
    pub durable: Option<Duration>,
}

impl Arrival {
    /// A session's first connection, of class 0. The session ends with it, unless the client has a
    /// token.
    #[must_use]
    pub fn new(session: SessionId, identity: Arc<Identity>) -> Self {
        Self {
            session,
            identity,
            class: Class::default(),
            generation: 1,
            durable: None,
        }
    }

    /// Sets the class.
    #[must_use]
    pub fn of(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Sets the number of the session's connection.
    #[must_use]
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// Keeps the session for this long after the connection has ended.
    #[must_use]
    pub fn durable(mut self, expiry: Duration) -> Self {
        self.durable = Some(expiry);
        self
    }
}
