//! Events of the broker.

use crate::{
    broker::{BrokerEvent, BrokerRequest},
    command::Now,
};

use super::{
    Engine,
    state::{Covered, Item},
};

impl Engine {
    /// Handles an event of the broker.
    pub fn handle_broker(&mut self, event: BrokerEvent, now: Now) {
        self.set_now(now);
        match event {
            BrokerEvent::Publication(publication) => {
                self.items.push_back(Item::Publication(publication));
            }
            BrokerEvent::Presence(change) => self.items.push_back(Item::Presence(change)),
            BrokerEvent::Published {
                id,
                position,
                duplicate,
            } => {
                self.published(id, position, duplicate);
            }
            BrokerEvent::Followed { id, stream } => self.followed(id, stream),
            BrokerEvent::History {
                id,
                stream,
                start,
                publications,
            } => {
                self.history_read(id, stream, start, publications);
            }
            BrokerEvent::State { id, stream, values } => {
                self.state_read(id, stream.head, values);
            }
            BrokerEvent::Values { id, values, next } => self.values_read(id, values, next),
            BrokerEvent::SessionSaved { id } => self.remembered(id),
            BrokerEvent::Members { id, members, total } => self.members_read(id, members, total),
            BrokerEvent::Acked { id, position } => self.acked(id, position),
            BrokerEvent::Receipts { id, receipts } => self.receipts_known(id, receipts),
            BrokerEvent::AskReceipts {
                ask,
                channel,
                position,
            } => {
                let receipts = self.find_receipts(&channel, position);
                self.broker_requests
                    .push_back(BrokerRequest::Found { ask, receipts });
            }
            BrokerEvent::Failed { id, failure } => {
                let Some(pending) = self.requests.take(id) else {
                    return;
                };
                self.request_failed(id, &pending, &failure.into());
            }
            // Queued, to keep its order among the other events.
            BrokerEvent::Lagged => self.items.push_back(Item::Lagged),
            BrokerEvent::FilterHistory {
                id,
                head,
                start,
                gaps,
                publications,
                complete,
            } => {
                let covered = if complete {
                    Covered::UpTo(head)
                } else {
                    Covered::Partly
                };
                self.filter_read(id, (head, start), (&gaps, covered), publications);
            }
            BrokerEvent::Claimed {
                id,
                claims,
                next,
                full,
            } => self.claimed(id, &claims, next, full),
            BrokerEvent::Returned { name, after } => self.returned(&name, after),
            BrokerEvent::Session { id, bytes } => self.session_loaded(id, bytes.as_deref()),
            BrokerEvent::LeaseEnded => self.lease_ended(),
        }
    }
}
