//! ACK and NACK.

use offhook_engine::{Command, CommandId, Position, SubscriptionId, SubscriptionKey};

use super::{
    dialect::Stomp,
    frame::{Frame, Invalid, Version},
    message,
    publishing::required,
    subscription::{AckMode, Unacknowledged},
};
use crate::dialect::Intent;

/// The client's verdict about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The message was processed, or must not be delivered again.
    Processed,
    /// The message must be delivered again.
    Again,
}

impl Stomp {
    /// Handles an ACK, or a NACK if not `positive`.
    pub(super) fn acknowledge(&mut self, frame: &Frame, positive: bool) -> Result<(), Invalid> {
        let version = self.client.version;
        if !positive && version == Version::V10 {
            let detail = "NACK needs STOMP 1.1 or 1.2";
            return Err(Invalid::new("unknown command", detail));
        }
        let id = match version {
            Version::V12 => required(frame, "id")?,
            Version::V10 | Version::V11 => message::ack_in(required(frame, "message-id")?),
        };
        let verdict = match positive || frame.header("requeue") == Some("false") {
            true => Verdict::Processed,
            false => Verdict::Again,
        };
        // Acknowledgements for an earlier connection are unknown here: their messages are delivered
        // again.
        let number = id.strip_prefix(&*self.mark);
        let number = number.and_then(|rest| rest.strip_prefix('-'));
        let number = number.and_then(|digits| digits.parse::<u64>().ok());
        if let Some(number) = number {
            match frame.header("transaction") {
                Some(transaction) => self.transactions.settle(transaction, number, verdict)?,
                None => self.settle(number, verdict),
            }
        }
        self.give_receipt(frame.header("receipt"));
        Ok(())
    }

    /// Applies the client's verdict to a message and, in the mode `client`, to all earlier ones.
    pub(super) fn settle(&mut self, ack: u64, verdict: Verdict) {
        let Some(known) = self.unacknowledged.get(ack) else {
            // Acknowledging twice is not an error.
            return;
        };
        let number = known.subscription;
        let subscription = self.subscriptions.get(&number);
        let is_cumulative = subscription.is_some_and(|s| s.mode == AckMode::Client);
        let acks: Vec<u64> = match is_cumulative {
            false => vec![ack],
            true => self.unacknowledged.up_to(ack, number),
        };
        for ack in acks {
            let Some(known) = self.unacknowledged.remove(ack) else {
                continue;
            };
            match verdict {
                Verdict::Processed => self.is_done(number, known.place),
                Verdict::Again => self.deliver_again(number, known),
            }
        }
    }

    /// Marks a message as done: it needs no further delivery.
    pub(super) fn is_done(&mut self, number: u32, place: Position) {
        let is_queue = self.subscriptions.get(&number).map(|s| s.is_queue());
        let subscription = SubscriptionId(number);
        match is_queue {
            None => {}
            Some(true) => self.queue.push_back(Intent::Settle {
                subscription,
                place,
                processed: true,
            }),
            Some(false) => self.queue.push_back(Intent::Command {
                id: CommandId(0),
                command: Command::Done {
                    subscription: SubscriptionKey::Id(subscription),
                    position: place,
                    cumulative: false,
                },
            }),
        }
    }

    /// Handles a refused message: a queue delivers it to any consumer, and a topic to the same
    /// subscription.
    fn deliver_again(&mut self, number: u32, message: Unacknowledged) {
        let is_queue = self
            .subscriptions
            .get(&number)
            .is_some_and(|s| s.is_queue());
        if is_queue {
            return self.queue.push_back(Intent::Settle {
                subscription: SubscriptionId(number),
                place: message.place,
                processed: false,
            });
        }
        let again = message
            .again()
            .and_then(|message| self.deliver(number, message));
        if let Some(again) = again {
            self.queue.push_back(Intent::Say(again));
        }
    }
}
