//! Reading straight into the message under way, so that a long one is not copied on its way.

use std::time::Instant;

use bytes::buf::Limit;

use super::{Connection, Event};
use crate::error::Error;
use crate::mask::mask_rotated;

/// A rest of a payload that is shorter than this comes by an [`Input`](super::Input): its copy
/// costs less than the read that it saves, since that one brings what follows as well.
const DIRECT: u64 = 16 * 1024;

impl Connection {
    /// Where to read the rest of a long binary message: at most so many bytes that they are still
    /// in the processor's cache when they are unmasked. `None` where there is none, or what comes
    /// has to be looked at first: read into a buffer of your own then, and
    /// [`receive`](Self::receive) it.
    ///
    /// After a read, call [`payload_read`](Self::payload_read). Everything that was read before
    /// must have been received.
    ///
    /// Memory is taken as for what is received otherwise: ahead of what has arrived, but never by
    /// what a header promises alone. Text is not read this way: safe code can't make a `String` of
    /// checked bytes where they lie.
    pub fn payload_room(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        let payload = self.stage.payload()?;
        if payload.opcode.is_control() || payload.remaining < DIRECT || self.is_deaf() {
            return None;
        }
        self.assembly.as_mut()?.room(payload.remaining)
    }

    /// Takes what was read into [`payload_room`](Self::payload_room), and gives the message if
    /// that was the last of it.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn payload_read(&mut self, at: Instant) -> Result<Option<Event<'static>>, Error> {
        let (Some(payload), Some(assembly)) = (self.stage.payload(), &mut self.assembly) else {
            return Ok(None);
        };
        let fresh = assembly.take_fresh();
        let taken = fresh.len();
        if taken == 0 {
            return Ok(None);
        }
        if payload.key != [0; 4] {
            mask_rotated(fresh, payload.key);
        }
        self.liveness.heard(at);
        self.liveness.received();
        if self.advance(payload, taken) > 0 || !payload.fin {
            return Ok(None);
        }
        let message = self.assembly.take().map(|assembly| assembly.finish());
        Ok(message.transpose()?.map(Event::Message))
    }
}
