//! Broadcasts that wait to be put: those for the same audience are put in one walk through its
//! connections.

use offhook::protocol::Prepared;
use offhook_engine::ConnectionId;

use super::{Outboxes, unsent::HEAVY};

/// Messages held at most. 32: a walk through the connections is cheap then, and an outbox that is
/// full is over its bound by as many messages.
const HELD: usize = 32;

/// Messages for one audience, which its connections have not got yet.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    messages: Vec<Prepared>,
    audience: Vec<ConnectionId>,
    /// Whether this turn has broadcasts for other audiences as well. A connection may be in both, and
    /// gets them in one write at the end of the turn. The one audience that most turns have is
    /// written to at once, so that the bytes go from one buffer that the processor has at hand.
    several: bool,
}

impl Outboxes {
    /// Holds messages for an audience until others are to be told something, or the turn ends.
    pub(super) fn hold(&mut self, messages: &[Prepared], audience: &[ConnectionId]) {
        let held = &mut self.broadcasts;
        let others = held.audience != audience;
        held.several |= others && !held.messages.is_empty();
        if others || held.messages.len() >= HELD {
            self.put_broadcasts();
            self.broadcasts.audience.extend_from_slice(audience);
        }
        self.broadcasts.messages.extend_from_slice(messages);
    }

    /// Ends a turn: puts the broadcasts that are held. Returns whether there were any.
    pub(in crate::worker) fn end_turn(&mut self) -> bool {
        let any = !self.broadcasts.messages.is_empty();
        self.put_broadcasts();
        self.broadcasts.several &= any;
        any
    }

    /// Puts the broadcasts that are held into the outbox of each connection of their audience.
    pub(super) fn put_broadcasts(&mut self) {
        let Broadcasts {
            messages,
            audience,
            several,
        } = &mut self.broadcasts;
        let notable = HEAVY.min(self.bound.now);
        for &connection in &*audience {
            let Some(Some(outbox)) = self.connections.get_mut(connection.index()) else {
                continue;
            };
            let put = if *several {
                outbox.outlet.put_prepared(messages)
            } else {
                outbox.outlet.write_prepared(messages)
            };
            // A connection that is closing gets nothing more.
            let Ok(unsent) = put else { continue };
            if unsent > notable {
                if !std::mem::replace(&mut outbox.heavy, true) {
                    self.heavy.push(connection);
                }
                if unsent > self.bound.now {
                    self.full.push(connection);
                }
            }
        }
        audience.clear();
        messages.clear();
    }
}
