//! A channel's state: queried once, or as the start of a subscription.

use std::sync::Arc;

use crate::{
    broker::{BrokerRequest, RequestId},
    channel_name::ChannelName,
    delivery::{Notice, Reply},
    error::{ErrorCode, Refusal},
    position::Position,
    publication::Publication,
    slab::Slot,
};

use super::{
    Engine, Step,
    state::{Again, Asker, Pending, Subscription, Waits, Why},
};

impl Engine {
    pub(super) fn ask_state(&mut self, asker: Asker, channel: ChannelName) -> Result<(), Refusal> {
        if !self.rules_of(&channel)?.state.is_kept() {
            let detail = format!("channel {channel} keeps no state");
            return Err(Refusal::new(ErrorCode::NoState, detail));
        }
        self.in_flight(asker)?;
        let name = channel.clone();
        let id = self.request(Pending::State { asker, channel });
        self.broker_requests
            .push_back(BrokerRequest::State { id, channel: name });
        Ok(())
    }

    /// Reads the state for a subscription; subscriptions of a channel that ask at the same time
    /// share one read.
    pub(super) fn read_state(&mut self, slot: Slot) -> Option<Step> {
        if let Some(step) = self.behind_before_next(slot) {
            self.queue_advance(slot);
            return Some(step);
        }
        self.behind(slot)?.waits = Waits::Read;
        self.ask_state_of(slot);
        None
    }

    pub(super) fn ask_state_of(&mut self, slot: Slot) {
        let Some(feed) = self.subscriptions.get(slot).map(|s| s.feed) else {
            return;
        };
        let Some(f) = self.feeds.get_mut(feed) else {
            return;
        };
        let Some(channel) = f.target.channel().cloned() else {
            debug_assert!(false, "a filter has no state");
            return;
        };
        let waiting = &mut f.catching_up().awaits_state;
        waiting.push(slot);
        if waiting.len() > 1 {
            return;
        }
        let id = self.request(Pending::ReadState { feed });
        self.broker_requests
            .push_back(BrokerRequest::State { id, channel });
    }

    pub(super) fn state_read(
        &mut self,
        id: RequestId,
        head: Position,
        values: Vec<Arc<Publication>>,
    ) {
        match self.requests.take(id) {
            Some(Pending::State { asker, channel }) => {
                let position = head;
                let reply = Reply::State {
                    channel,
                    position,
                    values,
                };
                self.answer(asker, reply);
            }
            Some(Pending::ReadState { feed }) => {
                for slot in self.take_state_waiters(feed) {
                    self.give_state(slot, head, &values);
                }
                self.settle(feed);
            }
            other => debug_assert!(other.is_none(), "state answers a question for it"),
        }
    }

    fn take_state_waiters(&mut self, feed: Slot) -> Vec<Slot> {
        let f = self.feeds.get_mut(feed);
        f.map_or_else(Vec::new, |f| {
            std::mem::take(&mut f.catching_up().awaits_state)
        })
    }

    /// Hands the state out, in parts that fit an outbox, and goes on after it.
    fn give_state(&mut self, slot: Slot, head: Position, values: &[Arc<Publication>]) {
        let Some(subscription) = self.name_of(slot) else {
            return;
        };
        let Some(s) = self.subscriptions.get_mut(slot) else {
            return;
        };
        let connection = s.connection;
        let Some(behind) = s.behind().filter(|behind| {
            matches!(behind.why, Why::ReadsState { .. }) && behind.waits == Waits::Read
        }) else {
            return;
        };
        behind.move_to(head);
        (behind.gap, behind.why, behind.waits) = (None, Why::Confirmed, Waits::Nothing);
        s.forget_receipts(head);
        if let Some(window) = &mut s.window {
            window.skip_to(head);
        }
        let mut rest = values;
        loop {
            let (part, after) = rest.split_at(self.part_of(rest));
            let spent: usize = part.iter().map(|value| value.weight()).sum();
            if let Some(c) = self.connections.get_mut(connection.into()) {
                c.credit = c.credit.saturating_sub(spent);
            }
            let notice = Notice::State {
                subscription: subscription.clone(),
                values: part.to_vec(),
                position: after.is_empty().then_some(head),
            };
            self.notice(connection, notice);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        self.queue_advance(slot);
    }

    /// How many of these values fit into one part.
    fn part_of(&self, values: &[Arc<Publication>]) -> usize {
        let mut bytes = 0;
        let fits = values
            .iter()
            .take(self.limits.page_count as usize)
            .take_while(|value| {
                bytes += value.weight();
                bytes <= self.limits.page_bytes
            });
        fits.count().max(1).min(values.len())
    }

    pub(super) fn state_failed(&mut self, feed: Slot, refusal: &Refusal) {
        for slot in self.take_state_waiters(feed) {
            if refusal.code == ErrorCode::StorageCorrupt {
                self.end_unasked(slot, refusal.clone());
                continue;
            }
            let waits = self
                .subscriptions
                .get_mut(slot)
                .and_then(Subscription::behind);
            if waits.is_some() {
                self.try_again(Again::State { subscription: slot });
            }
        }
        self.settle(feed);
    }
}
