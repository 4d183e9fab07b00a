//! What is forgotten, in time and for room.

use super::{Ended, Recorder};

impl Recorder {
    /// Forgets connections that ended long ago.
    pub(in crate::worker) fn expire(&mut self, now_ms: u64) {
        let keep = self.keep_ms;
        let old = |ended: &mut Ended| ended.at_ms.saturating_add(keep) <= now_ms;
        while let Some(ended) = self.ended.pop_front_if(old) {
            self.used -= ended.weight();
        }
        // After the clock was set back, newer entries are behind one from the future.
        if self.ended.front().is_some_and(|ended| ended.at_ms > now_ms) {
            let used = &mut self.used;
            self.ended.retain_mut(|ended| {
                let is_old = old(ended);
                *used -= if is_old { ended.weight() } else { 0 };
                !is_old
            });
        }
    }

    /// Discards records until the memory limit is met.
    pub(super) fn stay_within(&mut self) {
        while self.used > self.bytes {
            if let Some(ended) = self.ended.pop_front() {
                self.used -= ended.weight();
                self.forgotten_ms = self.forgotten_ms.max(ended.at_ms);
                continue;
            }
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if let Some(record) = self.open.remove(&oldest) {
                self.used -= record.weight();
                let newest = record.decisions().back().map_or(0, |entry| entry.at_ms);
                self.forgotten_ms = self.forgotten_ms.max(newest);
            }
        }
    }
}
