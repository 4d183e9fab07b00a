//! The events of a subscription.

use std::fmt;
use std::sync::Arc;

use offhook_dialects::native::client::{self as wire, Position};

use crate::data::Data;

/// An event of a subscription. Events are delivered in order.
///
/// For each publication one of three things is certain: it was delivered, it will be delivered, or
/// a [`Gap`](Self::Gap) said that it will not be, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A publication.
    Publication(Publication),
    /// A value of the channel's state: the newest publication of one value of the tag `key`. All
    /// values are delivered one after the other, followed by a [`Gap`](Self::Gap) with the reason
    /// [`State`](GapReason::State): together they replace what was known of the channel. They are
    /// delivered again after a reconnect that happened before the last of them.
    Value(Publication),
    /// A publication of this client's own, in a subscription
    /// [without them](crate::Subscribe::without_echo).
    Own {
        /// Its place in the channel's stream; for a filter, that of the subscription.
        position: Position,
    },
    /// Everything that was missing has been delivered. From here on, publications are delivered as
    /// they are made.
    Live {
        /// The newest position.
        position: Position,
    },
    /// The connection was lost or too slow. Missed publications follow, then [`Live`](Self::Live)
    /// again.
    CatchingUp,
    /// Publications are missing, for this reason.
    Gap(Gap),
    /// The members of the channel. Replaces what was known; [`Joined`](Self::Joined) and
    /// [`Left`](Self::Left) are relative to it. Only with
    /// [`presence`](crate::Subscribe::presence), as the next two.
    Members(Members),
    /// A member joined.
    Joined(Member),
    /// A member left.
    Left(Member),
}

/// A message in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publication {
    /// The channel.
    pub channel: Arc<str>,
    /// Its position in the channel's stream.
    pub position: Position,
    /// In a subscription to a [filter](crate::Client::subscribe_filter): the subscription's position
    /// after it, to continue from.
    pub at: Option<Position>,
    /// The data.
    pub data: Data,
    /// The publisher's session; `None` for the server itself.
    pub session: Option<Box<str>>,
    /// The publisher's user; `None` for anonymous sessions and the server itself.
    pub user: Option<Box<str>>,
    /// The idempotency key it was published with.
    pub key: Option<Box<str>>,
    /// Names and values published with the data.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// When the server accepted it, in milliseconds since 1970 on the server's clock.
    pub time_ms: u64,
}

impl Publication {
    /// The value of a tag.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        let found = self.tags.iter().find(|(other, _)| **other == *name)?;
        Some(&found.1)
    }

    pub(crate) fn read_all(messages: Vec<wire::Message<'_>>, channel: &str) -> Vec<Self> {
        let channel: Arc<str> = channel.into();
        let messages = messages.into_iter();
        messages
            .map(|message| Self::read(message, Arc::clone(&channel)))
            .collect()
    }

    pub(crate) fn read(message: wire::Message<'_>, channel: Arc<str>) -> Self {
        let tags = message.tags.into_iter();
        Self {
            channel,
            position: message.position,
            at: message.at,
            data: Data::read(message.payload),
            session: message.session.map(Into::into),
            user: message.user.map(Into::into),
            key: message.key.map(Into::into),
            tags: tags
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            time_ms: message.time_ms,
        }
    }
}

/// Publications that will not be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The channel. `None` for a gap of a subscription to a filter as a whole, whose positions are
    /// the subscription's.
    pub channel: Option<Arc<str>>,
    /// The publications after this position are missing.
    pub from: Position,
    /// The last missing publication is at this position.
    pub to: Position,
    /// Why they are missing.
    pub reason: GapReason,
    /// With [`Diverged`](GapReason::Diverged): the last position that client and server have in
    /// common. Publications after it that were delivered before are no longer part of the stream.
    pub agreed: Option<Position>,
}

impl Gap {
    /// How many are missing. `None` between two epochs, where the number is unknown, and where the
    /// stream goes on from an earlier position.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        let same = self.from.epoch == self.to.epoch;
        let count = self.to.offset.checked_sub(self.from.offset);
        count.filter(|_| same)
    }
}

