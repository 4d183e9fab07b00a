//! Acknowledgements of publications.

use crate::{
    delivery::ConnectionId,
    error::{ErrorCode, Refusal},
    position::Position,
    subscription::{SubscriptionKey, SubscriptionName},
};

use super::{
    Engine,
    commands::gone,
    state::{Subscription, Waits},
};

impl Engine {
    /// Handles the acknowledgement of a delivered publication, or of all publications up to it.
    pub(super) fn done(
        &mut self,
        connection: ConnectionId,
        key: &SubscriptionKey,
        position: Position,
        cumulative: bool,
    ) -> Result<SubscriptionName, Refusal> {
        let slot = self.subscription_of(connection, key)?;
        let name = self.name_of(slot).ok_or_else(gone)?;
        if self
            .subscriptions
            .get(slot)
            .is_some_and(|s| s.shared.is_some())
        {
            self.share_done(slot, (position, cumulative), true)?;
            return Ok(name);
        }
        let window = self
            .subscriptions
            .get_mut(slot)
            .and_then(|s| s.window.as_mut());
        let Some(window) = window else {
            let detail = format!("{name} has no window; there is nothing to acknowledge");
            return Err(Refusal::new(ErrorCode::BadRequest, detail));
        };
        if !window.done(position, cumulative) {
            let detail =
                format!("position {position} of {name} was not delivered on this connection");
            return Err(Refusal::new(ErrorCode::BadRequest, detail));
        }
        let behind = self
            .subscriptions
            .get_mut(slot)
            .and_then(Subscription::behind);
        if behind.is_some_and(|behind| behind.waits == Waits::Done) {
            self.queue_advance(slot);
        }
        self.session_changed(connection);
        Ok(name)
    }
}
