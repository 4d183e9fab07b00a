//! The state of a subscription, and of messages that its client has not acknowledged.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use offhook_engine::{ChannelName, GapReason, Position, Publication, Since};

use super::destination::Destination;

/// How the client acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckMode {
    /// A message counts as processed once it has been sent.
    Auto,
    /// An ACK applies to a message and all earlier ones.
    Client,
    /// An ACK applies to a single message.
    Individual,
}

/// ```text
///        the engine confirms          UNSUBSCRIBE, or a new connection
/// Asked ─────────────────────▶ Live ───────────────────────────────────▶ Detached
///                               ▲                                            │
///                               └────────────────────────────────────────────┘
///                                                SUBSCRIBE
/// ```
/// Only durable subscriptions are detached: their messages are held until the client subscribes
/// again. All others are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionState {
    Asked,
    Live,
    Detached,
}

/// A subscription of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// The client's id for the subscription; in STOMP 1.0, the destination if the client gave no
    /// id.
    pub(super) id: Box<str>,
    /// Whether the client gave the id.
    pub(super) has_id: bool,
    pub(super) destination: Destination,
    pub(super) mode: AckMode,
    /// The name, if the subscription is durable.
    pub(super) durable: Option<Box<str>>,
    /// Whether the engine waits for acknowledgements.
    pub(super) acknowledged: bool,
    pub(super) stage: SubscriptionState,
    pub(super) since: Since,
    /// How many messages may be unacknowledged.
    pub(super) window: u16,
    /// Whether missing messages are reported to the client.
    pub(super) wants_gaps: bool,
    /// The receipt that is due once the subscription is live.
    pub(super) receipt: Option<Box<str>>,
    /// What waits for the client to subscribe again, in order: at most `window` messages, and the gaps
    /// before and between them.
    pub(super) held: VecDeque<Early>,
}

impl Subscription {
    pub(super) const fn is_queue(&self) -> bool {
        matches!(self.destination, Destination::Queue(_))
    }
}

/// A message that was delivered to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) publication: Arc<Publication>,
    pub(super) place: Position,
    /// The number of earlier deliveries.
    pub(super) earlier: u16,
}

/// Missing messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The channel, if the gap of a filter is about one channel.
    pub(super) channel: Option<ChannelName>,
    pub(super) from: Position,
    pub(super) to: Position,
    pub(super) reason: GapReason,
}

/// What a subscription keeps while its client is not subscribed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Early {
    Message(Delivered),
    Gap(Gap),
}

/// A message that the client has not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unacknowledged {
    pub(super) subscription: u32,
    pub(super) place: Position,
    /// The number of earlier deliveries.
    pub(super) earlier: u16,
    /// None for a message of a queue, which keeps it.
    pub(super) publication: Option<Arc<Publication>>,
}

impl Delivered {
    pub(super) fn bytes(&self) -> usize {
        self.publication.weight()
    }
}

impl Early {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.bytes(),
            Self::Gap(gap) => {
                let name = gap
                    .channel
                    .as_ref()
                    .map_or(0, |channel| channel.as_str().len());
                name.saturating_add(size_of::<Self>())
            }
        }
    }
}

impl Unacknowledged {
    /// The message of a topic for its next delivery.
    pub(super) fn again(self) -> Option<Delivered> {
        Some(Delivered {
            publication: self.publication?,
            place: self.place,
            earlier: self.earlier.saturating_add(1),
        })
    }

    fn bytes(&self) -> usize {
        let publication = self.publication.as_ref();
        publication.map_or(0, |publication| publication.weight())
    }
}

/// The unacknowledged messages of a connection, by the number of their acknowledgement, in the order of
/// delivery.
#[derive(Debug, Default)]
pub(super) struct AllUnacknowledged {
    messages: BTreeMap<u64, Unacknowledged>,
    /// The bytes of their publications.
    bytes: usize,
}

impl AllUnacknowledged {
    pub(super) fn insert(&mut self, ack: u64, message: Unacknowledged) {
        self.bytes = self.bytes.saturating_add(message.bytes());
        self.messages.insert(ack, message);
    }

    pub(super) fn get(&self, ack: u64) -> Option<&Unacknowledged> {
        self.messages.get(&ack)
    }

    pub(super) fn remove(&mut self, ack: u64) -> Option<Unacknowledged> {
        let removed = self.messages.remove(&ack)?;
        self.bytes = self.bytes.saturating_sub(removed.bytes());
        Some(removed)
    }

    /// The numbers of the messages of a subscription, up to this one.
    pub(super) fn up_to(&self, ack: u64, subscription: u32) -> Vec<u64> {
        let before = self.messages.range(..=ack);
        let ours = before.filter(|(_, known)| known.subscription == subscription);
        ours.map(|(ack, _)| *ack).collect()
    }

    /// Removes the messages of a subscription, in order.
    pub(super) fn take_all_of(&mut self, subscription: u32) -> Vec<Unacknowledged> {
        let ours = |_: &u64, known: &mut Unacknowledged| known.subscription == subscription;
        let removed = self.messages.extract_if(.., ours);
        let removed: Vec<_> = removed.map(|(_, known)| known).collect();
        for known in &removed {
            self.bytes = self.bytes.saturating_sub(known.bytes());
        }
        removed
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}
