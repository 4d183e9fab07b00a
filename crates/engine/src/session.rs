//! Who is on a connection, and what outlives it.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{
    channel_name::{ChannelName, Pattern},
    position::Position,
    rules::Access,
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
    /// Channels it may publish to where [`Access::Granted`] asks.
    pub may_publish: Vec<Pattern>,
    /// Channels it may subscribe to where [`Access::Granted`] asks.
    pub may_subscribe: Vec<Pattern>,
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
        let (may_publish, may_subscribe) = (Vec::new(), Vec::new());
        Self {
            user: name.into(),
            info: Bytes::new(),
            may_publish,
            may_subscribe,
        }
    }

    pub(crate) fn may(&self, access: Access, grants: &[Pattern], channel: &ChannelName) -> bool {
        match access {
            Access::Everyone => true,
            Access::Users => !self.user.is_empty(),
            Access::Granted => grants.iter().any(|pattern| pattern.matches(channel)),
            Access::Nobody => false,
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
    /// Where.
    pub channel: ChannelName,
    /// Up to where publications were handed out.
    pub position: Position,
    /// Whether joins and leaves are wanted.
    pub presence: bool,
}

/// A session as of one moment, to be sealed into a token and given back by the client on a new
/// connection, on any node that can open the seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// The session's name.
    pub session: SessionId,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionSnapshot>,
    /// Wall-clock milliseconds when it was taken, for the seal's expiry.
    pub time_ms: u64,
}
