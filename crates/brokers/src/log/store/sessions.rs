//! The states of sessions and of groups.

use offhook_engine::SessionId;

use super::{
    super::record::{read_session, session_keys, sessions_from},
    Store,
    numbers::guarded,
};
use crate::hub::Saved;

impl Store {
    /// All sessions that were saved.
    pub(in crate::log) fn sessions(&self) -> fjall::Result<Vec<(SessionId, Saved)>> {
        guarded(|| {
            let mut all = Vec::new();
            for guard in self.node.range(session_keys()) {
                let (key, value) = guard.into_inner()?;
                all.extend(read_session(&key, &value));
            }
            Ok(all)
        })
    }

    /// The sessions that can be read. A damaged block takes with it those that follow it and whose ids
    /// begin with the same byte.
    pub(in crate::log) fn readable_sessions(&self) -> Vec<(SessionId, Saved)> {
        let mut all = Vec::new();
        for first in 0..=u8::MAX {
            let _the_rest_is_lost = guarded(|| {
                for guard in self.node.range(sessions_from(first)) {
                    let (key, value) = guard.into_inner()?;
                    if key.get(1) != Some(&first) {
                        break;
                    }
                    all.extend(read_session(&key, &value));
                }
                Ok(())
            });
        }
        all
    }
}
