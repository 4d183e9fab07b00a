//! What the webhooks of an app report of its clients.

use bytes::Bytes;
use offhook_engine::ChannelName;

/// What a client did, or was told, as a webhook of its app reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// An event of a client was published.
    ClientEvent(ClientEvent),
    /// A client subscribed to a cache channel that has no last event.
    CacheMiss {
        /// The channel.
        channel: ChannelName,
    },
}

impl Report {
    /// The channel.
    #[must_use]
    pub const fn channel(&self) -> &ChannelName {
        match self {
            Self::ClientEvent(event) => &event.channel,
            Self::CacheMiss { channel } => channel,
        }
    }
}

/// An event of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEvent {
    /// The channel.
    pub channel: ChannelName,
    /// The event's name.
    pub event: String,
    /// The data, which is JSON.
    pub data: Bytes,
    /// The client's socket id.
    pub socket_id: String,
    /// The client's user id, in a presence channel.
    pub user: Option<Box<str>>,
}
