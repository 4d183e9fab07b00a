//! A subscription as seen by its client: its target, id and flow.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    channel_name::ChannelName, command::Since, delivery::ConnectionId, filter::Filter,
    publication::Key,
};

/// A dialect's id for a subscription. It is unique within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u32);

/// The target of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// One channel.
    Channel(ChannelName),
    /// Every channel whose name matches, including future ones.
    Filter(Filter),
}

impl Target {
    /// The channel's name or the filter, as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Channel(name) => name.as_str(),
            Self::Filter(filter) => filter.as_str(),
        }
    }

    /// The channel; none for a filter.
    #[must_use]
    pub fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::Channel(name) => Some(name),
            Self::Filter(_) => None,
        }
    }
}

impl From<ChannelName> for Target {
    fn from(name: ChannelName) -> Self {
        Self::Channel(name)
    }
}

impl From<Filter> for Target {
    fn from(filter: Filter) -> Self {
        Self::Filter(filter)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(name) => write!(f, "channel {name}"),
            Self::Filter(filter) => write!(f, "filter {filter}"),
        }
    }
}

/// How a subscription is named to its client: messages about it carry this.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionName {
    /// The channel or filter.
    pub target: Target,
    /// The dialect's id; none if the target is its identity.
    pub id: Option<SubscriptionId>,
}

impl SubscriptionName {
    /// Its identity within the session.
    #[must_use]
    pub fn key(&self) -> SubscriptionKey {
        match self.id {
            Some(id) => SubscriptionKey::Id(id),
            None => SubscriptionKey::Target(self.target.clone()),
        }
    }
}

impl From<ChannelName> for SubscriptionName {
    /// A channel's subscription without an id.
    fn from(name: ChannelName) -> Self {
        Self {
            target: name.into(),
            id: None,
        }
    }
}

impl fmt::Display for SubscriptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "subscription {} to {}", id.0, self.target),
            None => self.target.fmt(f),
        }
    }
}

/// The identity of a subscription within its session: the dialect's id if there is one, otherwise
/// the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubscriptionKey {
    /// The subscription with this id.
    Id(SubscriptionId),
    /// The subscription without an id to this target.
    Target(Target),
}

impl From<ChannelName> for SubscriptionKey {
    fn from(name: ChannelName) -> Self {
        Self::Target(name.into())
    }
}

impl fmt::Display for SubscriptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "subscription {}", id.0),
            Self::Target(target) => target.fmt(f),
        }
    }
}

/// How publications are delivered to a subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// As fast as the connection accepts them.
    #[default]
    Pushed,
    /// At most this many before the client acknowledges some. Those not acknowledged when its
    /// connection was lost are redelivered to its session. The channel must keep history.
    Acknowledged {
        /// The limit of unacknowledged publications; at least 1, at most
        /// [`Limits::window`](crate::Limits).
        window: u16,
    },
}

/// Makes a subscription a member of a group: each publication is delivered to one member, and to
/// another if that one ends before it has acknowledged the publication, or returns it.
///
/// The members are the subscriptions, on all workers, with the same target and group name. They take
/// turns; one whose window or outbox is full is passed over.
///
/// Only a session that may read all channels that a filter can match may share it: a member that may
/// not read a publication would withhold it from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The group's name.
    pub group: Key,
    /// How long the group keeps its place after its last member has ended. A durable session whose
    /// connection ends also keeps it for as long as it is kept itself.
    pub keep: Duration,
}

/// A request to subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The channel or filter.
    pub target: Target,
    /// The dialect's id; without one the target is its identity.
    pub id: Option<SubscriptionId>,
    /// Where to start.
    pub since: Since,
    /// Whether joins and leaves are wanted.
    pub presence: bool,
    /// Whether the members are told when it starts, as [`Reply::Members`](crate::Reply) without an
    /// id, if joins and leaves are wanted.
    pub members: bool,
    /// Whether the session's own publications are wanted. Without them,
    /// [`Notice::Own`](crate::Notice) takes their place.
    pub echo: bool,
    /// How publications are delivered to the subscriber.
    pub flow: Flow,
    /// The group with which it shares them. Such a subscription needs an id and an acknowledged
    /// flow, and `since` counts only for the first member of a group.
    pub share: Option<Share>,
    /// What the session is in this channel; none: what its identity says.
    pub face: Option<Box<Face>>,
}

/// The user as which a session is a member of a channel and publishes to it, and what others see of
/// it, if the dialect authenticates that for each channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Face {
    /// The user's name.
    pub user: Arc<str>,
    /// One JSON value, or nothing.
    pub info: Bytes,
}

impl Subscribe {
    /// Publications of a target, pushed, including the session's own, without joins and leaves.
    #[must_use]
    pub fn new(target: impl Into<Target>, since: Since) -> Self {
        Self {
            target: target.into(),
            id: None,
            since,
            presence: false,
            members: false,
            echo: true,
            flow: Flow::Pushed,
            share: None,
            face: None,
        }
    }

    /// Adds joins and leaves.
    #[must_use]
    pub fn with_presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// Makes the session a member under this face.
    #[must_use]
    pub fn faced(mut self, face: Face) -> Self {
        self.face = Some(Box::new(face));
        self
    }

    /// Sets the dialect's id.
    #[must_use]
    pub fn numbered(mut self, id: u32) -> Self {
        self.id = Some(SubscriptionId(id));
        self
    }

    /// Excludes the session's own publications.
    #[must_use]
    pub fn without_echo(mut self) -> Self {
        self.echo = false;
        self
    }

    /// Sets an acknowledged flow with at most this many unacknowledged publications.
    #[must_use]
    pub fn acknowledged(mut self, window: u16) -> Self {
        self.flow = Flow::Acknowledged { window };
        self
    }

    /// Shares the publications with other members of a group.
    #[must_use]
    pub fn shared(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// Its name for the client.
    #[must_use]
    pub fn name(&self) -> SubscriptionName {
        SubscriptionName {
            target: self.target.clone(),
            id: self.id,
        }
    }
}

/// Connections that share a wire format for publications: a dialect, its encoding, and what the
/// client can read. The caller assigns the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u8);

/// The recipients of a broadcast: all of one class, and either all with an id in the message's head
/// or all without.
#[derive(Clone, Copy, Debug)]
pub struct Recipients<'a> {
    pub(crate) connections: &'a [ConnectionId],
    /// As many as connections, or none.
    pub(crate) ids: &'a [u32],
}

impl<'a> Recipients<'a> {
    /// Their connections. A connection with several subscriptions is listed once for each.
    #[must_use]
    pub fn connections(&self) -> &'a [ConnectionId] {
        self.connections
    }

    /// The number of recipients.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether each needs its subscription's id in the head. If not, one body is for all.
    #[must_use]
    pub fn are_numbered(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Each recipient: the connection, and the id of its subscription if it has one.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, Option<SubscriptionId>)> + 'a {
        let ids = self.ids;
        let numbered = self.connections.iter().enumerate();
        numbered.map(move |(n, connection)| (*connection, ids.get(n).copied().map(SubscriptionId)))
    }
}
