//! The identity with which a connection begins, and the answer to it.

use std::time::Duration;

use bytes::Bytes;
use offhook_engine::{ChannelName, CommandId, Format, Position, SessionId, SubscriptionKey, Tags};

/// The identity given by a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The id of the answer.
    pub id: CommandId,
    /// The token for the server's authentication.
    pub token: Option<String>,
    /// The sealed session to resume.
    pub resume: Option<String>,
    /// What members may see of a session, if authentication does not provide it: one JSON value, or
    /// nothing.
    pub info: Bytes,
    /// The client's own positions, which are newer than those in the sealed session.
    pub positions: Vec<(SubscriptionKey, Position)>,
    /// Whether the client understands `previous` in messages.
    pub lineage: bool,
    /// The session that the client names, instead of resuming one with a token.
    pub named: Option<Box<Named>>,
}

/// A session with a name that its client chose. It belongs to its user: the same name of another
/// user is another session. A new connection that gives the name takes the session over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name; empty if the server is to choose one.
    pub name: String,
    /// Whether an earlier session of this name is discarded first.
    pub fresh: bool,
    /// How long the session outlives its connection; none if it does not.
    pub expiry: Option<Duration>,
    /// How many publications may be unacknowledged, over all acknowledged subscriptions together.
    pub window: u16,
    /// The publication to make if the client is lost.
    pub will: Option<Will>,
}

/// A publication that is made on behalf of the client when its connection ends without a
/// [`Leave`](crate::Intent::Leave).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The channel.
    pub channel: ChannelName,
    /// The data.
    pub data: Bytes,
    /// The format of `data`.
    pub format: Format,
    /// Names and values published with it.
    pub tags: Tags,
    /// How long after the end of the connection it is published, unless the session is resumed
    /// before. It is published no later than the session ends.
    pub delay: Duration,
}

/// The answer to a connection that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The id of the [`Connect`].
    pub id: CommandId,
    /// The session's name, visible to other members.
    pub session: SessionId,
    /// Empty for an anonymous session.
    pub user: &'a str,
    /// The sealed session to resume with; empty if there is none.
    pub resume: &'a str,
    /// When the session's identity expires; none if it does not.
    pub expires_in: Option<Duration>,
    /// The time of day in milliseconds since 1970.
    pub unix_ms: u64,
    /// The session, if the client named it.
    pub named: Option<Known<'a>>,
}

/// The state of a session that its client named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// The name, chosen by the server if the client gave none.
    pub name: &'a str,
    /// Whether the session existed before, and its acknowledged subscriptions continue.
    pub resumed: bool,
    /// The dialect's note that was stored with it: see [`Command::Remember`](offhook_engine::Command::Remember).
    pub note: &'a [u8],
    /// How long it outlives the connection, which may be less than was requested.
    pub expiry: Option<Duration>,
}
