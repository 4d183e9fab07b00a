//! Messages to the client, and its acknowledgements.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use offhook_engine::{Command, CommandId, GapReason, Position, Publication, SubscriptionName};

use super::{
    Reason,
    connecting::TOPIC_ALIASES,
    content,
    dialect::Mqtt,
    packet::{Ack, Packet, Properties, Publish, Qos, Version},
    retained::RetainedPages,
    session::{Exchange, InFlight, Origin, Subscription},
};
use crate::dialect::{Head, Intent, Payload};

/// Messages to the client that are not in flight yet.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Messages that wait until others are acknowledged. Bounded by the sum of the engine's windows
    /// and one page of retained messages.
    pub(super) held: VecDeque<Queued>,
    /// Whether the dialect's queue contains messages that were held. They must be sent before the
    /// engine delivers anything else.
    pub(super) has_sent_held: bool,
    pub(super) retained: RetainedPages,
    /// Whether messages released on an earlier connection may not have been delivered by the engine
    /// on this one.
    pub(super) has_earlier: bool,
    /// Topic aliases defined for this client.
    aliases: HashMap<Box<str>, u16>,
}

#[derive(Debug)]
pub(super) struct Queued {
    pub(super) subscription: u32,
    pub(super) origin: Origin,
    pub(super) publication: Arc<Publication>,
    pub(super) again: bool,
}

impl Mqtt {
    /// The packet that delivers a publication to a subscription; none if it is not delivered, or
    /// only later.
    pub(super) fn deliver(
        &mut self,
        number: u32,
        origin: Origin,
        publication: &Arc<Publication>,
        again: bool,
        now_ms: u64,
    ) -> Option<Vec<u8>> {
        let subscription = self.session.subscriptions.get(&number)?;
        let (options, identifier) = (subscription.options, subscription.identifier);
        // 5.0 §3.3.1.1: the flag marks what was sent to this client before, not to another member of
        // its group.
        let again = again && !subscription.is_shared();
        let is_retained = matches!(origin, Origin::Retained(_));
        // §3.8.3.1: no-local. The engine handles it for subscriptions without acknowledgements.
        let is_own = options.no_local && !is_retained && self.is_own(publication);
        let version = self.client.version;
        let message = content::message(publication, version, now_ms).filter(|_| !is_own);
        let Some(message) = message else {
            self.is_done(number, origin);
            return None;
        };
        let qos = message.qos.min(options.qos);
        let mut publish = message.publish;
        // §3.3.1.3: the flag marks a retained message. 5.0 §3.8.3.1: or it is the publisher's.
        publish.retain = is_retained || (options.retain_as_published && publish.retain);
        if identifier > 0 {
            of(&mut publish).subscription_ids.push(identifier);
        }
        if qos == Qos::AtMostOnce {
            self.is_done(number, origin);
            return self.finish(publish);
        }
        if let Origin::Live(place) = origin {
            self.passes(number, place);
        }
        let id = match self.session.packet_id(number, origin) {
            // Its PUBREL was sent with the CONNACK.
            Some((id, Some(known))) if !matches!(known.stage, Exchange::Sent(_)) => {
                self.delivers_released(id, origin);
                return None;
            }
            Some((id, Some(_))) => id,
            Some((id, None)) if !self.is_full() => id,
            Some((_, None)) | None => {
                self.hold(number, origin, publication, again);
                return None;
            }
        };
        (publish.qos, publish.packet_id, publish.dup) = (qos, id, again);
        let bytes = self.finish(publish);
        if bytes.is_some() {
            let message = InFlight {
                subscription: number,
                origin,
                stage: Exchange::Sent(qos),
                release: 0,
            };
            self.session.in_flight.insert(id, message);
        } else {
            self.is_done(number, origin);
        }
        bytes
    }

