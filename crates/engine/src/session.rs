//! Who is on a connection, and what outlives it.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    channel_name::ChannelName,
    filter::Filter,
    grant::{Grant, Verbs},
    position::Position,
    rules::Access,
    subscription::{Class, Flow, SubscriptionId, SubscriptionName, Target},
};

/// Names a session, on whatever connection and node it is. 128 random bits chosen by the caller; public
/// (members see it), so it proves nothing: the sealed token does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u64; 2]);

impl SessionId {
    /// From 16 bytes, random ones for a new session.
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who a session is and what it may, as the caller's authentication found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's name; empty for a stranger.
    pub user: Arc<str>,
    /// What other members may see of them: one JSON value, or nothing.
    pub info: Bytes,
    /// Authentication gave `info`: the client itself may not change it.
    pub info_is_fixed: bool,
    /// What it may do where [`Access::Granted`] asks.
    pub grants: Vec<Grant>,
    /// When it ends, in milliseconds since 1970; none: never. The engine reads no clock for it: the
    /// caller closes the connection then.
    pub ends_ms: Option<u64>,
}

impl Identity {
    /// A stranger without name and grants.
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
            grants: Vec::new(),
            ends_ms: None,
        }
    }

    /// The same, with one grant more.
    #[must_use]
    pub fn with(mut self, pattern: &str, verbs: Verbs) -> Self {
        self.grants.push(Grant::new(pattern, verbs));
        self
    }

    /// What keys and consumers of this session belong to: its user, or, without one, the session
    /// itself, which survives its reconnects. No user has such a name.
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

    fn grants_of(&self, verb: Verbs) -> impl Iterator<Item = &Grant> {
        let grants = self.grants.iter();
        grants.filter(move |grant| grant.verbs.contains(verb))
    }

    /// Whether it may do something in a channel where `access` is asked for.
    #[must_use]
    pub fn may(&self, access: Access, verb: Verbs, channel: &ChannelName) -> bool {
        match access {
            Access::Everyone => true,
            Access::Users => !self.user.is_empty(),
            Access::Granted => self
                .grants_of(verb)
                .any(|grant| grant.pattern.matches(channel)),
            // Nobody has been asked yet.
            Access::Asked | Access::Nobody => false,
        }
    }
}

/// A session present in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The session: one member each, also when one user has several.
    pub session: SessionId,
    /// The user's name; may be empty.
    pub user: Arc<str>,
    /// What others may see: one JSON value, or nothing.
    pub info: Bytes,
}

/// One subscription as a snapshot remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionSnapshot {
    /// What to.
    pub target: Target,
    /// The dialect's number for it.
    pub id: Option<SubscriptionId>,
    /// Up to where publications were handed out; with an acknowledged flow, up to where the client
    /// was done with all of them.
    pub position: Position,
    /// Whether joins and leaves are wanted.
    pub presence: bool,
    /// Whether the session's own publications are wanted.
    pub echo: bool,
    /// Whether somebody outside has allowed it, so that nobody is asked again.
    pub vouched: bool,
    /// How publications reach the subscriber.
    pub flow: Flow,
    /// What it was not done with, if its flow is acknowledged.
    pub unacknowledged: Option<Unacknowledged>,
}

impl SubscriptionSnapshot {
    /// How it is named to its client.
    #[must_use]
    pub fn name(&self) -> SubscriptionName {
        SubscriptionName {
            target: self.target.clone(),
            id: self.id,
        }
    }
}

/// What an acknowledged subscription was handed out and not done with when its connection was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unacknowledged {
    /// Up to where anything was handed out.
    pub until: Position,
    /// The publications, in order.
    pub publications: Vec<Earlier>,
}

/// A publication that an earlier connection was not done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Where it stands.
    pub position: Position,
    /// How often it was delivered.
    pub deliveries: u16,
}

/// A session as of one moment, to be sealed into a token and given back by the client on a new
/// connection, on any node that can open the seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// The session's name.
    pub session: SessionId,
    /// Which of the session's connections it was taken of: they are counted, and a later one has
    /// a higher number.
    pub generation: u64,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionSnapshot>,
    /// Wall-clock milliseconds when it was taken, for the seal's expiry.
    pub time_ms: u64,
}

/// A connection as it is told to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The session on it: a fresh random name, or that of a session that comes back.
    pub session: SessionId,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// How its wire looks.
    pub class: Class,
    /// Which of the session's connections it is: higher than that of each one before, on whatever
    /// worker. Where the session is known here already, the engine sees to that by itself.
    pub generation: u64,
    /// How long the session is kept after this connection has ended; none if it is not.
    pub durable: Option<Duration>,
}

impl Arrival {
    /// A session's first connection, of class 0; the session ends with it, unless the client has
    /// a token.
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

    /// The same, of this class.
    #[must_use]
    pub fn of(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// The same, as this one of the session's connections.
    #[must_use]
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// The same, and the session is kept so long after the connection has ended.
    #[must_use]
    pub fn durable(mut self, expiry: Duration) -> Self {
        self.durable = Some(expiry);
        self
    }
}
