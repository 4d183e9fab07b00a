//! Where a read by filter begins, and which losses before that are known.

use offhook_engine::{ChannelRules, Epoch, Filter, Position, ReadStart, Resolution};

use super::{
    super::shared::{Shared, is_on_disk},
    Merge,
};
use crate::hub::ROOM;

/// Resolves a position in the order of all channels, for a reader of some of them.
///
/// A process does not know the channels that existed only in the memory of an earlier process. If
/// the reader may have missed publications there, according to the rules of that time, it is told
/// so.
pub(super) fn resolve(
    shared: &Shared,
    filter: &Filter,
    asked: Position,
    newest: u64,
) -> (Resolution, u64) {
    let (resolution, after) = shared.epochs.resolve(asked, newest);
    let (past, current) = (shared.past_rules(), shared.epochs.current());
    let resolution = match resolution {
        Resolution::Continuous if asked.epoch != current => {
            let in_memory = |rules: &ChannelRules| !is_on_disk(rules);
            match past.had(filter, asked.epoch, current, in_memory) {
                true => Resolution::Restarted,
                false => resolution,
            }
        }
        // Every batch leaves so many numbers free before its publications: those that follow the
        // newest one on disk this closely are of publications in memory alone.
        Resolution::Diverged if asked.offset.saturating_sub(after) <= ROOM => Resolution::Restarted,
        // Only what is on disk can diverge. The numbers of the newest publications in memory are
        // not on disk.
        Resolution::Diverged if !past.had(filter, asked.epoch, Epoch(u64::MAX), is_on_disk) => {
            Resolution::Restarted
        }
        Resolution::Continuous
        | Resolution::Diverged
        | Resolution::UnknownEpoch
        | Resolution::AheadOfHead
        | Resolution::Restarted => resolution,
    };
    (resolution, after)
}

impl Merge {
    /// The reader's position among publications in memory; this process knows only its own.
    pub(super) fn after_in_memory(&self) -> Position {
        Position {
            epoch: self.asked.epoch,
            offset: self.after,
        }
    }

    /// Where the read begins.
    pub(super) fn start(&self, asked: Position) -> ReadStart {
        let (epoch, offset) = (asked.epoch, self.after);
        let agreed = Position { epoch, offset };
        let after = match self.resolution {
            Resolution::Restarted => Position {
                epoch: self.head.epoch,
                offset,
            },
            Resolution::Continuous
            | Resolution::Diverged
            | Resolution::UnknownEpoch
            | Resolution::AheadOfHead => agreed,
        };
        ReadStart {
            resolution: self.resolution,
            agreed,
            after,
        }
    }
}
