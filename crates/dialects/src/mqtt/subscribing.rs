//! SUBSCRIBE and UNSUBSCRIBE: each filter becomes a command, and all of them share one answer.

use std::{collections::HashMap, time::Duration};

use offhook_engine::{
    Command, ErrorCode, Flow, Reply, Share, Since, Subscribe, SubscriptionId, SubscriptionName,
};

use super::{
    Reason,
    dialect::{Mqtt, Purpose},
    packet::{
        Acks, Invalid, Options, Packet, Qos, RetainHandling, Subscribe as SubscribePacket,
        Unsubscribe, Version,
    },
    refusals,
    sending::has_own_bytes,
    session::{Subscription, Wanted},
    topics,
};

/// How many filters of one packet are processed; the others are refused with "quota exceeded".
/// 1,024: more than the default limit of a session's subscriptions.
const FILTERS: usize = 1_024;

/// SUBACKs and UNSUBACKs that wait for answers of the engine.
#[derive(Debug, Default)]
pub(super) struct Batches {
    all: HashMap<u32, Batch>,
    next: u32,
    /// Filters that the client subscribes to again before the engine has answered the first time. At
    /// most [`FILTERS`]: the engine does not count them as commands, and may take long to answer.
    joined: Vec<(Asked, Options, u32)>,
}

#[derive(Debug)]
struct Batch {
    subscribes: bool,
    packet_id: u16,
    reasons: Vec<Reason>,
    /// The number of filters without an answer.
    left: usize,
}

/// The position of a filter in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    batch: u32,
    index: usize,
}

/// A filter of a SUBSCRIBE that was passed to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    place: Place,
    number: u32,
    /// Whether the client had no subscription to it before.
    is_new: bool,
    /// What is granted if the client ends or replaces the subscription before the engine answers.
    qos: Qos,
    retain_handling: RetainHandling,
}

impl Batches {
    fn begin(&mut self, subscribes: bool, packet_id: u16, filters: usize) -> u32 {
        let batch = self.next;
        self.next = batch.wrapping_add(1);
        let reasons = vec![Reason::UNSPECIFIED; filters];
        let left = filters;
        self.all.insert(
            batch,
            Batch {
                subscribes,
                packet_id,
                reasons,
                left,
            },
        );
        batch
    }
}

impl Mqtt {
    pub(super) fn subscribe(&mut self, subscribe: SubscribePacket) {
        let given = subscribe.properties.as_ref();
        let identifier = given.and_then(|given| given.subscription_ids.first().copied());
        let filters = subscribe.filters;
        let batch = self.batches.begin(true, subscribe.packet_id, filters.len());
        for (index, (filter, options)) in filters.iter().enumerate() {
            let place = Place { batch, index };
            match topics::wanted(filter) {
                _ if index >= FILTERS => self.answer(place, Reason::QUOTA_EXCEEDED),
                Ok(wanted) => {
                    self.subscribe_to(place, wanted, *options, identifier.unwrap_or(0));
                }
                Err(reason) => self.answer(place, reason),
            }
        }
    }

    fn subscribe_to(
        &mut self,
        place: Place,
        wanted: Wanted,
        mut options: Options,
        identifier: u32,
    ) {
        let old = self.session.numbers.get(&wanted).copied();
        let is_shared = wanted.group.is_some();
        // 5.0 §4.8.2: after PUBLISH with QoS 2, no other member may get the message as long as this
        // session lasts. A lower QoS lets the others work on (§3.8.4).
        if is_shared && self.is_durable {
            options.qos = options.qos.min(Qos::AtLeastOnce);
        }
        let asked = |number| Asked {
            place,
            number,
            is_new: old.is_none(),
            qos: options.qos,
            retain_handling: options.retain_handling,
        };
        let numbered = is_shared || self.is_numbered(options, identifier);
        if let Some(number) = old
            && let Some(known) = self.session.subscriptions.get_mut(&number)
        {
            // §3.8.4: it is replaced, and no message that it matches may be lost. With a new
            // subscription, those would be lost that wait for the client.
            let same_flow = known.acknowledged
                || (options.qos == Qos::AtMostOnce
                    && known.options.no_local == options.no_local
                    && known.numbered == numbered);
            if same_flow && !known.begun {
                if self.batches.joined.len() >= FILTERS {
                    return self.answer(place, Reason::QUOTA_EXCEEDED);
                }
                let joins = (asked(number), options, identifier);
                return self.batches.joined.push(joins);
            }
            if same_flow {
                // The engine counts it like every other request.
                let purpose = Purpose::Renew(asked(number), options, identifier);
                return self.ask(Command::Ping, purpose);
            }
        }
        let number = self.session.add(Subscription {
            wanted,
            options,
            identifier,
            numbered,
            acknowledged: is_shared || options.qos != Qos::AtMostOnce,
            begun: false,
            retained: None,
        });
        if let Some(old) = old
            && let Some(replaced) = self.session.remove(old)
        {
            let subscription = replaced.key(old);
            let leave = Command::Unsubscribe { subscription };
            // The engine allows only one unnumbered subscription to a target, so the old one has to
            // end first. Otherwise the new one starts before the old one ends, and loses nothing.
            if !numbered && !replaced.numbered {
                self.tell(leave);
                return self.ask_for(number, Purpose::Subscribe(asked(number)));
            }
            self.ask_for(number, Purpose::Subscribe(asked(number)));
            return self.tell(leave);
        }
        self.ask_for(number, Purpose::Subscribe(asked(number)));
    }

