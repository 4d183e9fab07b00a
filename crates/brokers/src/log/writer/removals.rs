//! Publications that are no longer kept leave the disk a few with each batch: a long channel may lose
//! ten thousands at once, and whoever publishes meanwhile is not to wait for that. Which ones are left
//! is on disk, too, so that a restart forgets none.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::Writer;
use crate::log::store::Group;

/// Publications that a batch removes, beside two for each that it publishes: a millisecond's work, and
/// more than are published.
pub(in crate::log) const A_BATCH: u64 = 512;

/// What is to be removed, by the channel's number.
pub(super) type Removals = BTreeMap<u32, RangeInclusive<u64>>;

impl Writer {
    /// These offsets of a channel are no longer kept: they go with this batch and the next ones.
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