    /// Takes a message of the engine while others are held: it waits behind them.
    pub(super) fn deliver_behind(
        &mut self,
        number: u32,
        place: Position,
        publication: &Arc<Publication>,
        again: bool,
        now_ms: u64,
    ) {
        let origin = Origin::Live(place);
        // What it says about messages of earlier connections is not held: these may be what the held
        // ones wait for.
        self.passes(number, place);
        let known = self.session.packet_id(number, origin);
        let is_sent = |message: InFlight| matches!(message.stage, Exchange::Sent(_));
        match known {
            // Nothing is sent for it.
            Some((_, Some(message))) if !is_sent(message) => {
                let _nothing = self.deliver(number, origin, publication, again, now_ms);
            }
            Some(_) | None => self.hold(number, origin, publication, again),
        }
        self.send_held();
    }

    fn hold(
        &mut self,
        subscription: u32,
        origin: Origin,
        publication: &Arc<Publication>,
        again: bool,
    ) {
        self.sending.held.push_back(Queued {
            subscription,
            origin,
            publication: Arc::clone(publication),
            again,
        });
    }

    /// Whether the client must acknowledge something before it gets another message.
    fn is_full(&self) -> bool {
        let most = usize::from(self.client.receive_maximum);
        let all = &self.session.in_flight;
        if all.len() < most || !self.sending.has_earlier {
            return all.len() >= most;
        }
        // The client has completed these. They are only kept until the engine has passed their
        // places.
        let completed = |message: &&InFlight| message.stage == Exchange::Completed;
        let completed = all.values().filter(completed).count();
        all.len().saturating_sub(completed) >= most
    }

    /// A message of a subscription without an id that may have expired (5.0 §3.3.2.3.3).
    pub(super) fn late(&self, publication: &Publication, now_ms: u64) -> Head {
        if !content::expires(publication) {
            return Head::None;
        }
        let version = self.client.version;
        let Some(mut message) = content::message(publication, version, now_ms) else {
            return Head::Nothing;
        };
        message.publish.retain = false;
        let bytes = Packet::Publish(message.publish).encode(version);
        Head::Whole(Payload::Binary(bytes))
    }

    /// Whether this session published it.
    fn is_own(&self, publication: &Publication) -> bool {
        let publisher = publication.publisher.as_ref();
        publisher.is_some_and(|by| Some(by.session) == self.name)
    }

    /// The engine delivers a message that an earlier connection released. Its place may be in a newer
    /// epoch than it was then.
    fn delivers_released(&mut self, id: u16, origin: Origin) {
        let Some(known) = self.session.in_flight.get_mut(&id) else {
            return;
        };
        known.origin = origin;
        if known.stage == Exchange::Completed {
            self.ends(id);
        } else {
            known.stage = Exchange::Released { delivered: true };
        }
    }

    /// Encodes a packet, with an alias for its topic if the client allows it; none if it exceeds
    /// the client's maximum packet size. Such a message counts as delivered (5.0 §3.1.2.11.4).
    fn finish(&mut self, mut publish: Publish) -> Option<Vec<u8>> {
        let mut new_alias = None;
        if self.client.topic_aliases > 0 {
            let aliases = &mut self.sending.aliases;
            let most = self.client.topic_aliases.min(TOPIC_ALIASES);
            let next = u16::try_from(aliases.len())
                .unwrap_or(u16::MAX)
                .saturating_add(1);
            if let Some(known) = aliases.get(&publish.topic).copied() {
                of(&mut publish).topic_alias = Some(known);
                publish.topic = "".into();
            } else if next <= most {
                of(&mut publish).topic_alias = Some(next);
                new_alias = Some((publish.topic.clone(), next));
            }
        }
        let bytes = Packet::Publish(publish).encode(self.client.version);
        if bytes.len() > self.client.packet_size {
            return None;
        }
        self.sending.aliases.extend(new_alias);
        Some(bytes)
    }

