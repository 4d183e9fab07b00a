//! Retained messages for new subscriptions: requested in pages, and delivered again on the next
//! connection unless the client has them.

use std::{collections::VecDeque, sync::Arc};

use offhook_engine::{ChannelName, Command, Filter, Publication, Reply, Retry, Target};

use super::{
    dialect::{Mqtt, Purpose},
    packet::Qos,
    sending::Queued,
    session::Origin,
};
use crate::dialect::{Intent, Payload};

/// How many retained messages are requested at a time. 32: enough to keep the connection busy while
/// the next page is read.
const PAGE: u32 = 32;

/// How many acknowledged retained messages a session remembers for each subscription while others
/// are not acknowledged. 1,024: 8 KiB. Further ones are delivered again after a reconnect.
const REMEMBERED: usize = 1_024;

/// A page of a subscription's retained messages: those after this channel.
type Page = (u32, Option<ChannelName>);

/// The pages of retained messages that are still to be delivered. One is requested at a time, so
/// that a client with many subscriptions does not exceed its limit of requests.
#[derive(Debug, Default)]
pub(super) struct RetainedPages {
    next: VecDeque<Page>,
    asked: Option<Page>,
}

impl Mqtt {
    /// Delivers the retained messages of a subscription from the beginning.
    pub(super) fn start_retained(&mut self, number: u32) {
        // §3.8.4: also those that the client has.
        if let Some(subscription) = self.session.subscriptions.get_mut(&number) {
            self.changed |= subscription.retained.take().is_some();
        }
        self.sending.retained.next.push_back((number, None));
        self.next_page();
    }

    /// Continues what an earlier connection did not complete.
    pub(super) fn continue_retained(&mut self) {
        let all = self.session.subscriptions.iter();
        let begun = all.filter(|(_, subscription)| subscription.retained.is_some());
        let pages = begun.map(|(number, _)| (*number, None));
        self.sending.retained.next.extend(pages);
        self.next_page();
    }

    /// Requests the next page, once nothing of the one before is held.
    pub(super) fn next_page(&mut self) {
        let is_retained = |held: &Queued| matches!(held.origin, Origin::Retained(_));
        while self.sending.retained.asked.is_none()
            && !self.sending.held.iter().any(is_retained)
            && let Some(page) = self.sending.retained.next.pop_front()
        {
            self.ask_page(page);
        }
    }

    fn ask_page(&mut self, (number, after): Page) {
        let Some(subscription) = self.session.subscriptions.get(&number) else {
            return;
        };
        let filter = match &subscription.wanted.target {
            Target::Filter(filter) => Ok(filter.clone()),
            Target::Channel(channel) => Filter::new(channel.as_str()),
        };
        // A channel with more levels than a filter may have cannot be queried: its retained message
        // is not delivered.
        let Ok(filter) = filter else { return };
        self.sending.retained.asked = Some((number, after.clone()));
        let command = Command::Values {
            filter,
            after,
            limit: PAGE,
        };
        self.ask(command, Purpose::Retained(number));
    }

    /// Delivers a page of a subscription's retained messages.
    pub(super) fn retained(&mut self, number: u32, reply: &Reply) {
        let asked = self.sending.retained.asked.take();
        if let Reply::Refused(refusal) = reply
            && refusal.code.retry() == Retry::Later
        {
            self.sending.retained.next.extend(asked);
            return self.try_again_after(refusal.retry_after);
        }
        if let Reply::Values { values, next, .. } = reply {
            if let Some(after) = next.clone() {
                let page = (number, Some(after));
                self.sending.retained.next.push_front(page);
            }
            self.hold_page(number, values);
        }
        self.send_held();
        self.end_retained(number);
    }

    fn hold_page(&mut self, number: u32, values: &[Arc<Publication>]) {
        let Some(subscription) = self.session.subscriptions.get_mut(&number) else {
            return;
        };
        if subscription.options.qos == Qos::AtMostOnce {
            // At once: newer messages of the same topics do not wait for acknowledgements either, and must
            // not overtake these.
            return self.say_page(number, values);
        }
        if self.is_durable && !values.is_empty() {
            // From now on, the next connection continues.
            self.changed |= subscription.retained.is_none();
            subscription.retained.get_or_insert_default();
        }
        let known = subscription.retained.as_ref();
        let left = values
            .iter()
            .filter(|value| known.is_none_or(|known| !known.contains(&value.sequence)));
        let held = left.map(|publication| Queued {
            subscription: number,
            origin: Origin::Retained(publication.sequence),
            publication: Arc::clone(publication),
            again: false,
        });
        self.sending.held.extend(held);
    }

    fn say_page(&mut self, number: u32, values: &[Arc<Publication>]) {
        let now_ms = self.unix_ms();
        for value in values {
            let origin = Origin::Retained(value.sequence);
            if let Some(bytes) = self.deliver(number, origin, value, false, now_ms) {
                self.queue.push_back(Intent::Say(Payload::Binary(bytes)));
            }
        }
    }

    /// The client has a retained message.
    pub(super) fn has_retained(&mut self, number: u32, sequence: u64) {
        let subscription = self.session.subscriptions.get_mut(&number);
        let known = subscription.and_then(|subscription| subscription.retained.as_mut());
        if let Some(known) = known.filter(|known| known.len() < REMEMBERED) {
            known.insert(sequence);
        }
    }

    /// Notes that the client has all retained messages of a subscription, once it does.
    pub(super) fn end_retained(&mut self, number: u32) {
        let pages = &self.sending.retained;
        let mut pages = pages.next.iter().chain(&pages.asked);
        let mut held = self.sending.held.iter();
        let mut in_flight = self.session.in_flight.values();
        let is_retained =
            |of: u32, origin: Origin| of == number && matches!(origin, Origin::Retained(_));
        let is_left = pages.any(|(of, _)| *of == number)
            || held.any(|held| is_retained(held.subscription, held.origin))
            || in_flight.any(|message| is_retained(message.subscription, message.origin));
        if is_left {
            return;
        }
        let subscription = self.session.subscriptions.get_mut(&number);
        if let Some(subscription) = subscription {
            self.changed |= subscription.retained.take().is_some();
        }
    }
}
