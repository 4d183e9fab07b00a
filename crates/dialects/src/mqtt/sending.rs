//! Messages to the client, and its acknowledgements.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use offhook_engine::{
    ChannelName, Command, CommandId, Filter, GapReason, Notice, Position, Publication, Reply,
    SubscriptionName, Target,
};

use super::{
    Reason,
    connecting::TOPIC_ALIASES,
    content,
    dialect::{Mqtt, Purpose},
    packet::{Ack, Packet, Properties, Publish, Qos, Version},
    session::{Exchange, InFlight},
};
use crate::dialect::{Intent, Payload};

/// How many retained messages are requested at a time. 32: enough to keep the connection busy while
/// the next page is read.
const PAGE: u32 = 32;

/// Messages to the client that are not in flight yet.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Messages that wait until others are acknowledged. Bounded by the sum of the engine's windows
    /// and one page of retained messages.
    held: VecDeque<Queued>,
    /// Subscriptions with further retained messages, and where to continue. They are requested once
    /// `held` is empty.
    pages: VecDeque<(u32, ChannelName)>,
    /// Whether messages released on an earlier connection may not have been delivered by the engine
    /// on this one.
    pub(super) has_earlier: bool,
    /// Topic aliases defined for this client.
    aliases: HashMap<Box<str>, u16>,
}

#[derive(Debug)]
struct Queued {
    subscription: u32,
    /// None for a retained message.
    place: Option<Position>,
    publication: Arc<Publication>,
    again: bool,
}

