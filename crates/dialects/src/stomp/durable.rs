//! Durable subscriptions: their messages are kept while the client is disconnected.

use std::collections::HashSet;

use offhook_engine::{Command, Reply, SubscriptionId, SubscriptionSnapshot};

use super::{
    dialect::{Purpose, Stomp},
    frame::Invalid,
    note,
    subscribing::NUMBERS,
    subscription::{Early, SubscriptionState},
};
use bytes::Bytes;

/// Keeps the durable subscriptions of a stored session. Every session with a client id is stored with
/// all of its acknowledged subscriptions, but the client makes the others again after a reconnect.
pub(super) fn select_durable(note: &[u8], subscriptions: &mut Vec<SubscriptionSnapshot>) {
    let (_, all) = note::read(note).unwrap_or_default();
    let durable: HashSet<_> = all
        .into_iter()
        .map(|(number, _)| SubscriptionId(number))
        .collect();
    subscriptions.retain(|kept| kept.id.is_some_and(|id| durable.contains(&id)));
}

impl Stomp {
    /// Continues a session. Its subscriptions wait until the client subscribes again.
    pub(super) fn restore(&mut self, bytes: &[u8]) {
        let Some((next_number, all)) = note::read(bytes) else {
            return;
        };
        self.next_number = next_number;
        for (number, subscription) in all {
            // A number that the engine has must not be used again.
            self.next_number = self.next_number.max(number.wrapping_add(1) & NUMBERS);
            if let Some(name) = &subscription.durable {
                self.durable.insert(name.clone(), number);
            }
            self.subscriptions.insert(number, subscription);
        }
    }

    /// Handles a client that unsubscribes from a durable subscription without ending it. Messages
    /// that the client has not acknowledged are delivered again when it subscribes.
    pub(super) fn detach(&mut self, number: u32) {
        let Some(subscription) = self.subscriptions.get_mut(&number) else {
            return;
        };
        subscription.stage = SubscriptionState::Detached;
        self.ids.remove(&subscription.id);
        for known in self.unacknowledged.take_all_of(number) {
            let Some(message) = known.again() else {
                continue;
            };
            self.held_bytes = self.held_bytes.saturating_add(message.bytes());
            subscription.held.push_back(Early::Message(message));
        }
    }

    /// Stores the note if it has changed, and sends the receipts that wait for this.
    pub(super) fn keep_note(&mut self) {
        let receipts = std::mem::take(&mut self.after_note);
        if !std::mem::take(&mut self.changed) || !self.is_durable {
            for receipt in receipts {
                self.give_receipt(Some(&receipt));
            }
            return;
        }
        let durable = self.durable.iter().filter_map(|(name, number)| {
            let subscription = self.subscriptions.get(number)?;
            // A subscription that the engine has not confirmed has no position to continue from.
            let is_made = subscription.stage != SubscriptionState::Asked;
            is_made.then(|| (*number, &**name, subscription.destination.text()))
        });
        let durable: Vec<_> = durable.collect();
        let all = durable
            .iter()
            .map(|(number, name, text)| (*number, *name, &**text));
        let note = Bytes::from(note::write(self.next_number, all));
        let at_once = true;
        let command = Command::Remember { note, at_once };
        self.ask(command, Purpose::Remember(receipts));
    }

    /// Handles the answer to storing the note. If it failed, no receipt is sent.
    pub(super) fn remembered(&mut self, receipts: Vec<Box<str>>, reply: &Reply) {
        if matches!(reply, Reply::Refused(_)) {
            let detail = "the durable subscriptions of this session could not be stored; try again";
            let invalid = Invalid::new("not stored", detail).code(1013);
            return self.fail(&invalid, None);
        }
        for receipt in receipts {
            self.give_receipt(Some(&receipt));
        }
    }
}
