//! Restores a session on a new connection: its unfinished exchanges, and subscriptions of QoS 0,
//! which are made again on each connection.

use std::collections::VecDeque;

use offhook_engine::{Reply, Retry};

use super::{
    Reason,
    dialect::{Mqtt, Purpose},
    packet::{Ack, Invalid, Packet},
    refusals,
};

/// How many are made at a time. 64: a quarter of the burst of commands that a client is allowed by
/// default.
const AT_ONCE: usize = 64;

/// The subscriptions of an earlier connection that are not made again yet, by number.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    left: VecDeque<u32>,
    asked: usize,
}

impl Mqtt {
    /// Continues the session after the CONNACK.
    pub(super) fn continue_session(&mut self) {
        // §4.4: a PUBREL without its PUBCOMP is sent again.
        for (id, _) in self.session.released() {
            let ack = Packet::PubRel(Ack::new(id, Reason::SUCCESS));
            self.after_note.push(ack.encode(self.client.version));
        }
        self.sending.has_earlier = !self.session.in_flight.is_empty();
        // The note of the previous connection may not be on disk yet, and the packets that follow
        // rely on it.
        self.changed = true;
        self.subscribe_again();
        self.continue_retained();
        self.keep_note();
    }

    /// Starts to subscribe again. Messages published in between are not delivered to these
    /// subscriptions.
    pub(super) fn subscribe_again(&mut self) {
        let all = self.session.subscriptions.iter();
        let plain = all.filter(|(_, subscription)| !subscription.acknowledged);
        let mut numbers: Vec<_> = plain.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        self.restoring.left.extend(numbers);
        self.restore_some();
    }

    /// Subscribes to some more.
    pub(super) fn restore_some(&mut self) {
        while self.restoring.asked < AT_ONCE
            && let Some(number) = self.restoring.left.pop_front()
        {
            let known = self.session.subscriptions.get(&number);
            let Some(known) = known.filter(|known| !known.begun) else {
                // The client has subscribed or unsubscribed by itself.
                self.has_begun(number);
                continue;
            };
            let numbered = known.is_shared() || self.is_numbered(known.options, known.identifier);
            if let Some(known) = self.session.subscriptions.get_mut(&number) {
                known.numbered = numbered;
            }
            self.restoring.asked = self.restoring.asked.saturating_add(1);
            self.ask_for(number, Purpose::Restore(number));
        }
    }

    /// Handles the answer to one of them.
    pub(super) fn restored(&mut self, number: u32, reply: &Reply) {
        self.restoring.asked = self.restoring.asked.saturating_sub(1);
        let Reply::Refused(refusal) = reply else {
            self.has_begun(number);
            return self.restore_some();
        };
        if refusal.code.retry() == Retry::Later {
            self.restoring.left.push_back(number);
            return self.try_again_after(refusal.retry_after);
        }
        if self.session.remove(number).is_none() {
            // The client has unsubscribed.
            self.has_begun(number);
            return self.restore_some();
        }
        self.changed = true;
        self.keep_note();
        // As with every subscription that the server ends: without this, the client would not
        // notice.
        self.fail(Invalid::new(
            refusals::of_request(refusal.code),
            "a subscription of this session is no longer allowed",
        ));
    }
}