    /// Whether a subscription's messages must be encoded separately.
    pub(super) fn is_numbered(&self, options: Options, identifier: u32) -> bool {
        options.qos != Qos::AtMostOnce
            || identifier > 0
            || options.retain_as_published
            || has_own_bytes(
                self.client.version,
                self.client.packet_size,
                self.client.topic_aliases,
            )
    }

    /// The engine's window for a new subscription. Messages beyond the client's receive maximum are
    /// held here. Later subscriptions get smaller windows, so that the sum of all windows stays
    /// within a small multiple of the receive maximum.
    fn window(&self) -> u16 {
        let all = self.session.subscriptions.values();
        let acknowledged = all.filter(|s| s.acknowledged).count();
        let share = u16::try_from(acknowledged).unwrap_or(u16::MAX).max(1);
        let window = self.client.receive_maximum.checked_div(share);
        window.unwrap_or(1).max(1)
    }

    pub(super) fn ask_for(&mut self, number: u32, purpose: Purpose) {
        let Some(subscription) = self.session.subscriptions.get(&number) else {
            return;
        };
        let acknowledged = subscription.acknowledged;
        let flow = match acknowledged {
            false => Flow::Pushed,
            true => Flow::Acknowledged {
                window: self.window(),
            },
        };
        let group = subscription.wanted.group.clone();
        let wish = Subscribe {
            target: subscription.wanted.target.clone(),
            id: subscription.numbered.then_some(SubscriptionId(number)),
            since: Since::Now,
            presence: false,
            members: false,
            // With acknowledgements, this option can change while messages wait for the client.
            echo: acknowledged || !subscription.options.no_local,
            flow,
            // The expiry of the sessions keeps the group.
            share: group.map(|group| Share {
                group,
                keep: Duration::ZERO,
            }),
            face: None,
        };
        self.ask(Command::Subscribe(wish), purpose);
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: Unsubscribe) {
        let filters = unsubscribe.filters;
        let batch = self
            .batches
            .begin(false, unsubscribe.packet_id, filters.len());
        for (index, filter) in filters.iter().enumerate() {
            let place = Place { batch, index };
            let number = match topics::wanted(filter) {
                Ok(wanted) => self.session.numbers.get(&wanted).copied(),
                Err(_) => None,
            };
            let removed = number.and_then(|n| self.session.remove(n).map(|s| s.key(n)));
            match removed {
                Some(subscription) => {
                    let command = Command::Unsubscribe { subscription };
                    self.ask(command, Purpose::Unsubscribe(place));
                }
                None => self.answer(place, Reason::NO_SUBSCRIPTION_EXISTED),
            }
        }
    }

    /// Handles the engine's answer to a command.
    pub(super) fn answered(&mut self, purpose: Purpose, reply: &Reply) {
        match purpose {
            Purpose::Publish(publish) => {
                let (command, publishing) = *publish;
                self.published(command, publishing, reply);
            }
            Purpose::Subscribe(asked) => self.subscribed(asked, reply),
            Purpose::Unsubscribe(place) => self.answer(place, Reason::SUCCESS),
            Purpose::Renew(asked, options, identifier) => {
                if let Reply::Refused(refusal) = reply {
                    return self.answer(asked.place, refusals::of_request(refusal.code));
                }
                self.renew(asked, options, identifier);
            }
            Purpose::Restore(number) => self.restored(number, reply),
            Purpose::Retained(number) => self.retained(number, reply),
            Purpose::Remember(packets) => self.remembered(packets, reply),
        }
    }

