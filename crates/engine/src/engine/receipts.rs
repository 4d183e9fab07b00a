//! Delivery receipts from any stock client: a mark rides in a ping, the pong brings it back.

use std::sync::Arc;

use crate::{channel_name::ChannelName, delivery::LineId, position::Position, session::SessionId};

use super::Engine;

/// A session that is subscribed to a channel, and what it certainly has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which session.
    pub session: SessionId,
    /// Its user; empty for a stranger.
    pub user: Arc<str>,
    /// Everything up to here reached its WebSocket stack.
    pub received: Position,
}

impl Engine {
    /// Marks what was handed out to a line until now. The number goes into the payload of a
    /// ping that is queued *behind* everything handed out; a pong with it is a receipt for
    /// [`handle_receipt`](Self::handle_receipt). A new mark replaces the one before.
    pub fn mark(&mut self, line: LineId) -> Option<u32> {
        let l = self.lines.get_mut(line.into())?;
        l.mark = l.mark.wrapping_add(1);
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
    pub fn handle_receipt(&mut self, line: LineId, mark: u32) {
        let Some(l) = self.lines.get_mut(line.into()).filter(|l| l.mark == mark) else {
            return;
        };
        for s in &mut l.subscriptions {
            s.received = s.marked;
        }
    }

    /// Who of this worker's subscribers has this offset of this channel. Looks at every line:
    /// ask when somebody wants to know, not for each publication.
    pub fn who_has(
        &self,
        channel: &ChannelName,
        position: Position,
    ) -> impl Iterator<Item = Receipt> + use<'_> {
        let slot = self.names.get(channel).copied();
        let tail = slot.and_then(|slot| self.channels.get(slot)?.tail);
        let lines = slot.into_iter().flat_map(|_| self.lines.iter());
        lines.filter_map(move |(_, line)| {
            let s = line
                .subscriptions
                .iter()
                .find(|s| Some(s.channel) == slot)?;
            let epoch = Self::handed_out(tail, &s.stage)?.epoch;
            let received = Position {
                epoch,
                offset: s.received,
            };
            let (session, user) = (line.session, Arc::clone(&line.identity.user));
            let has = epoch == position.epoch && received.offset >= position.offset;
            has.then_some(Receipt {
                session,
                user,
                received,
            })
        })
    }
}
