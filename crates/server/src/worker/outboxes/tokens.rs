//! Which connections are due a new resume token, because their subscriptions changed or the last one
//! is old.

use std::mem;

use offhook_engine::ConnectionId;

use super::Outboxes;

/// Tokens that are sealed before others have a turn. 128: about a millisecond.
const SEALS: usize = 128;

impl Outboxes {
    /// The subscriptions of a connection have changed since its token was sealed.
    pub(super) fn token_is_stale(&mut self, connection: ConnectionId) {
        if let Some(outbox) = self.get(connection)
            && !mem::replace(&mut outbox.stale, true)
        {
            self.stale.push(connection);
        }
    }

    /// Sends new tokens to some of the connections whose tokens are out of date. Returns whether there
    /// are more.
    pub(in crate::worker) fn seal_stale(
        &mut self,
        now_s: u32,
        mut seal: impl FnMut(ConnectionId) -> Option<String>,
    ) -> bool {
        for _ in 0..SEALS {
            let Some(connection) = self.stale.pop() else {
                return false;
            };
            // Those that got one since are not stale any more.
            if self.get(connection).is_some_and(|outbox| outbox.stale) {
                self.seal(connection, now_s, || seal(connection));
            }
        }
        !self.stale.is_empty()
    }

    /// Sends a new token to a connection, behind everything that the token counts as delivered: a
    /// client that comes back with the token does not get that again.
    pub(in crate::worker) fn seal(
        &mut self,
        connection: ConnectionId,
        now_s: u32,
        seal: impl FnOnce() -> Option<String>,
    ) {
        let Some(outbox) = self.get(connection) else {
            return;
        };
        (outbox.sealed_s, outbox.stale) = (now_s, false);
        self.catch_up_walk(connection);
        if let Some(token) = seal() {
            self.say(connection, |dialect, out| dialect.token(&token, out));
        }
    }

    /// Tokens that were sealed before that moment are to be sealed again.
    pub(in crate::worker) fn age_tokens(&mut self, before_s: u32) {
        let all = self.connections.iter_mut().flatten();
        for outbox in all.filter(|o| o.sealed_s < before_s && !o.stale) {
            outbox.stale = true;
            self.stale.push(outbox.connection);
        }
    }
}