    fn subscribed(&mut self, asked: Asked, reply: &Reply) {
        let Asked { place, number, .. } = asked;
        let Reply::Refused(refusal) = reply else {
            self.is_subscribed(asked);
            return self.has_begun(number);
        };
        let known = self.session.subscriptions.get(&number);
        if known.is_none() && refusal.code == ErrorCode::NotSubscribed {
            // The client has ended or replaced it before it began.
            self.is_subscribed(asked);
            return self.has_begun(number);
        }
        let is_shared = known.is_some_and(Subscription::is_shared);
        if refusal.code == ErrorCode::NoHistory
            && let Some(known) = known.filter(|_| !is_shared)
        {
            // §3.8.4: the granted QoS may be lower than the requested one. Without history,
            // messages cannot be delivered again.
            let mut options = known.options;
            options.qos = Qos::AtMostOnce;
            let numbered = self.is_numbered(options, known.identifier);
            if let Some(known) = self.session.subscriptions.get_mut(&number) {
                (known.options, known.numbered) = (options, numbered);
                known.acknowledged = false;
            }
            return self.ask_for(number, Purpose::Subscribe(asked));
        }
        self.session.remove(number);
        // What a member leaves unacknowledged is delivered to another from the history.
        let reason = match is_shared && refusal.code == ErrorCode::NoHistory {
            true => Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
            false => refusals::of_request(refusal.code),
        };
        self.answer(place, reason);
        for (joined, ..) in self.take_joined(number) {
            self.answer(joined.place, reason);
        }
    }

    fn take_joined(&mut self, number: u32) -> Vec<(Asked, Options, u32)> {
        let joined = &mut self.batches.joined;
        let of_this = joined.extract_if(.., |(asked, ..)| asked.number == number);
        of_this.collect()
    }

    /// The engine has confirmed a subscription, or the client has ended it before that.
    pub(super) fn has_begun(&mut self, number: u32) {
        if let Some(subscription) = self.session.subscriptions.get_mut(&number) {
            subscription.begun = true;
        }
        for (asked, options, identifier) in self.take_joined(number) {
            self.renew(asked, options, identifier);
        }
    }

    /// Changes the options of a subscription.
    fn renew(&mut self, asked: Asked, mut options: Options, identifier: u32) {
        if let Some(known) = self.session.subscriptions.get_mut(&asked.number) {
            if !known.acknowledged {
                // The channel has no history.
                options.qos = Qos::AtMostOnce;
            }
            (known.options, known.identifier) = (options, identifier);
        }
        self.is_subscribed(asked);
    }

    fn is_subscribed(&mut self, asked: Asked) {
        let Some(subscription) = self.session.subscriptions.get(&asked.number) else {
            // §3.9.3: the client has had it until it ended or replaced it. No other code says that.
            return self.answer(asked.place, Reason(asked.qos.number()));
        };
        let granted = Reason(subscription.options.qos.number());
        let is_shared = subscription.is_shared();
        self.answer(asked.place, granted);
        let wants_retained = match asked.retain_handling {
            // 5.0 §3.8.3.1: a shared subscription gets none.
            _ if is_shared => false,
            RetainHandling::Always => true,
            RetainHandling::IfNew => asked.is_new,
            RetainHandling::Never => false,
        };
        if wants_retained {
            self.start_retained(asked.number);
        }
    }

    /// Sets the answer to one filter. After the last one, the packet is sent.
    fn answer(&mut self, place: Place, reason: Reason) {
        let Some(batch) = self.batches.all.get_mut(&place.batch) else {
            return;
        };
        let is_old = self.client.version == Version::V3;
        if let Some(slot) = batch.reasons.get_mut(place.index) {
            // 3.1.1 §3.9.3: 0x80 is the only code for a failure.
            let fails = is_old && reason.is_failure();
            *slot = if fails { Reason::UNSPECIFIED } else { reason };
        }
        batch.left = batch.left.saturating_sub(1);
        if batch.left > 0 {
            return;
        }
        let Some(batch) = self.batches.all.remove(&place.batch) else {
            return;
        };
        // Nothing has changed if nothing was granted or ended.
        let is_change = |reason: &Reason| match batch.subscribes {
            true => !reason.is_failure(),
            false => *reason == Reason::SUCCESS,
        };
        self.changed |= batch.reasons.iter().any(is_change);
        let acks = Acks {
            packet_id: batch.packet_id,
            properties: None,
            // 3.1.1 §3.11: an UNSUBACK has no codes.
            reasons: match batch.subscribes || !is_old {
                true => batch.reasons,
                false => Vec::new(),
            },
        };
        let packet = match batch.subscribes {
            true => Packet::SubAck(acks),
            false => Packet::UnsubAck(acks),
        };
        self.after_note.push(packet.encode(self.client.version));
    }

    /// Handles a subscription that the engine ended: a permission was revoked, or its messages
    /// cannot be read.
    pub(super) fn unsubscribed(&mut self, subscription: &SubscriptionName, code: ErrorCode) {
        let number = match subscription.id {
            Some(id) => Some(id.0),
            None => {
                let wanted = Wanted::alone(subscription.target.clone());
                self.session.numbers.get(&wanted).copied()
            }
        };
        if number
            .and_then(|number| self.session.remove(number))
            .is_none()
        {
            return;
        }
        self.changed = true;
        self.keep_note();
        // MQTT has no packet for this. The connection ends, because otherwise the client would not
        // notice that messages are missing.
        self.fail(Invalid::new(
            refusals::of_request(code),
            "the server ended a subscription",
        ));
    }
}
