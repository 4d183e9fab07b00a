//! Users' requests other than subscriptions.

use offhook_dialects::native::client::Command;

use super::{Asked, Core, Outgoing, Repeat, Ticket};
use crate::error::Error;

impl Core {
    /// Queues a publication. `None` while the queue is full.
    pub(crate) fn publish(
        &mut self,
        outgoing: impl FnOnce() -> Option<Outgoing>,
        weight: usize,
    ) -> Result<Option<Ticket>, Error> {
        if let Some(why) = self.ended() {
            return Err(why.clone());
        }
        if !self.publishes.has_room(weight) {
            return Ok(None);
        }
        let ticket = Ticket(self.number());
        let Some(outgoing) = outgoing() else {
            return Ok(None);
        };
        self.publishes.add(ticket, outgoing);
        Ok(Some(ticket))
    }

    /// Sends a request that is no publication and no subscription.
    pub(crate) fn question(&mut self, command: Command, repeat: Repeat) -> Result<Ticket, Error> {
        if let Some(why) = self.ended() {
            return Err(why.clone());
        }
        let ticket = Ticket(self.number());
        self.questions.add(ticket, command, repeat);
        Ok(ticket)
    }

    /// Drops a request whose answer is no longer needed.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        if self.questions.remove(ticket) {
            self.asked
                .retain(|_, asked| !matches!(asked, Asked::Question(of) if *of == ticket));
        }
    }
}
