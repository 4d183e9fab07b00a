//! The first words of a dialect whose server speaks first.

use data_encoding::HEXLOWER;
use offhook::protocol::CloseCode;

use super::{Connecting, Ended};
use crate::{tokens::random_bytes, worker::speaker::Speaker};

impl Connecting {
    /// Lets the dialect speak first, if it does.
    pub(in crate::worker) fn opened(&mut self) -> Result<(), Ended> {
        let Some(speaker @ Speaker::Other(_)) = &mut self.speaker else {
            return Ok(());
        };
        let Ok(id) = random_bytes::<16>() else {
            return Err(Ended::Close(CloseCode::TRY_AGAIN_LATER, "no random bytes"));
        };
        let mut out = Vec::new();
        speaker.with(|dialect| dialect.opened(&HEXLOWER.encode(&id), &mut out));
        for message in out {
            self.outlet.put(message).map_err(|_| Ended::Lost)?;
        }
        Ok(())
    }
}
