//! The states of several channels, by whole channels in the order of their names.

use std::sync::Arc;

use offhook_engine::{ChannelName, Filter, Publication, ReadLimit};

use super::Bus;

/// The states of streams in memory that match a filter, by whole channels in the order of their names,
/// and the last of these channels if there are more.
pub(super) fn values(
    bus: &Bus,
    filter: &Filter,
    after: Option<&ChannelName>,
    limit: ReadLimit,
) -> (Vec<Arc<Publication>>, Option<ChannelName>) {
    let mut page = Page::new(limit);
    for (name, stream) in bus.with_values(filter, after) {
        if page.is_full() {
            return page.end(true);
        }
        page.add(name, stream.values());
    }
    page.end(false)
}

/// States of channels, up to a limit.
#[derive(Debug)]
pub(crate) struct Page {
    limit: ReadLimit,
    bytes: usize,
    values: Vec<Arc<Publication>>,
    last: Option<ChannelName>,
}

impl Page {
    pub(crate) const fn new(limit: ReadLimit) -> Self {
        Self {
            limit,
            bytes: 0,
            values: Vec::new(),
            last: None,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.values.len() >= self.limit.count as usize || self.bytes > self.limit.bytes
    }

    /// Adds the state of a channel.
    pub(crate) fn add(&mut self, channel: &ChannelName, values: Vec<Arc<Publication>>) {
        self.bytes += values.iter().map(|value| value.weight()).sum::<usize>();
        self.values.extend(values);
        self.last = Some(channel.clone());
    }

    /// The values, and the last channel if there are more.
    pub(crate) fn end(self, more: bool) -> (Vec<Arc<Publication>>, Option<ChannelName>) {
        (self.values, self.last.filter(|_| more))
    }
}
