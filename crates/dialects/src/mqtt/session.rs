//! The state of a session: its subscriptions, and the messages in flight in both directions.

use std::collections::{BTreeSet, HashMap};

use offhook_engine::{Key, Position, SubscriptionId, SubscriptionKey, Target};

use super::packet::{Options, Qos};

/// What a client subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) target: Target,
    /// The group with which the client shares it (5.0 §4.8.2).
    pub(super) group: Option<Key>,
}

/// A subscription of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) wanted: Wanted,
    /// The granted options.
    pub(super) options: Options,
    /// The subscription identifier given by the client; 0 if there is none.
    pub(super) identifier: u32,
    /// Whether the engine identifies it by its number. A subscription that shares its encoded
    /// messages with others is identified by its target instead.
    pub(super) numbered: bool,
    /// Whether the engine waits for acknowledgements. It does so with QoS 1 and 2, and with QoS 0 if
    /// the client has lowered the QoS: messages that wait for the client must not be lost then
    /// (§3.8.4). It always does if the subscription is shared.
    pub(super) acknowledged: bool,
    /// Whether the engine has confirmed it on this connection.
    pub(super) begun: bool,
    /// While retained messages of QoS 1 and 2 are delivered: the sequence numbers of those that the
    /// client has. On the next connection, the others are delivered again.
    pub(super) retained: Option<BTreeSet<u64>>,
}

impl Wanted {
    /// A target that is not shared.
    pub(super) const fn alone(target: Target) -> Self {
        let group = None;
        Self { target, group }
    }
}

impl Subscription {
    /// Whether it shares its messages with other clients.
    pub(super) const fn is_shared(&self) -> bool {
        self.wanted.group.is_some()
    }

    /// How the engine identifies this subscription, whose number is `number`.
    pub(super) fn key(&self, number: u32) -> SubscriptionKey {
        match self.numbered {
            true => SubscriptionKey::Id(SubscriptionId(number)),
            false => SubscriptionKey::Target(self.wanted.target.clone()),
        }
    }
}

/// A message of QoS 1 or 2 whose exchange is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    /// The number of its subscription.
    pub(super) subscription: u32,
    pub(super) origin: Origin,
    pub(super) stage: Exchange,
    /// The number of its PUBREC among all that the client has sent; 0 before that.
    pub(super) release: u64,
}

/// Where a message in flight comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The engine delivered it, at this place in the subscription, and waits for `Done`.
    Live(Position),
    /// It is the retained message with this sequence number.
    Retained(u64),
    /// The engine delivered it and does not wait for `Done` any more: a gap covers it.
    Skipped,
}

impl Origin {
    /// The offset of a message that the engine waits for.
    pub(super) const fn live_offset(self) -> Option<u64> {
        match self {
            Self::Live(place) => Some(place.offset),
            Self::Retained(_) | Self::Skipped => None,
        }
    }

    /// Whether both are the same message of one subscription. The order of a filter continues in a
    /// new epoch after a restart, in which each message keeps its offset.
    fn is(self, other: Self, by_filter: bool) -> bool {
        match (self, other) {
            (Self::Live(a), Self::Live(b)) if by_filter => a.offset == b.offset,
            (Self::Live(_) | Self::Retained(_), _) => self == other,
            (Self::Skipped, _) => false,
        }
    }
}

/// The stages of the exchange of a message to the client.
///
/// ```text
///            PUBACK
/// Sent(1) ───────────▶ gone
///            PUBREC              PUBCOMP
/// Sent(2) ───────────▶ Released ─────────────────────▶ gone
///                         │ PUBCOMP, and the engine      ▲
///                         │ has not delivered it yet     │ the engine delivers it
///                         └─────────▶ Completed ─────────┘
/// ```
///
/// On a new connection, the PUBREL of a released message is sent again at once. The engine is not
/// aware of this, and delivers the message later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// The PUBLISH was sent with this QoS.
    Sent(Qos),
    /// The client has the message: PUBREL was or will be sent.
    Released {
        /// Whether the engine has delivered it on this connection and waits for `Done`.
        delivered: bool,
    },
    /// The client has completed it, but the engine has not delivered it on this connection yet.
    Completed,
}

/// A message of QoS 2 that the client has not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// The number in its idempotency key.
    pub(super) key: u64,
    /// What distinguishes its content from another message's, if the session outlives its connection.
    pub(super) content: u64,
    pub(super) state: Taking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    /// It is being published.
    Pending,
    /// It was published, and PUBREC was sent.
    Taken,
    /// An earlier connection started to publish it; the result is unknown.
    Unknown,
    /// An earlier connection published it.
    TakenBefore,
}

/// The state of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) subscriptions: HashMap<u32, Subscription>,
    pub(super) numbers: HashMap<Wanted, u32>,
    pub(super) next_number: u32,
    /// By packet identifier.
    pub(super) in_flight: HashMap<u16, InFlight>,
    /// The number of PUBRECs so far.
    pub(super) releases: u64,
    /// By packet identifier.
    pub(super) received: HashMap<u16, Received>,
    pub(super) next_key: u64,
}

impl Session {
    /// A session that starts at this time.
    pub(super) fn begun(unix_ms: u64) -> Self {
        Self {
            // The broker remembers the keys of an earlier session of the same client, and a message
            // with the same key is a duplicate. Starting at the current time avoids these keys.
            next_key: unix_ms << 20,
            ..Self::default()
        }
    }

    /// Adds a subscription and returns its number. From now on, its filter refers to this one.
    pub(super) fn add(&mut self, subscription: Subscription) -> u32 {
        let number = self.next_number;
        // 2^31 numbers: a session does not live long enough to reuse one.
        self.next_number = self.next_number.wrapping_add(1) & 0x7fff_ffff;
        self.numbers.insert(subscription.wanted.clone(), number);
        self.subscriptions.insert(number, subscription);
        number
    }

