//! The states of streams in memory.

use std::ops::Bound;

use offhook_engine::{ChannelName, Filter};

use super::{super::stream::Stream, Bus};

impl Bus {
    /// Streams in memory that were given a value and match a filter, after this name, in order.
    pub(crate) fn with_values<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<&'a ChannelName>,
    ) -> impl Iterator<Item = (&'a ChannelName, &'a Stream)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self
            .with_values
            .range::<ChannelName, _>((after, Bound::Unbounded));
        let matching = names.filter(|name| filter.matches(name));
        matching.filter_map(|name| Some((name, self.streams.get(name)?)))
    }
}
