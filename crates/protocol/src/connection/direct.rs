//! Reading straight into the message under way, so that a long one is not copied on its way.

use bytes::buf::Limit;

use super::{Event, Inbound};
use crate::error::Error;

/// A rest of a payload that is shorter than this comes by an [`Input`](super::Input): its copy
/// costs less than the read that it saves, since that one brings what follows as well.
const DIRECT: u64 = 16 * 1024;

impl Inbound {
    /// Where to read the rest of a long message: at most so many bytes that they are still
    /// in the processor's cache when they are unmasked. `None` where there is none, or what comes
    /// has to be looked at first: read into a buffer of your own then, and
    /// [`receive`](Self::receive) it.
    ///
    /// After a read, call [`payload_read`](Self::payload_read). Everything that was read before
    /// must have been received.
    ///
    /// Memory is taken as for what is received otherwise: ahead of what has arrived, but never by
    /// what a header promises alone.
    pub fn payload_room(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        let payload = self.stage.payload()?;
        if payload.opcode.is_control() || payload.remaining < DIRECT || self.deaf {
            return None;
        }
        let limits = &self.config.limits;
        self.assembly.as_mut()?.room(payload.remaining, limits)
    }

    /// Takes what was read into [`payload_room`](Self::payload_room), and gives the message if
    /// that was the last of it.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn payload_read(&mut self) -> Result<Option<Event<'static>>, Error> {
        let (Some(payload), Some(assembly)) = (self.stage.payload(), &mut self.assembly) else {
            return Ok(None);
        };
        let taken = match assembly.take_fresh(payload.key) {
            Ok(0) => return Ok(None),
            Ok(taken) => taken,
            Err(error) => return self.fail_at(error.into()),
        };
        self.progress = true;
        if self.advance(payload, taken) > 0 || !payload.fin {
            return Ok(None);
        }
        match self.assembly.take().map(|assembly| assembly.finish()) {
            Some(Err(error)) => self.fail_at(error.into()),
            Some(Ok(message)) => Ok(Some(Event::Message(message))),
            None => Ok(None),
        }
    }

    #[cold]
    fn fail_at<T>(&mut self, error: Error) -> Result<T, Error> {
        self.end();
        Err(error)
    }
}
