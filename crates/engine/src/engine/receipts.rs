//! Delivery receipts from any standard client: a mark is sent in a ping, and the pong returns it.

use std::{collections::HashMap, time::Duration};

use crate::{
    broker::Receipts, channel_name::ChannelName, delivery::ConnectionId, position::Position,
    slab::Slot,
};

use super::{Engine, Item, state::State};

/// After each query, the channel's receipts are not searched again for this long per subscriber
/// examined: frequent queries use at most a hundredth of a core.
const LOOK: Duration = Duration::from_micros(10);

impl Engine {
    /// Marks what was handed out to a connection so far. Put the number into the payload of a ping
    /// queued *behind* everything handed out; pass the number of its pong to
    /// [`handle_receipt`](Self::handle_receipt). A new mark replaces the previous one.
    pub fn mark(&mut self, connection: ConnectionId) -> Option<u32> {
        let c = self.connections.get_mut(connection.into());
        let c = c.filter(|c| !c.gone)?;
        c.mark = c.mark.wrapping_add(1);
        c.awaits_receipt = true;
        let mark = c.mark;
        for slot in self.subscriptions_of(connection) {
            let Some(position) = self.handed_out(slot) else {
                continue;
            };
            if let Some(s) = self.subscriptions.get_mut(slot) {
                s.marks_mut().marked = position.offset;
            }
        }
        Some(mark)
    }

    /// A pong returned a mark. Only the newest mark counts: pongs may be late, and clients may
    /// invent them.
    pub fn handle_receipt(&mut self, connection: ConnectionId, mark: u32) {
        let c = self.connections.get_mut(connection.into());
        let Some(c) = c.filter(|c| c.mark == mark) else {
            return;
        };
        c.awaits_receipt = false;
        for slot in self.subscriptions_of(connection) {
            let s = self.subscriptions.get_mut(slot);
            if let Some(s) = s
                && s.marks().marked > 0
            {
                let marks = s.marks_mut();
                marks.received = marks.marked;
            }
        }
    }

    /// Which of this worker's sessions were subscribed when this publication came, and have received it.
    /// A session counts once, however many subscriptions it has in the channel; subscriptions to
    /// filters do not count. Sessions for which it is unknown are sent a ping; a later query finds
    /// their answers. None if it was queried too often.
    pub(super) fn find_receipts(
        &mut self,
        channel: &ChannelName,
        position: Position,
    ) -> Option<Receipts> {
        let mut receipts = Receipts::default();
        let Some(&feed) = self.names.get(channel) else {
            return Some(receipts);
        };
        let Some(f) = self.feeds.get_mut(feed) else {
            return Some(receipts);
        };
        if f.receipts_from
            .as_deref()
            .is_some_and(|from| *from > self.now)
        {
            return None;
        }
        let again = self.now + LOOK.saturating_mul(f.subscribers);
        f.receipts_from = Some(Box::new(again));
        let is_known = f.tail.is_some_and(|tail| tail.offset >= position.offset);
        let places = f.live.iter().flat_map(|audience| audience.places());
        let live = places.filter_map(|place| Some(self.subscriptions.at(*place)?.0));
        let behind = f.catching_up.iter().flat_map(|c| &c.behind).copied();
        let slots: Vec<Slot> = live.chain(behind).collect();
        let mut sessions: HashMap<ConnectionId, bool> = HashMap::new();
        for slot in slots {
            if let Some(s) = self.subscriptions.get(slot)
                && position.offset > s.began_after
            {
                let marks = s.marks();
                // What was received before the stream continued elsewhere may not be part of it.
                let is_doubtful = matches!(&s.state, State::Behind(b) if !b.is_confirmed());
                let is_handed_out = is_known && !is_doubtful && position.offset > marks.after;
                let has = is_handed_out && marks.received >= position.offset;
                *sessions.entry(s.connection).or_default() |= has;
            }
        }
        receipts.subscribers = u64::try_from(sessions.len()).unwrap_or(u64::MAX);
        for (connection, has) in sessions {
            if has {
                self.received(connection, &mut receipts);
            } else if is_known {
                self.ask_for_receipt(connection);
            }
        }
        Some(receipts)
    }

    fn received(&self, connection: ConnectionId, receipts: &mut Receipts) {
        receipts.received += 1;
        if let Some(c) = self.connections.get(connection.into())
            && receipts.sessions.len() < self.limits.members as usize
        {
            receipts.sessions.push(c.session);
        }
    }

    pub(super) fn ask_for_receipt(&mut self, connection: ConnectionId) {
        if let Some(c) = self.connections.get_mut(connection.into())
            && !std::mem::replace(&mut c.awaits_receipt, true)
        {
            self.items.push_back(Item::Mark { connection });
        }
    }
}