    /// Marks messages released on an earlier connection as done if the engine has passed their
    /// place. The engine delivers in order, so it will not deliver them again.
    fn passes(&mut self, number: u32, place: Position) {
        if !self.sending.has_earlier {
            return;
        }
        let mut more = false;
        self.session.in_flight.retain(|_, message| {
            let is_earlier = matches!(
                message.stage,
                Exchange::Completed | Exchange::Released { delivered: false }
            );
            let offset = message.origin.live_offset();
            let passed =
                message.subscription == number && offset.is_some_and(|at| at < place.offset);
            if !is_earlier || !passed {
                more |= is_earlier;
                return true;
            }
            let completed = message.stage == Exchange::Completed;
            message.stage = Exchange::Released { delivered: true };
            !completed
        });
        self.sending.has_earlier = more;
        self.note_is_old = true;
    }

    /// Marks a message as done: it needs no further delivery.
    fn is_done(&mut self, number: u32, origin: Origin) {
        let Some(subscription) = self.session.subscriptions.get(&number) else {
            return;
        };
        let position = match origin {
            Origin::Live(place) if subscription.acknowledged => place,
            Origin::Live(_) | Origin::Skipped => return,
            Origin::Retained(sequence) => {
                self.has_retained(number, sequence);
                return self.end_retained(number);
            }
        };
        let command = Command::Done {
            subscription: subscription.key(number),
            position,
            cumulative: false,
        };
        // At the front, so that it is executed before the next note is stored.
        let id = CommandId(0);
        self.queue.push_front(Intent::Command { id, command });
    }

    fn ends(&mut self, packet_id: u16) {
        if let Some(message) = self.session.in_flight.remove(&packet_id) {
            self.note_is_old |= !matches!(message.stage, Exchange::Sent(_));
            self.is_done(message.subscription, message.origin);
            self.send_held();
        }
    }

    /// PUBACK: a message of QoS 1 was received. A failure also ends the exchange (5.0 §4.3.2).
    pub(super) fn acknowledged(&mut self, ack: &Ack) {
        let message = self.session.in_flight.get(&ack.packet_id);
        if message.is_some_and(|message| message.stage == Exchange::Sent(Qos::AtLeastOnce)) {
            self.ends(ack.packet_id);
        }
    }

    /// PUBREC: a message of QoS 2 was received.
    pub(super) fn client_received(&mut self, ack: &Ack) {
        let id = ack.packet_id;
        let message = self.session.in_flight.get_mut(&id);
        let message = message.filter(|message| message.stage != Exchange::Sent(Qos::AtLeastOnce));
        let mut retained = None;
        let reason = match message {
            // §4.3.3: a failure ends the exchange.
            Some(_) if ack.reason.is_failure() => return self.ends(id),
            Some(message) => {
                // After the PUBREL, the client forgets the identifier. Therefore the note with the
                // release is stored first, so that the message is not sent again after a crash.
                if let Exchange::Sent(_) = message.stage {
                    self.changed = true;
                    message.release = self.session.releases.wrapping_add(1);
                    self.session.releases = message.release;
                    if let Origin::Retained(sequence) = message.origin {
                        retained = Some((message.subscription, sequence));
                    }
                    message.stage = Exchange::Released { delivered: true };
                }
                Reason::SUCCESS
            }
            None => Reason::PACKET_ID_NOT_FOUND,
        };
        if let Some((number, sequence)) = retained {
            self.has_retained(number, sequence);
        }
        self.keeps_for_itself(id);
        let packet = Packet::PubRel(Ack::new(id, reason));
        self.after_note.push(packet.encode(self.client.version));
    }

    /// A client has received a message of a shared subscription: no other member gets it any more, also
    /// if this one goes before its PUBCOMP.
    fn keeps_for_itself(&mut self, packet_id: u16) {
        let Some(message) = self.session.in_flight.get(&packet_id).copied() else {
            return;
        };
        let subscription = self.session.subscriptions.get(&message.subscription);
        if !subscription.is_some_and(Subscription::is_shared) {
            return;
        }
        self.is_done(message.subscription, message.origin);
        if let Some(message) = self.session.in_flight.get_mut(&packet_id) {
            message.origin = Origin::Skipped;
        }
    }

