//! Rate limits of a connection's commands and publications.

use crate::{
    command::Now,
    delivery::{CloseReason, ConnectionId},
    error::{ErrorCode, Refusal},
};

use super::Engine;

impl Engine {
    /// Counts a request that the caller carries out, and not the engine, as a command against the
    /// connection's rate.
    ///
    /// # Errors
    /// [`ErrorCode::RateLimited`], which the connection is to be told.
    pub fn admit_command(&mut self, connection: ConnectionId, now: Now) -> Result<(), Refusal> {
        self.set_now(now);
        self.admit(connection, false)
    }

    /// Applies the rate limits; a connection that exceeds them for long is closed.
    pub(super) fn admit(
        &mut self,
        connection: ConnectionId,
        publishes: bool,
    ) -> Result<(), Refusal> {
        let now_ms = self.now_ms();
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return Ok(());
        };
        let limits = self.limits.of_client(c.identity.class.as_ref());
        let (rate, burst) = (limits.commands_per_second, limits.command_burst);
        let mut admitted = c.commands.take(rate, burst, now_ms);
        if admitted.is_ok() && publishes {
            let (rate, burst) = (limits.publishes_per_second, limits.publish_burst);
            admitted = c.publishes.take(rate, burst, now_ms);
        }
        let Err(pause) = admitted else {
            c.refused = 0;
            return Ok(());
        };
        c.refused += 1;
        if c.refused > self.limits.flood {
            self.close(connection, CloseReason::Flood);
        }
        let detail = "too many commands in too short a time; slow down";
        Err(Refusal::new(ErrorCode::RateLimited, detail).after(pause))
    }
}
