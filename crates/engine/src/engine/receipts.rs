//! Delivery receipts from any stock client: a mark rides in a ping, the pong brings it back.

use std::time::Duration;

use crate::{
    broker::Receipts, channel_name::ChannelName, delivery::ConnectionId, position::Position,
};

use super::{Engine, Item};

/// For each subscriber that was looked at, the channel's receipts rest so long: whoever asks all
/// the time takes no more than a hundredth of a core.
const LOOK: Duration = Duration::from_micros(10);

impl Engine {
    /// Marks what was handed out to a connection until now. The number goes into the payload of a
    /// ping that is queued *behind* everything handed out; a pong with it is a receipt for
    /// [`handle_receipt`](Self::handle_receipt). A new mark replaces the one before.
    pub fn mark(&mut self, connection: ConnectionId) -> Option<u32> {
        let l = self.connections.get_mut(connection.into())?;
        l.mark = l.mark.wrapping_add(1);
        l.awaits_receipt = true;
        for s in &mut l.subscriptions {
            let tail = self.channels.get(s.channel).and_then(|c| c.tail);
            if let Some(position) = Self::handed_out(tail, &s.stage) {
                s.marked = position.offset;
            }
        }
        Some(l.mark)
    }

    /// A pong brought a mark back. Anything but the newest mark is ignored: pongs may be late,
    /// and clients may invent them.
    pub fn handle_receipt(&mut self, connection: ConnectionId, mark: u32) {
        let Some(l) = self
            .connections
            .get_mut(connection.into())
            .filter(|l| l.mark == mark)
        else {
            return;
        };
        l.awaits_receipt = false;
        for s in &mut l.subscriptions {
            s.received = s.marked;
        }
    }

    /// Who of this worker's live subscribers has this publication. Those of whom it is not known
    /// are asked: a later question finds their answers. None when it was asked too often.
    pub(super) fn find_receipts(
        &mut self,
        channel: &ChannelName,
        position: Position,
    ) -> Option<Receipts> {
        let mut receipts = Receipts::default();
        let Some(&slot) = self.names.get(channel) else {
            return Some(receipts);
        };
        let Some(c) = self.channels.get_mut(slot) else {
            return Some(receipts);
        };
        if c.receipts_from.is_some_and(|from| from > self.now) {
            return None;
        }
        let subscribers = u32::try_from(c.live.len()).unwrap_or(u32::MAX);
        c.receipts_from = Some(self.now + LOOK.saturating_mul(subscribers));
        receipts.subscribers = c.subscribers.into();
        let same_epoch = c.tail.is_some_and(|tail| tail.epoch == position.epoch);
        if !same_epoch {
            return Some(receipts);
        }
        for &connection in &c.live {
            let Some(l) = self.connections.get_mut(connection.into()) else {
                continue;
            };
            let session = l.session;
            let has = l
                .subscription(slot)
                .is_some_and(|s| s.received >= position.offset);
            if has {
                receipts.received += 1;
                if receipts.sessions.len() < self.limits.members as usize {
                    receipts.sessions.push(session);
                }
            } else if !std::mem::replace(&mut l.awaits_receipt, true) {
                self.items.push_back(Item::Mark { connection });
            }
        }
        Some(receipts)
    }
}
