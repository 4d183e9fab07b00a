//! Messages to the client.

use offhook_engine::{
    ChannelName, Command, GapReason, Position, SubscriptionId, SubscriptionKey, SubscriptionName,
};

use super::{
    destination::topic_of,
    dialect::Stomp,
    frame::Frame,
    message::{self, Envelope},
    subscription::{AckMode, Delivered, SubscriptionState, Unacknowledged},
};
use crate::dialect::Payload;

impl Stomp {
    /// The MESSAGE for a subscription whose messages are acknowledged, or that consumes a queue.
    /// Returns `None` if the message is delivered later.
    pub(super) fn deliver(&mut self, number: u32, message: Delivered) -> Option<Payload> {
        let subscription = self.subscriptions.get_mut(&number)?;
        if subscription.stage == SubscriptionState::Detached {
            self.held_bytes = self.held_bytes.saturating_add(message.bytes());
            subscription.held.push_back(message);
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

    /// Handles missing messages. If the subscription requested this, they are reported by a MESSAGE
    /// without content.
    pub(super) fn skipped(
        &mut self,
        name: &SubscriptionName,
        channel: Option<&ChannelName>,
        (from, to): (Position, Position),
        reason: GapReason,
    ) {
        let Some(SubscriptionId(number)) = name.id else {
            return;
        };
        let Some(subscription) = self.subscriptions.get(&number) else {
            return;
        };
        if !subscription.wants_gaps || subscription.stage == SubscriptionState::Detached {
            return;
        }
        let destination = match (channel, name.target.channel()) {
            (Some(channel), _) | (None, Some(channel)) => topic_of(channel),
            (None, None) => subscription.destination.text(),
        };
        let mut frame = Frame::new("MESSAGE");
        if subscription.has_id {
            frame = frame.with("subscription", &subscription.id);
        }
        let frame = frame
            .with("message-id", &format!("gap-{to}"))
            .with("destination", &destination)
            .with("gap", reason.name())
            .with("from", &from.to_string())
            .with("position", &to.to_string());
        self.say(&frame);
    }
}
