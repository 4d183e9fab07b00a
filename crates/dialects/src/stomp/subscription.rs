//! The state of a subscription, and of messages that its client has not acknowledged.

use std::{collections::VecDeque, sync::Arc};

use offhook_engine::{Position, Publication, Since};

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
    /// Messages that wait for the client to subscribe again; at most `window`.
    pub(super) held: VecDeque<Delivered>,
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

/// A message that the client has not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unacknowledged {
    pub(super) subscription: u32,
    pub(super) message: Delivered,
}