/// Why publications are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// The server does not know the epoch: its data was lost or replaced.
    EpochChanged,
    /// The server restored an older copy of its data, or a power failure lost the newest
    /// publications: see [`Gap::agreed`].
    Diverged,
    /// The channel's limit on count or bytes.
    EvictedBySize,
    /// The channel's limit on age.
    EvictedByAge,
    /// They are damaged on the server's disk and cannot be read.
    Damaged,
    /// The position is ahead of the stream.
    UnknownPosition,
    /// The connection was too slow, and the channel has no history.
    Dropped,
    /// The connection was too slow; the newest publication of each value of the tag `key` follows.
    Conflated,
    /// The [values](Event::Value) of the channel's state, delivered before, replace them.
    State,
    /// Only for a subscription to a filter: the server was restarted. Publications in channels
    /// without history may have been lost in the meantime; those of all other channels follow.
    Restarted,
    /// Only for a subscription to a filter: it may read channels that it could not read before.
    /// Publications that it was not allowed to read are missing.
    Permissions,
    /// A reason this version does not know, by its name.
    Other(Box<str>),
}

const REASONS: [(&str, GapReason); 11] = [
    ("diverged", GapReason::Diverged),
    ("epoch_changed", GapReason::EpochChanged),
    ("evicted_by_size", GapReason::EvictedBySize),
    ("evicted_by_age", GapReason::EvictedByAge),
    ("damaged", GapReason::Damaged),
    ("unknown_position", GapReason::UnknownPosition),
    ("dropped", GapReason::Dropped),
    ("conflated", GapReason::Conflated),
    ("state", GapReason::State),
    ("restarted", GapReason::Restarted),
    ("permissions", GapReason::Permissions),
];

impl GapReason {
    pub(crate) fn read(name: &str) -> Self {
        let known = REASONS.iter().find(|(known, _)| *known == name);
        known.map_or_else(|| Self::Other(name.into()), |(_, reason)| reason.clone())
    }
}

impl fmt::Display for GapReason {
    /// The name on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = REASONS.iter().find(|(_, reason)| reason == self);
        match (known, self) {
            (Some((name, _)), _) => f.write_str(name),
            (None, Self::Other(name)) => f.write_str(name),
            (None, _) => Ok(()),
        }
    }
}

/// The members of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Members {
    /// The members that the server listed; it lists a limited number.
    pub members: Vec<Member>,
    /// The number of members.
    pub total: u64,
}

impl Members {
    pub(crate) fn read(members: Vec<wire::Member<'_>>, total: u64) -> Self {
        let members = members.into_iter().map(Member::read).collect();
        Self { members, total }
    }
}

/// A session present in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The session. Each session of a user is a separate member.
    pub session: Box<str>,
    /// Its user; `None` for an anonymous session.
    pub user: Option<Box<str>>,
    /// What other members see of it.
    pub info: Option<Data>,
}

impl Member {
    pub(crate) fn read(member: wire::Member<'_>) -> Self {
        Self {
            session: member.session.into(),
            user: member.user.map(Into::into),
            info: member.info.map(Data::raw_json),
        }
    }
}

/// Bytes counted for each queued event in addition to its content.
const OVERHEAD: usize = 128;

impl Event {
    /// Approximately how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        let held = match self {
            Self::Publication(publication) | Self::Value(publication) => {
                let tags = publication.tags.iter();
                let tags = tags.map(|(name, value)| name.len() + value.len() + 32);
                publication.data.as_bytes().len() + tags.sum::<usize>()
            }
            Self::Joined(member) | Self::Left(member) => member.weight(),
            Self::Members(members) => members.members.iter().map(Member::weight).sum(),
            Self::Live { .. } | Self::Own { .. } | Self::CatchingUp | Self::Gap(_) => 0,
        };
        held + OVERHEAD
    }
}

impl Member {
    fn weight(&self) -> usize {
        let info = self.info.as_ref().map_or(0, |info| info.as_bytes().len());
        size_of::<Self>() + self.session.len() + info
    }
}