    /// Numbers a PUBREC.
    pub(super) const fn next_release(&mut self) -> u64 {
        self.releases = self.releases.wrapping_add(1);
        self.releases
    }

    /// The packet identifiers of messages that the client has, in the order of its PUBRECs (§4.6
    /// requires PUBRELs in this order, and many clients pass a message on when they get its PUBREL).
    pub(super) fn released(&self) -> Vec<(u16, InFlight)> {
        let all = self.in_flight.iter();
        let released = all.filter(|(_, message)| !matches!(message.stage, Exchange::Sent(_)));
        let mut released: Vec<_> = released.map(|(id, message)| (*id, *message)).collect();
        released.sort_unstable_by_key(|(_, message)| message.release);
        released
    }

    /// Removes a subscription. The engine does not deliver its messages any more, so that the client's
    /// PUBCOMP ends those that it has.
    pub(super) fn remove(&mut self, number: u32) -> Option<Subscription> {
        let removed = self.subscriptions.remove(&number)?;
        self.in_flight.retain(|_, message| {
            let is_of_it = message.subscription == number;
            match &mut message.stage {
                Exchange::Completed => !is_of_it,
                Exchange::Released { delivered } => {
                    *delivered |= is_of_it;
                    true
                }
                Exchange::Sent(_) => true,
            }
        });
        if self.numbers.get(&removed.wanted) == Some(&number) {
            self.numbers.remove(&removed.wanted);
        }
        Some(removed)
    }

    /// The packet identifier of a message, and its exchange if it is in flight already.
    ///
    /// The identifier is derived from the message's place. If the server crashes and forgets the
    /// identifier, the message gets the same one again, by which the client recognizes it. If it is
    /// taken by another message, the next free one is used. None if all are taken.
    pub(super) fn packet_id(
        &self,
        subscription: u32,
        origin: Origin,
    ) -> Option<(u16, Option<InFlight>)> {
        let offset = match origin {
            Origin::Live(place) => place.offset,
            Origin::Retained(sequence) => sequence,
            Origin::Skipped => 0,
        };
        let first = u64::from(subscription)
            .wrapping_mul(4099)
            .wrapping_add(offset)
            .checked_rem(65_535)?;
        let known = self.subscriptions.get(&subscription);
        let by_filter = known.is_some_and(|known| known.wanted.target.channel().is_none());
        let mut id = u16::try_from(first).ok()?;
        for _ in 0..u16::MAX {
            // From 0..=65534 to 1..=65535.
            let candidate = id.checked_add(1)?;
            match self.in_flight.get(&candidate) {
                None => return Some((candidate, None)),
                Some(known)
                    if known.subscription == subscription && known.origin.is(origin, by_filter) =>
                {
                    return Some((candidate, Some(*known)));
                }
                Some(_) => {}
            }
            id = candidate.checked_rem(u16::MAX)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use offhook_engine::ChannelName;

    use super::*;

    fn sent(offset: u64) -> InFlight {
        InFlight {
            subscription: 0,
            origin: Origin::Live(Position::new(1, offset)),
            stage: Exchange::Sent(Qos::AtLeastOnce),
            release: 0,
        }
    }

    #[test]
    fn a_message_has_the_same_identifier_after_the_session_forgot_it() {
        let place = Origin::Live(Position::new(1, 65_534));
        let (id, known) = Session::default().packet_id(0, place).unwrap();
        assert_eq!((id, known), (65_535, None));
        assert_eq!(Session::default().packet_id(0, place), Some((id, None)));
    }

    #[test]
    fn an_identifier_in_use_is_skipped_and_a_message_in_flight_is_found() {
        let mut session = Session::default();
        session.in_flight.insert(65_535, sent(1));
        let place = Origin::Live(Position::new(1, 65_534));
        assert_eq!(session.packet_id(0, place), Some((1, None)));
        session.in_flight.insert(1, sent(65_534));
        let (id, known) = session.packet_id(0, place).unwrap();
        assert_eq!((id, known), (1, Some(sent(65_534))));
    }

    #[test]
    fn there_is_no_identifier_when_all_are_in_use() {
        let mut session = Session::default();
        for id in 1..=u16::MAX {
            session.in_flight.insert(id, sent(u64::from(id) + 100_000));
        }
        assert_eq!(
            session.packet_id(0, Origin::Live(Position::new(1, 7))),
            None
        );
    }

    #[test]
    fn a_later_subscription_to_the_same_target_replaces_the_earlier_one() {
        let mut session = Session::default();
        let new = || Subscription {
            wanted: Wanted::alone(ChannelName::new("a").unwrap().into()),
            options: Options::default(),
            identifier: 0,
            numbered: true,
            acknowledged: true,
            begun: true,
            retained: None,
        };
        let (first, second) = (session.add(new()), session.add(new()));
        session.remove(first);
        assert_eq!(session.numbers.get(&new().wanted), Some(&second));
    }

    #[test]
    fn a_message_of_a_filter_keeps_its_identifier_when_a_new_epoch_continues_its_order() {
        let mut session = Session::default();
        let target = offhook_engine::Filter::new("a/#").unwrap().into();
        let number = session.add(Subscription {
            wanted: Wanted::alone(target),
            options: Options::default(),
            identifier: 0,
            numbered: true,
            acknowledged: true,
            begun: true,
            retained: None,
        });
        let id = |session: &Session, epoch| {
            let origin = Origin::Live(Position::new(epoch, 7));
            session.packet_id(number, origin).unwrap()
        };
        let (before, _) = id(&session, 1);
        session.in_flight.insert(before, sent(7));
        assert_eq!(id(&session, 2), (before, Some(sent(7))));
    }
}
