//! Publications that are no longer retained are removed from the disk a few with each batch: a long
//! channel may lose tens of thousands at once, and other publications should not wait for that. The
//! remaining ones are recorded on disk as well, so that a restart forgets none.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::Writer;
use crate::log::store::Group;

/// Publications that a batch removes, in addition to two for each that it publishes: takes about a
/// millisecond, and is more than are published.
pub(in crate::log) const A_BATCH: u64 = 512;

/// Offsets to remove, by the channel's number.
pub(super) type Removals = BTreeMap<u32, RangeInclusive<u64>>;

impl Writer {
    /// Schedules offsets of a channel for removal with this batch and the next ones.
    pub(super) fn remove_later(
        &mut self,
        group: &mut Group,
        channel: u32,
        offsets: RangeInclusive<u64>,
    ) {
        let all = self
            .removals
            .entry(channel)
            .and_modify(|all| *all = *all.start().min(offsets.start())..=*offsets.end())
            .or_insert(offsets);
        group.remember_removal(channel, Some(all));
    }

    /// Removes as much as a batch may.
    pub(super) fn remove_some(&mut self, group: &mut Group) {
        let mut left = A_BATCH + 2 * group.size().published;
        while left > 0
            && let Some(mut entry) = self.removals.first_entry()
        {
            let channel = *entry.key();
            let (from, to) = (*entry.get().start(), *entry.get().end());
            let last = to.min(from + left - 1);
            group.remove(channel, from..=last);
            left -= (last + 1).saturating_sub(from).min(left);
            if last >= to {
                entry.remove();
                group.remember_removal(channel, None);
            } else {
                *entry.get_mut() = last + 1..=to;
                group.remember_removal(channel, Some(entry.get()));
            }
        }
    }
}
