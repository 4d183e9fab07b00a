//! Channels that are subscribed to with one message.

use offhook_dialects::native::client::{ChannelName, Position, Target};

use super::SubscriptionKey;
use super::subscriptions::{Subscription, bytes_of};
use crate::since::Since;

/// Channels in one request. 128: the subscriptions that a server allows a session by default.
const MOST_TOGETHER: usize = 128;
/// Bytes of channels and positions in one request. 128 KiB: half of the longest message that servers
/// take by default.
const TOGETHER_BYTES: usize = 128 * 1024;

/// Subscriptions that share one request.
pub(super) struct Group {
    pub(super) keys: Vec<SubscriptionKey>,
    /// Each with its own position, if it has one.
    pub(super) channels: Vec<(ChannelName, Option<Position>)>,
    /// Where channels without a position start.
    pub(super) since: Option<Since>,
    pub(super) presence: bool,
    pub(super) echo: bool,
    /// A filter, which cannot share a request.
    is_alone: bool,
    bytes: usize,
}

impl Group {
    pub(super) fn new(entry: &Subscription, key: SubscriptionKey) -> Self {
        let mut group = Self {
            keys: vec![key],
            channels: Vec::new(),
            since: None,
            presence: entry.presence,
            echo: entry.echo,
            is_alone: true,
            bytes: bytes_of(&entry.name),
        };
        if let Target::Channel(channel) = &entry.target {
            group.is_alone = false;
            group.channels.push((channel.clone(), entry.position));
            group.since = entry.position.is_none().then(|| entry.since());
        }
        group
    }

    /// Adds a subscription. False if it needs a request of its own.
    pub(super) fn take(&mut self, entry: &Subscription, key: SubscriptionKey) -> bool {
        let Target::Channel(channel) = &entry.target else {
            return false;
        };
        // A token is for one channel.
        if entry.tokens.is_some() {
            return false;
        }
        let bytes = self.bytes + bytes_of(&entry.name);
        let is_full = self.keys.len() >= MOST_TOGETHER || bytes > TOGETHER_BYTES;
        if self.is_alone || is_full || (entry.presence, entry.echo) != (self.presence, self.echo) {
            return false;
        }
        if entry.position.is_none() {
            let since = entry.since();
            if *self.since.get_or_insert(since) != since {
                return false;
            }
        }
        self.bytes = bytes;
        self.keys.push(key);
        self.channels.push((channel.clone(), entry.position));
        true
    }
}