    /// PUBCOMP: the client has forgotten the identifier.
    pub(super) fn completed(&mut self, ack: &Ack) {
        let Some(message) = self.session.in_flight.get_mut(&ack.packet_id) else {
            return;
        };
        match message.stage {
            Exchange::Released { delivered: true } => self.ends(ack.packet_id),
            // The engine does not accept `Done` for a message that it has not delivered.
            Exchange::Released { delivered: false } => {
                message.stage = Exchange::Completed;
                self.send_held();
            }
            Exchange::Completed | Exchange::Sent(_) => {}
        }
    }

    /// Sends held messages, up to the client's receive maximum.
    pub(super) fn send_held(&mut self) {
        let now_ms = self.unix_ms();
        let mut left = self.sending.held.len();
        while left > 0
            && !self.is_full()
            && let Some(held) = self.sending.held.pop_front()
        {
            left = left.saturating_sub(1);
            let Queued {
                subscription,
                origin,
                publication,
                again,
            } = held;
            if let Some(bytes) = self.deliver(subscription, origin, &publication, again, now_ms) {
                self.queue.push_back(Intent::Say(Payload::Binary(bytes)));
                self.sending.has_sent_held = true;
            }
        }
        if self.sending.held.is_empty() {
            self.sending.held = VecDeque::new();
        }
        self.next_page();
    }

    /// Handles a gap. Messages that the engine does not deliver again, or that belong to a stream
    /// which has ended, keep their packet identifiers until the client has acknowledged them.
    pub(super) fn skipped(&mut self, subscription: &SubscriptionName, missing: &Missing) {
        let Some(id) = subscription.id else { return };
        let known = self.session.subscriptions.get(&id.0);
        if known.is_some_and(Subscription::is_shared) {
            // Its group passes over them. The engine awaits what this client has in flight.
            return;
        }
        self.session.in_flight.retain(|_, message| {
            let offset = message.origin.live_offset();
            let is_missing = message.subscription == id.0
                && offset.is_some_and(|at| missing.after < at && at <= missing.up_to);
            if !is_missing {
                return true;
            }
            message.origin = Origin::Skipped;
            match &mut message.stage {
                Exchange::Released { delivered } => *delivered = true,
                Exchange::Sent(_) => {}
                Exchange::Completed => return false,
            }
            true
        });
        self.send_held();
    }
}

/// Offsets that a gap covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    after: u64,
    up_to: u64,
}

impl Missing {
    /// The publications that are missing between `from` and `to`. After a divergence, these are all
    /// that the streams do not have in common.
    pub(super) fn new(
        from: Position,
        to: Position,
        reason: GapReason,
        agreed: Option<Position>,
    ) -> Self {
        match reason {
            // No message in flight is missing: they have the same offsets in the new epoch.
            GapReason::Restarted => Self {
                after: u64::MAX,
                up_to: 0,
            },
            GapReason::Diverged | GapReason::EpochChanged | GapReason::UnknownPosition => Self {
                after: agreed.map_or(0, |agreed| agreed.offset),
                up_to: u64::MAX,
            },
            GapReason::EvictedBySize
            | GapReason::EvictedByAge
            | GapReason::Damaged
            | GapReason::Dropped
            | GapReason::Conflated
            | GapReason::State
            | GapReason::Permissions => Self {
                // Up to `from`, everything was delivered on this connection.
                after: from.offset,
                up_to: to.offset,
            },
        }
    }
}

/// The properties of a message, added if it has none.
fn of(publish: &mut Publish) -> &mut Properties {
    publish.properties.get_or_insert_default()
}

/// Whether every message to the client must be encoded separately.
pub(super) fn has_own_bytes(version: Version, packet_size: usize, topic_aliases: u16) -> bool {
    version == Version::V5 && (packet_size != usize::MAX || topic_aliases > 0)
}
