//! What belongs to a session: its subscriptions, and the messages that are under way in both
//! directions.

use std::collections::HashMap;

use offhook_engine::{Position, SubscriptionId, SubscriptionKey, Target};

use super::packet::{Options, Qos};

/// A subscription of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) target: Target,
    /// As granted.
    pub(super) options: Options,
    /// The client's own identifier; 0 without one.
    pub(super) identifier: u32,
    /// Whether the engine knows it by its number. One that needs no bytes of its own it knows by its
    /// target, so that all such subscriptions share them.
    pub(super) numbered: bool,
}

impl Subscription {
    /// The engine's name for the subscription with this number.
    pub(super) fn key(&self, number: u32) -> SubscriptionKey {
        match self.numbered {
            true => SubscriptionKey::Id(SubscriptionId(number)),
            false => SubscriptionKey::Target(self.target.clone()),
        }
    }
}

/// A message of QoS 1 or 2 that the client has not acknowledged wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    /// The number of its subscription.
    pub(super) subscription: u32,
    /// Its place in what is subscribed to; none for a retained message.
    pub(super) place: Option<Position>,
    pub(super) stage: Exchange,
}

/// ```text
///            PUBACK
/// Sent(1) ───────────▶ gone
///            PUBREC              PUBCOMP
/// Sent(2) ───────────▶ Released ─────────────────────▶ gone
///                         │ PUBCOMP, and the engine      ▲
///                         │ has not delivered it yet     │ the engine delivers it
///                         └─────────▶ Completed ─────────┘
/// ```
/// On a new connection, a message that was released before is released again at once. The engine,
/// which does not know of that, delivers it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// The PUBLISH was sent with this QoS.
    Sent(Qos),
    /// The client has the message: PUBREL was or will be sent.
    Released {
        /// Whether the engine has delivered it on this connection, and waits until it is done.
        delivered: bool,
    },
    /// The client is done with it, and the engine has not delivered it on this connection.
    Completed,
}

/// A message of QoS 2 that the client has not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// The number in its idempotency key.
    pub(super) key: u64,
    pub(super) state: Taking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    /// It is being published.
    Pending,
    /// It was published, and PUBREC was sent.
    Taken,
    /// An earlier connection was publishing it: whether it was is not known.
    Unknown,
}

/// The state of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) subscriptions: HashMap<u32, Subscription>,
    pub(super) numbers: HashMap<Target, u32>,
    pub(super) next_number: u32,
    /// By packet identifier.
    pub(super) in_flight: HashMap<u16, InFlight>,
    /// By packet identifier.
    pub(super) received: HashMap<u16, Received>,
    pub(super) next_key: u64,
}

impl Session {
    /// A session that begins at this time.
    pub(super) fn begun(unix_ms: u64) -> Self {
        Self {
            // An earlier session of the same client has used numbers from its own beginning on, and
            // their keys are remembered: the same key would pass for the same message.
            next_key: unix_ms << 20,
            ..Self::default()
        }
    }

    /// Adds a subscription in place of one to the same target; returns its number.
    pub(super) fn add(&mut self, subscription: Subscription) -> u32 {
        let number = self.next_number;
        // Numbers are not used twice within what a session can do in its life.
        self.next_number = self.next_number.wrapping_add(1) & 0x7fff_ffff;
        self.numbers.insert(subscription.target.clone(), number);
        self.subscriptions.insert(number, subscription);
        number
    }

    /// Removes a subscription.
    pub(super) fn remove(&mut self, number: u32) -> Option<Subscription> {
        let removed = self.subscriptions.remove(&number)?;
        if self.numbers.get(&removed.target) == Some(&number) {
            self.numbers.remove(&removed.target);
        }
        Some(removed)
    }

    /// The packet identifier of a message, and whether it was in use for it already.
    ///
    /// It follows from the message's place, so that after a crash of the server, which may forget
    /// which identifier a message had, the message has the same again, and the client knows it. Only
    /// if that is taken, the next free one is used. None if all are taken.
    pub(super) fn packet_id(
        &self,
        subscription: u32,
        place: Option<Position>,
    ) -> Option<(u16, Option<InFlight>)> {
        let offset = place.map_or(0, |place| place.offset);
        let first = u64::from(subscription)
            .wrapping_mul(4099)
            .wrapping_add(offset)
            .checked_rem(65_535)?;
        let mut id = u16::try_from(first).ok()?;
        for _ in 0..u16::MAX {
            // From 0..=65534 to 1..=65535.
            let candidate = id.checked_add(1)?;
            match self.in_flight.get(&candidate) {
                None => return Some((candidate, None)),
                Some(known)
                    if place.is_some()
                        && known.subscription == subscription
                        && known.place == place =>
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
            place: Some(Position::new(1, offset)),
            stage: Exchange::Sent(Qos::AtLeastOnce),
        }
    }

    #[test]
    fn a_message_has_the_same_identifier_in_a_session_that_forgot_it() {
        let place = Some(Position::new(1, 65_534));
        let (id, known) = Session::default().packet_id(0, place).unwrap();
        assert_eq!((id, known), (65_535, None));
        assert_eq!(Session::default().packet_id(0, place), Some((id, None)));
    }

    #[test]
    fn an_identifier_in_use_is_passed_over_and_found_again() {
        let mut session = Session::default();
        session.in_flight.insert(65_535, sent(1));
        let place = Some(Position::new(1, 65_534));
        assert_eq!(session.packet_id(0, place), Some((1, None)));
        session.in_flight.insert(1, sent(65_534));
        let (id, known) = session.packet_id(0, place).unwrap();
        assert_eq!((id, known), (1, Some(sent(65_534))));
    }

    #[test]
    fn when_all_identifiers_are_taken_there_is_none() {
        let mut session = Session::default();
        for id in 1..=u16::MAX {
            session.in_flight.insert(id, sent(u64::from(id) + 100_000));
        }
        assert_eq!(session.packet_id(0, Some(Position::new(1, 7))), None);
    }

    #[test]
    fn a_later_subscription_to_a_target_takes_its_place() {
        let mut session = Session::default();
        let new = || Subscription {
            target: ChannelName::new("a").unwrap().into(),
            options: Options::default(),
            identifier: 0,
            numbered: true,
        };
        let (first, second) = (session.add(new()), session.add(new()));
        session.remove(first);
        assert_eq!(session.numbers.get(&new().target), Some(&second));
    }
}
