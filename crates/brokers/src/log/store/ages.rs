//! The clock by which publications become too old.

use super::Store;
use crate::hub::Ages;

/// The name of its entry.
pub(super) const CLOCK: &str = "clock";

impl Store {
    /// The clock as it was last saved; none in a log of an earlier version, whose clock is not known to
    /// have been stepped.
    pub(in crate::log) fn ages(&self) -> fjall::Result<Option<Ages>> {
        let saved = self.node.get(CLOCK)?;
        Ok(saved.and_then(|bytes| Ages::decode(&bytes)))
    }
}
