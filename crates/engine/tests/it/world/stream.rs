//! One channel's stream in the reference broker.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use offhook_engine::*;

#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) epoch: u64,
    pub(crate) first: u64,
    /// The position of each publication, in order.
    pub(crate) line: Vec<Position>,
    /// The epoch of offset 0.
    pub(crate) origin: u64,
    /// Epochs that ended, and the offset up to which their publications are still retained.
    pub(crate) ended: BTreeMap<u64, u64>,
    /// Everything ever published, by position: what clients compare with.
    pub(crate) all: HashMap<(u64, u64), Arc<Publication>>,
    pub(crate) keys: HashMap<(String, String), Position>,
}

impl Stream {
    pub(crate) fn head(&self) -> Position {
        self.at(self.line.len() as u64)
    }

    /// The position at an offset of the present stream.
    pub(crate) fn at(&self, offset: u64) -> Position {
        let before = offset.checked_sub(1);
        let before = before.and_then(|index| self.line.get(index as usize));
        before.copied().unwrap_or(Position::new(self.origin, 0))
    }

    pub(crate) fn state(&self) -> StreamState {
        StreamState {
            head: self.head(),
            first: self.first,
            trimmed: Trimmed::BySize,
        }
    }

    /// The newest publication of each value of the tag `key`; none where that one is empty.
    pub(crate) fn state_values(&self) -> Vec<Arc<Publication>> {
        self.state_at(u64::MAX)
    }

    /// The same as of an offset.
    pub(crate) fn state_at(&self, offset: u64) -> Vec<Arc<Publication>> {
        let mut values: BTreeMap<String, Arc<Publication>> = BTreeMap::new();
        for at in self.line.iter().filter(|at| at.offset <= offset) {
            let publication = &self.all[&(at.epoch.0, at.offset)];
            let key = publication.tags.get(CONFLATION_TAG).unwrap_or_default();
            if publication.data.is_empty() {
                values.remove(key);
            } else {
                values.insert(key.to_owned(), Arc::clone(publication));
            }
        }
        let mut values: Vec<_> = values.into_values().collect();
        values.sort_by_key(|value| value.position.offset);
        values
    }

    pub(crate) fn resolve(&self, asked: Position) -> (Resolution, Position) {
        let head = self.head();
        let known = asked.epoch.0 == self.epoch;
        let end = if known {
            Some(head.offset)
        } else {
            self.ended.get(&asked.epoch.0).copied()
        };
        match end {
            None => (Resolution::UnknownEpoch, self.at(0)),
            Some(end) if asked.offset <= end => (Resolution::Continuous, self.at(asked.offset)),
            Some(_) if known => (Resolution::AheadOfHead, head),
            Some(end) => (Resolution::Diverged, self.at(end)),
        }
    }

    pub(crate) fn read(
        &self,
        from: ReadFrom,
        limit: ReadLimit,
    ) -> (ReadStart, Vec<Arc<Publication>>) {
        let (resolution, agreed) = match from {
            ReadFrom::Start => (Resolution::Continuous, self.at(0)),
            ReadFrom::After(position) => self.resolve(position),
            ReadFrom::Last(count) => {
                let offset = self.head().offset.saturating_sub(count);
                (Resolution::Continuous, self.at(offset))
            }
            ReadFrom::Before(position) => return self.read_before(position, limit),
        };
        let after = self.at(agreed.offset.max(self.first - 1));
        let found = self.line.iter().skip(after.offset as usize);
        let found = found.map(|at| Arc::clone(&self.all[&(at.epoch.0, at.offset)]));
        let start = ReadStart {
            resolution,
            agreed,
            after,
        };
        (start, found.take(limit.count as usize).collect())
    }

    fn read_before(
        &self,
        position: Position,
        limit: ReadLimit,
    ) -> (ReadStart, Vec<Arc<Publication>>) {
        let (resolution, agreed) = match self.resolve(position) {
            (Resolution::Continuous, at) => {
                (Resolution::Continuous, self.at(at.offset.saturating_sub(1)))
            }
            (Resolution::Diverged, end) => (Resolution::Diverged, end),
            (resolution, _) => (resolution, self.head()),
        };
        let known = self.line.iter().take(agreed.offset as usize);
        let found: Vec<_> = known
            .rev()
            .take_while(|at| at.offset >= self.first)
            .take(limit.count as usize)
            .map(|at| Arc::clone(&self.all[&(at.epoch.0, at.offset)]))
            .collect();
        let after = found.last().map_or(agreed, |oldest| oldest.previous);
        let start = ReadStart {
            resolution,
            agreed,
            after,
        };
        (start, found.into_iter().rev().collect())
    }
}
