//! The values of channels' states.

use std::ops::Bound;

use fjall::{Readable, Snapshot};
use offhook_engine::{ChannelName, Publication};

use super::{
    super::record::{read_value, value_key, value_keys},
    Store,
};

/// The store at one moment: reads from it do not see later writes.
pub(in crate::log) struct Moment(Snapshot);

/// Some values of a state.
pub(in crate::log) struct SomeValues {
    pub(in crate::log) values: Vec<Publication>,
    /// The key in the store of the last one; none if there are no more.
    pub(in crate::log) last: Option<Vec<u8>>,
}

impl Store {
    /// The store as it is now.
    pub(in crate::log) fn moment(&self) -> Moment {
        Moment(self.db.snapshot())
    }

    /// The values of a channel's state at a moment, in the order of their keys, after a key in the
    /// store: so many, or as many as have so many bytes.
    pub(in crate::log) fn values_after(
        &self,
        moment: &Moment,
        (number, channel): (u32, &ChannelName),
        after: Option<&[u8]>,
        (count, bytes): (usize, usize),
    ) -> fjall::Result<SomeValues> {
        let first = value_key(number, "");
        let from = after.map_or(Bound::Included(&*first), Bound::Excluded);
        let end = match number.checked_add(1) {
            Some(next) => value_key(next, ""),
            None => value_keys().end.to_vec(),
        };
        let (mut values, mut taken, mut size) = (Vec::new(), 0, 0);
        let range = (from, Bound::Excluded(&*end));
        for guard in moment.0.range::<&[u8], _>(&self.node, range) {
            let (key, value) = guard.into_inner()?;
            taken += 1;
            size += value.len();
            values.extend(read_value(channel, &value));
            if taken >= count || size >= bytes {
                let last = Some(key.to_vec());
                return Ok(SomeValues { values, last });
            }
        }
        Ok(SomeValues { values, last: None })
    }
}
