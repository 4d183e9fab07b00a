//! What a subscription is to its client: its target, its number, its flow.

use std::fmt;

use crate::{channel_name::ChannelName, command::Since, delivery::ConnectionId, filter::Filter};

/// The number that a dialect gave a subscription. It is unique within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u32);

/// What a session subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// One channel.
    Channel(ChannelName),
    /// Every channel whose name matches, those that begin later included.
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

    /// The channel; none if it is a filter.
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

/// How a subscription is named to its client: what is told about it carries this.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionName {
    /// What it subscribes to.
    pub target: Target,
    /// The dialect's number for it; none when its target is its identity.
    pub id: Option<SubscriptionId>,
}

impl SubscriptionName {
    /// What identifies it within its session.
    #[must_use]
    pub fn key(&self) -> SubscriptionKey {
        match self.id {
            Some(id) => SubscriptionKey::Id(id),
            None => SubscriptionKey::Target(self.target.clone()),
        }
    }
}

impl From<ChannelName> for SubscriptionName {
    /// A channel's subscription without a number.
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

/// What identifies a subscription within its session: the number where the dialect gave one, else
/// the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubscriptionKey {
    /// The subscription with this number.
    Id(SubscriptionId),
    /// The subscription without a number to this target.
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

/// How publications reach a subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// As fast as the connection takes them.
    #[default]
    Pushed,
    /// At most so many before the client says that it is done with them. Those that it was not done
    /// with when its connection was lost are delivered again to its session. The channel has to keep
    /// history.
    Acknowledged {
        /// Publications without an acknowledgement; at least 1, at most
        /// [`Limits::window`](crate::Limits).
        window: u16,
    },
}

/// A wish to subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// What to.
    pub target: Target,
    /// The dialect's number for it; without one the target is its identity.
    pub id: Option<SubscriptionId>,
    /// From where on.
    pub since: Since,
    /// Whether joins and leaves are wanted, too.
    pub presence: bool,
    /// Whether the session's own publications are wanted. Without them
    /// [`Notice::Own`](crate::Notice) takes their place.
    pub echo: bool,
    /// How publications reach the subscriber.
    pub flow: Flow,
}

impl Subscribe {
    /// Publications of a target, pushed, the session's own among them, and no joins and leaves.
    #[must_use]
    pub fn new(target: impl Into<Target>, since: Since) -> Self {
        Self {
            target: target.into(),
            id: None,
            since,
            presence: false,
            echo: true,
            flow: Flow::Pushed,
        }
    }

    /// The same, with joins and leaves.
    #[must_use]
    pub fn with_presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// The same, with the dialect's number.
    #[must_use]
    pub fn numbered(mut self, id: u32) -> Self {
        self.id = Some(SubscriptionId(id));
        self
    }

    /// The same, without the session's own publications.
    #[must_use]
    pub fn without_echo(mut self) -> Self {
        self.echo = false;
        self
    }

    /// The same, with so many unacknowledged publications at most.
    #[must_use]
    pub fn acknowledged(mut self, window: u16) -> Self {
        self.flow = Flow::Acknowledged { window };
        self
    }

    /// What is told about it.
    #[must_use]
    pub fn name(&self) -> SubscriptionName {
        SubscriptionName {
            target: self.target.clone(),
            id: self.id,
        }
    }
}

/// Connections that share how publications look on their wire: a dialect, its encoding, and what
/// the client can read. The caller numbers them as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u8);

/// Who gets a broadcast: recipients of one class, who all need a number in the message's head or
/// all need none.
#[derive(Clone, Copy, Debug)]
pub struct Recipients<'a> {
    pub(crate) connections: &'a [ConnectionId],
    /// As many as connections, or none.
    pub(crate) ids: &'a [u32],
}

impl<'a> Recipients<'a> {
    /// Their connections. One that has several subscriptions is there for each of them.
    #[must_use]
    pub fn connections(&self) -> &'a [ConnectionId] {
        self.connections
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether each needs its subscription's number in the head. If not, one body is for all.
    #[must_use]
    pub fn are_numbered(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Each recipient: the connection, and the number of its subscription where it has one.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, Option<SubscriptionId>)> + 'a {
        let ids = self.ids;
        let numbered = self.connections.iter().enumerate();
        numbered.map(move |(n, connection)| (*connection, ids.get(n).copied().map(SubscriptionId)))
    }
}
