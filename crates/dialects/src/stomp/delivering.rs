//! Messages to the client.

use offhook_engine::{
    ChannelName, Command, GapReason, Position, SubscriptionId, SubscriptionKey, SubscriptionName,
};

use super::{
    destination::topic_of,
    dialect::{Phase, Stomp},
    frame::Frame,
    message::{self, Envelope},
    subscription::{AckMode, Delivered, Early, Gap, SubscriptionState, Unacknowledged},
};
use crate::dialect::Payload;

impl Stomp {
    /// The MESSAGE for a subscription whose messages are acknowledged, or that consumes a queue.
    /// Returns `None` if the message is delivered later.
    pub(super) fn deliver(&mut self, number: u32, message: Delivered) -> Option<Payload> {
        let subscription = self.subscriptions.get_mut(&number)?;
        if subscription.stage == SubscriptionState::Detached {
            self.held_bytes = self.held_bytes.saturating_add(message.bytes());
            subscription.held.push_back(Early::Message(message));
            return None;
        }
        let ack = match subscription.mode {
            AckMode::Auto => None,
            AckMode::Client | AckMode::Individual => {
                self.next_ack = self.next_ack.wrapping_add(1);
                Some(self.next_ack)
            }
        };
        let ack_id = ack.map(|ack| format!("{}-{ack}", self.mark));
        let destination = subscription
            .destination
            .of_message(&message.publication.channel);
        let envelope = Envelope {
            destination: &destination,
            subscription: subscription.has_id.then_some(&*subscription.id),
            ack: ack_id.as_deref(),
            earlier: message.earlier,
        };
        let (payload, _) = message::encode(&message.publication, &envelope, self.client.version);
        match ack {
            None => self.is_done(number, message.place),
            Some(ack) => {
                // A queue keeps its messages until they are settled.
                let publication = (!subscription.is_queue()).then_some(message.publication);
                let known = Unacknowledged {
                    subscription: number,
                    place: message.place,
                    earlier: message.earlier,
                    publication,
                };
                self.unacknowledged.insert(ack, known);
            }
        }
        Some(payload)
    }

    /// Handles a delivery to an unknown subscription of the session, which was made before a crash
    /// and whose note was not stored.
    pub(super) fn is_unknown(&mut self, number: u32) {
        if self.is_durable {
            let subscription = SubscriptionKey::Id(SubscriptionId(number));
            self.tell(Command::Unsubscribe { subscription });
        }
    }

    /// Handles missing messages. What reports them goes out before any later message.
    pub(super) fn skipped(
        &mut self,
        name: &SubscriptionName,
        channel: Option<&ChannelName>,
        (from, to): (Position, Position),
        reason: GapReason,
    ) -> Option<Payload> {
        let SubscriptionId(number) = name.id?;
        let channel = channel.cloned();
        let gap = Gap {
            channel,
            from,
            to,
            reason,
        };
        self.report(number, gap)
    }

    /// The MESSAGE without content that reports missing messages, if the client requested that. While
    /// the client is not subscribed, the gap is held: only its next SUBSCRIBE says whether it wants to
    /// be told.
    pub(super) fn report(&mut self, number: u32, gap: Gap) -> Option<Payload> {
        if self.phase == Phase::Ended {
            return None;
        }
        let subscription = self.subscriptions.get_mut(&number)?;
        if subscription.stage == SubscriptionState::Detached {
            let gap = Early::Gap(gap);
            self.held_bytes = self.held_bytes.saturating_add(gap.bytes());
            subscription.held.push_back(gap);
            return None;
        }
        if !subscription.wants_gaps {
            return None;
        }
        let destination = match &gap.channel {
            Some(channel) => topic_of(channel),
            None => subscription.destination.text(),
        };
        let mut frame = Frame::new("MESSAGE");
        if subscription.has_id {
            frame = frame.with("subscription", &subscription.id);
        }
        let frame = frame
            .with("message-id", &format!("gap-{}", gap.to))
            .with("destination", &destination)
            .with("gap", gap.reason.name())
            .with("from", &gap.from.to_string())
            .with("position", &gap.to.to_string());
        Some(message::payload(frame.encode(self.client.version)))
    }
}