impl Mqtt {
    /// The packet that delivers a publication to a subscription; none if it is not delivered, or
    /// only later. `place` is none for a retained message.
    pub(super) fn deliver(
        &mut self,
        number: u32,
        place: Option<Position>,
        publication: &Arc<Publication>,
        again: bool,
        now_ms: u64,
    ) -> Option<Vec<u8>> {
        let subscription = self.session.subscriptions.get(&number)?;
        let (options, identifier) = (subscription.options, subscription.identifier);
        let version = self.client.version;
        let Some(message) = content::message(publication, version, now_ms) else {
            self.is_done(number, place);
            return None;
        };
        let qos = message.qos.min(options.qos);
        let mut publish = message.publish;
        // §3.3.1.3: the flag marks a retained message. 5.0 §3.8.3.1: or it is the publisher's.
        publish.retain = place.is_none() || (options.retain_as_published && publish.retain);
        if identifier > 0 {
            of(&mut publish).subscription_ids.push(identifier);
        }
        if qos == Qos::AtMostOnce {
            self.is_done(number, place);
            return self.finish(publish);
        }
        if let Some(place) = place {
            self.passes(number, place);
        }
        let ids = self.session.packet_id(number, place);
        let is_full = self.session.in_flight.len() >= self.client.receive_maximum.into();
        let id = match ids {
            // Its PUBREL was sent with the CONNACK.
            Some((id, Some(known))) if !matches!(known.stage, Exchange::Sent(_)) => {
                if known.stage == Exchange::Completed {
                    self.ends(id);
                } else if let Some(known) = self.session.in_flight.get_mut(&id) {
                    known.stage = Exchange::Released { delivered: true };
                }
                return None;
            }
            Some((id, Some(_))) => id,
            Some((id, None)) if !is_full => id,
            Some((_, None)) | None => {
                self.sending.held.push_back(Queued {
                    subscription: number,
                    place,
                    publication: Arc::clone(publication),
                    again,
                });
                return None;
            }
        };
        (publish.qos, publish.packet_id, publish.dup) = (qos, id, again);
        let bytes = self.finish(publish);
        if bytes.is_some() {
            let message = InFlight {
                subscription: number,
                place,
                stage: Exchange::Sent(qos),
            };
            self.session.in_flight.insert(id, message);
        } else {
            self.is_done(number, place);
        }
        bytes
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
            let passed = message.subscription == number
                && message.place.is_some_and(|at| at.offset < place.offset);
            if !is_earlier || !passed {
                more |= is_earlier;
                return true;
            }
            let completed = message.stage == Exchange::Completed;
            message.stage = Exchange::Released { delivered: true };
            !completed
        });
        self.sending.has_earlier = more;
    }

    /// Tells the engine that a publication needs no further delivery.
    fn is_done(&mut self, number: u32, place: Option<Position>) {
        let Some(place) = place else { return };
        let Some(subscription) = self.session.subscriptions.get(&number) else {
            return;
        };
        if subscription.options.qos == Qos::AtMostOnce {
            return;
        }
        let command = Command::Done {
            subscription: subscription.key(number),
            position: place,
            cumulative: false,
        };
        // At the front, so that it is executed before the next note is stored.
        let id = CommandId(0);
        self.queue.push_front(Intent::Command { id, command });
    }

    fn ends(&mut self, packet_id: u16) {
        if let Some(message) = self.session.in_flight.remove(&packet_id) {
            self.is_done(message.subscription, message.place);
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
        let reason = match message {
            // §4.3.3: a failure ends the exchange.
            Some(_) if ack.reason.is_failure() => return self.ends(id),
            Some(message) => {
                // After the PUBREL, the client forgets the identifier. Therefore the note with the
                // release is stored first, so that the message is not sent again after a crash.
                if let Exchange::Sent(_) = message.stage {
                    self.changed |= message.place.is_some();
                    message.stage = Exchange::Released { delivered: true };
                }
                Reason::SUCCESS
            }
            None => Reason::PACKET_ID_NOT_FOUND,
        };
        let packet = Packet::PubRel(Ack::new(id, reason));
        self.after_note.push(packet.encode(self.client.version));
    }

    /// PUBCOMP: the client has forgotten the identifier.
    pub(super) fn completed(&mut self, ack: &Ack) {
        let Some(message) = self.session.in_flight.get_mut(&ack.packet_id) else {
            return;
        };
        match message.stage {
            Exchange::Released { delivered: true } => self.ends(ack.packet_id),
            // The engine does not accept `Done` for a message that it has not delivered.
            Exchange::Released { delivered: false } => message.stage = Exchange::Completed,
            Exchange::Completed | Exchange::Sent(_) => {}
        }
    }

    /// Sends held messages, up to the client's receive maximum.
    fn send_held(&mut self) {
        let now_ms = self.unix_ms();
        let mut left = self.sending.held.len();
        while left > 0
            && self.session.in_flight.len() < self.client.receive_maximum.into()
            && let Some(held) = self.sending.held.pop_front()
        {
            left = left.saturating_sub(1);
            let Queued {
                subscription,
                place,
                publication,
                again,
            } = held;
            if let Some(bytes) = self.deliver(subscription, place, &publication, again, now_ms) {
                self.queue.push_back(Intent::Say(Payload::Binary(bytes)));
            }
        }
        if self.sending.held.is_empty() {
            self.sending.held = VecDeque::new();
            if let Some((number, after)) = self.sending.pages.pop_front() {
                self.ask_retained(number, Some(after));
            }
        }
    }

    /// Requests a page of a subscription's retained messages.
    pub(super) fn ask_retained(&mut self, number: u32, after: Option<ChannelName>) {
        let Some(subscription) = self.session.subscriptions.get(&number) else {
            return;
        };
        let filter = match &subscription.target {
            Target::Filter(filter) => Ok(filter.clone()),
            Target::Channel(channel) => Filter::new(channel.as_str()),
        };
        // A channel with more levels than a filter may have cannot be queried: its retained message
        // is not delivered.
        let Ok(filter) = filter else { return };
        let command = Command::Values {
            filter,
            after,
            limit: PAGE,
        };
        self.ask(command, Purpose::Retained(number));
    }

    /// Delivers a page of a subscription's retained messages.
    pub(super) fn retained(&mut self, number: u32, reply: &Reply) {
        let Reply::Values { values, next, .. } = reply else {
            return;
        };
        let held = values.iter().map(|publication| Queued {
            subscription: number,
            place: None,
            publication: Arc::clone(publication),
            again: false,
        });
        self.sending.held.extend(held);
        let more = next.clone().map(|after| (number, after));
        self.sending.pages.extend(more);
        self.send_held();
    }

    /// Handles a gap: messages up to `to` are not delivered again. Exchanges that the client has
    /// acknowledged are completed; the others are dropped.
    pub(super) fn skipped(&mut self, gap: &Notice) {
        let Notice::Gap {
            subscription: SubscriptionName { id: Some(id), .. },
            to,
            reason,
            ..
        } = gap
        else {
            return;
        };
        if *reason == GapReason::Restarted {
            // Nothing that was in flight is missing: it has the same places in the new epoch.
            let in_flight = self.session.in_flight.values_mut();
            for message in in_flight.filter(|message| message.subscription == id.0) {
                if let Some(place) = &mut message.place {
                    place.epoch = to.epoch;
                }
            }
            self.changed = true;
            return;
        }
        self.session.in_flight.retain(|_, message| {
            let of_this = message.subscription == id.0;
            let before = message.place.is_some_and(|place| place.offset <= to.offset);
            if !of_this || !before {
                return true;
            }
            match &mut message.stage {
                Exchange::Released { delivered } => {
                    *delivered = true;
                    true
                }
                Exchange::Completed | Exchange::Sent(_) => false,
            }
        });
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
