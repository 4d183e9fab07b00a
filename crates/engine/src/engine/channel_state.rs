//! A channel's state: queried once, or as the start of a subscription.

use std::sync::Arc;

use crate::{
    broker::{BrokerRequest, RequestId},
    channel_name::ChannelName,
    delivery::{GapReason, Reply},
    error::{ErrorCode, Refusal},
    position::Position,
    publication::Publication,
    slab::Slot,
};

use super::{
    Engine, Step,
    shrinking::list,
    state::{Again, Asker, Missing, Pending, Subscription, Waits, Why},
};

impl Engine {
    pub(super) fn ask_state(
        &mut self,
        asker: Asker,
        channel: ChannelName,
        after: Option<Position>,
        limit: u32,
    ) -> Result<(), Refusal> {
        if !self.rules_of(&channel)?.state.is_kept() {
            let detail = format!("channel {channel} has no state");
            return Err(Refusal::new(ErrorCode::NoState, detail));
        }
        self.in_flight(asker)?;
        let name = channel.clone();
        let id = self.request(Pending::State {
            asker,
            channel,
            after,
            limit,
        });
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
        let Some(f) = self.feeds.known_mut(feed) else {
            return;
        };
        let Some(channel) = f.target.channel().cloned() else {
            debug_assert!(false, "a filter has no state");
            return;
        };
        let most = f.subscribers;
        let waiting = &mut f.catching_up().awaits_state;
        let is_first = waiting.is_empty();
        list(slot, waiting, &self.subscriptions, most);
        if !is_first {
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
            Some(Pending::State {
                asker,
                channel,
                after,
                limit,
            }) => {
                let (values, more) = self.page_of(values, after, limit);
                let reply = Reply::State {
                    channel,
                    head,
                    values,
                    more,
                };
                self.answer(asker, reply);
            }
            Some(Pending::ReadState { feed }) => {
                let page: Arc<[_]> = values.into();
                for slot in self.take_state_waiters(feed) {
                    self.begin_to_give(slot, head, &page);
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

    /// Delivers a state that was read: its values one by one, as the outbox has room, and then the
    /// stream after it.
    ///
    /// A slow connection holds the values as they were until it has received them all, because the
    /// stream after the state makes sense only to a client that has all of it. Connections that
    /// started together share the values, and the channel's rules limit their bytes.
    fn begin_to_give(&mut self, slot: Slot, head: Position, page: &Arc<[Arc<Publication>]>) {
        let Some(behind) = self
            .subscriptions
            .get_mut(slot)
            .and_then(Subscription::behind)
        else {
            return;
        };
        if !matches!(behind.why, Why::ReadsState { .. }) {
            return;
        }
        let (given, jumped) = (0, false);
        behind.why = Why::GivesState {
            head,
            given,
            jumped,
        };
        behind.page = Some(Arc::clone(page));
        behind.waits = Waits::Nothing;
        self.queue_advance(slot);
    }

    /// Hands out the next value of the state; after the last, the gap that the state stands for.
    pub(super) fn give_value(&mut self, slot: Slot) -> Option<Step> {
        self.queue_advance(slot);
        let behind = self.behind(slot)?;
        let Why::GivesState {
            head,
            given,
            jumped,
        } = &mut behind.why
        else {
            debug_assert!(
                false,
                "only a subscription that is given the state comes here"
            );
            return None;
        };
        let value = behind.page.as_ref().and_then(|page| page.get(*given));
        let Some(value) = value.cloned() else {
            let (head, jumped) = (*head, *jumped);
            let from = behind.gap.map_or(behind.cursor, |gap| gap.from);
            behind.move_to(head);
            behind.gap = Some(Missing {
                from,
                reason: GapReason::State,
                agreed: None,
            });
            behind.why = match jumped {
                true => Why::Given { lenient: false },
                false => Why::Confirmed,
            };
            return self.gap_before_next(slot);
        };
        *given += 1;
        let subscription = self.name_of(slot)?;
        let connection = self.subscriptions.get(slot)?.connection;
        let class = self.connections.get(connection.into())?.class;
        self.spend(connection, value.weight());
        Some(Step::Publication {
            connection,
            class,
            subscription,
            place: value.position,
            publication: value,
            deliveries: 0,
            state: true,
        })
    }

    /// The values after a position that fit into one answer, and whether there are more.
    fn page_of(
        &self,
        values: Vec<Arc<Publication>>,
        after: Option<Position>,
        limit: u32,
    ) -> (Vec<Arc<Publication>>, bool) {
        let passed = |value: &Arc<Publication>| {
            after.is_some_and(|after| value.position.offset <= after.offset)
        };
        let first = values.partition_point(passed);
        let count = limit.min(self.limits.page_count) as usize;
        let mut bytes = 0;
        let fits = values.iter().skip(first).take(count).take_while(|value| {
            let is_first = bytes == 0;
            bytes += value.weight();
            is_first || bytes <= self.limits.page_bytes
        });
        let fits = fits.count();
        let more = values.len() > first + fits;
        let page = values.into_iter().skip(first).take(fits).collect();
        (page, more)
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
