//! The first message of dialects in which the server sends first, and what a client has begun to send.

use std::rc::Rc;

use data_encoding::HEXLOWER;
use offhook::protocol::CloseCode;

use super::{Connected, Connecting, Ended};
use crate::{
    tokens::random_bytes,
    worker::{Worker, speaker::Speaker},
};

impl Connecting {
    /// How its transport is closed if its client does not identify itself in time.
    pub(in crate::worker) fn late(&mut self) -> Ended {
        let speaker = self.speaker.as_mut();
        match speaker.map(|speaker| speaker.with(|dialect| dialect.late())) {
            Some((code, reason)) => Ended::Close(CloseCode::new(code), reason),
            None => Ended::Lost,
        }
    }

    /// Sends the dialect's first message, if the server sends first.
    pub(in crate::worker) fn opened(&mut self) -> Result<(), Ended> {
        let Some(Speaker::Other(_)) = self.speaker else {
            return Ok(());
        };
        match random_bytes::<16>() {
            Ok(id) => self.opened_as(&HEXLOWER.encode(&id)),
            Err(_) => Err(Ended::Close(CloseCode::TRY_AGAIN_LATER, "no random bytes")),
        }
    }

    /// The same, for a connection that has an id.
    pub(in crate::worker) fn opened_as(&mut self, id: &str) -> Result<(), Ended> {
        let mut out = Vec::new();
        if let Some(speaker) = &mut self.speaker {
            speaker.with(|dialect| dialect.opened(id, &mut out));
        }
        for message in out {
            self.outlet.put(message).map_err(|_| Ended::Lost)?;
        }
        Ok(())
    }

    /// Takes what the dialect asks for without a message of the client, once the transport is open.
    pub(in crate::worker) fn begin_by_itself(
        &mut self,
        worker: &Rc<Worker>,
    ) -> Result<Connected, Ended> {
        let mut intents = Vec::new();
        if let Some(speaker) = &mut self.speaker {
            speaker.with(|dialect| {
                while let Some(intent) = dialect.poll_intent() {
                    intents.push(intent);
                }
            });
        }
        self.take(worker, intents)
    }

    /// The bytes of an incomplete message that the dialect holds.
    pub(in crate::worker) fn unfinished(&mut self) -> usize {
        let speaker = self.speaker.as_mut();
        speaker.map_or(0, |speaker| {
            speaker.with(|dialect| dialect.unfinished().bytes)
        })
    }
}
