//! Reads directly into the incomplete message, so that a long one is not copied.

use bytes::buf::Limit;

use super::{Event, Inbound};
use crate::error::Error;

/// When less of a payload than this is outstanding, it is received through an
/// [`Input`](super::Input): the copy costs less than the read it saves, since that read also brings
/// the bytes that follow.
const DIRECT: u64 = 16 * 1024;

impl Inbound {
    /// The buffer to read the rest of a long message into. It is limited to what stays in the
    /// processor's cache until it is unmasked. `None` if no message can be read this way, or if the
    /// next bytes must be parsed first: then read into a buffer of your own and call
    /// [`receive`](Self::receive).
    ///
    /// After a read, call [`payload_read`](Self::payload_read). Everything read before must have
    /// been passed to `receive`.
    ///
    /// Memory is allocated by the same rule as in `receive`: ahead of the data that has arrived,
    /// but never because of an announced length alone.
    pub fn payload_room(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        let payload = self.position.payload()?;
        if payload.opcode.is_control() || payload.remaining < DIRECT || self.deaf {
            return None;
        }
        let limits = &self.config.limits;
        self.assembly.as_mut()?.room(payload.remaining, limits)
    }

    /// Processes the bytes read into [`payload_room`](Self::payload_room). Returns the message if
    /// they complete it.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn payload_read(&mut self) -> Result<Option<Event<'static>>, Error> {
        let (Some(payload), Some(assembly)) = (self.position.payload(), &mut self.assembly) else {
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
