//! Where in a channel a reader of a filter begins.

use offhook_engine::BrokerFailure;

use super::{super::open_error::failure_of, super::retained::Retained, super::store::Store, Merge};

impl Merge {
    /// The first retained offset with a higher sequence number, and the channel as it was then. What
    /// is trimmed during the search looks as if it were newer: then the channel is examined again.
    pub(super) fn first_newer(
        &self,
        store: &Store,
        mut retained: Retained,
        start_of: impl Fn(&Retained) -> u64,
        examine: impl Fn() -> Result<Option<Retained>, BrokerFailure>,
    ) -> Result<(Retained, u64), BrokerFailure> {
        #[cfg(test)]
        if let Some(gate) = &self.before_search {
            gate();
        }
        loop {
            let first = self.first_after(store, &retained, start_of(&retained))?;
            if first > retained.head {
                return Ok((retained, first));
            }
            let sequence = store.sequence_at(retained.id, first);
            if sequence.map_err(|error| failure_of(&error))?.is_some() {
                return Ok((retained, first));
            }
            match examine()? {
                Some(now) if start_of(&now) > start_of(&retained) => retained = now,
                // It is damaged.
                _ => return Ok((retained, first)),
            }
        }
    }

    /// The first offset, from this one on, with a higher sequence number.
    fn first_after(
        &self,
        store: &Store,
        retained: &Retained,
        first: u64,
    ) -> Result<u64, BrokerFailure> {
        let (mut low, mut high) = (first, retained.head + 1);
        // Most channels have nothing new.
        if low < high && !self.is_newer(store, retained, high - 1)? {
            return Ok(high);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.is_newer(store, retained, middle)? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// A publication that cannot be read counts as newer: it is reported as a gap when the search
    /// meets it.
    fn is_newer(
        &self,
        store: &Store,
        retained: &Retained,
        offset: u64,
    ) -> Result<bool, BrokerFailure> {
        let sequence = store.sequence_at(retained.id, offset);
        let sequence = sequence.map_err(|error| failure_of(&error))?;
        Ok(sequence.is_none_or(|sequence| sequence > self.after))
    }

    /// The number of the newest publication before the oldest retained one, if it is newer.
    pub(super) fn missing_before(
        &self,
        store: &Store,
        retained: &Retained,
        first: u64,
    ) -> Result<Option<u64>, BrokerFailure> {
        if first <= 1 {
            return Ok(None);
        }
        let sequence = store.sequence_at(retained.id, first - 1);
        let sequence = sequence.map_err(|error| failure_of(&error))?;
        let sequence = sequence.unwrap_or(retained.trimmed_sequence);
        Ok((sequence > self.after).then_some(sequence))
    }
}
