//! Reads the states of all channels that match a filter, in the order of their names. It reads a
//! few channels at a time, so that other reads continue in between.

use std::{mem, sync::Arc};

use offhook_engine::{
    BrokerEvent, BrokerFailure, ChannelName, Filter, Publication, ReadLimit, RequestId,
};

use super::{
    filters::{literal_prefix, retained},
    open_error::failure_of,
    shared::Shared,
    store::Store,
};
use crate::{hub::Page, mailbox::Mailbox};

/// How many channels are checked before other reads have their turn. It takes about a millisecond.
const SLICE: usize = 64;

pub(super) struct ValuesJob {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) id: RequestId,
    filter: Filter,
    limit: ReadLimit,
    /// Names on disk up to this one were checked.
    reached: Option<String>,
    page: Page,
}

/// The result of a slice of a job; none if the job continues after other reads had their turn.
type Slice = Result<Option<BrokerEvent>, BrokerFailure>;

impl ValuesJob {
    pub(super) fn new(
        mailbox: Arc<Mailbox>,
        id: RequestId,
        filter: Filter,
        after: Option<ChannelName>,
        limit: ReadLimit,
    ) -> Self {
        Self {
            mailbox,
            id,
            filter,
            limit,
            reached: after.map(|after| after.as_str().to_owned()),
            page: Page::new(limit),
        }
    }

    /// Checks some of the channels.
    pub(super) fn step(&mut self, shared: &Shared, store: &Store) -> Slice {
        let prefix = literal_prefix(&self.filter).to_owned();
        let names = match &self.reached {
            Some(reached) => store.channels_after(reached, SLICE),
            None => store.channels_from(&prefix, SLICE),
        };
        let names = names.map_err(|error| failure_of(&error))?;
        for name in &names {
            if !name.starts_with(&prefix) {
                return Ok(Some(self.end(false)));
            }
            self.reached = Some(name.clone());
            let Ok(channel) = ChannelName::new(name) else {
                continue;
            };
            if !self.filter.matches(&channel) {
                continue;
            }
            if self.page.is_full() {
                return Ok(Some(self.end(true)));
            }
            let values = values(shared, store, &channel)?;
            if !values.is_empty() {
                self.page.add(&channel, values);
            }
        }
        Ok(names.is_empty().then(|| self.end(false)))
    }

    fn end(&mut self, more: bool) -> BrokerEvent {
        let page = mem::replace(&mut self.page, Page::new(self.limit));
        let (values, next) = page.end(more);
        let id = self.id;
        BrokerEvent::Values { id, values, next }
    }
}

/// The state of a channel, in the order of offsets.
fn values(
    shared: &Shared,
    store: &Store,
    channel: &ChannelName,
) -> Result<Vec<Arc<Publication>>, BrokerFailure> {
    let rules = shared.hub.rules_of(channel);
    let Some(rules) = rules.filter(|rules| rules.state.is_kept()) else {
        return Ok(Vec::new());
    };
    let Some(retained) = retained(shared, store, channel)? else {
        return Ok(Vec::new());
    };
    of_channel(shared, store, channel, retained.id, rules.state.age)
}

/// The values of a channel that are not too old, in the order of offsets.
pub(super) fn of_channel(
    shared: &Shared,
    store: &Store,
    channel: &ChannelName,
    number: u32,
    age: Option<std::time::Duration>,
) -> Result<Vec<Arc<Publication>>, BrokerFailure> {
    let all = store.values(number, channel);
    let all = all.map_err(|error| failure_of(&error))?;
    let mut values = not_older(shared, all.into_iter().map(Arc::new), age);
    values.sort_unstable_by_key(|value| value.position.offset);
    Ok(values)
}

/// The values that are not too old.
pub(super) fn not_older(
    shared: &Shared,
    values: impl Iterator<Item = Arc<Publication>>,
    age: Option<std::time::Duration>,
) -> Vec<Arc<Publication>> {
    let age = age.map_or(u64::MAX, |age| age.as_millis() as u64);
    let oldest_kept = shared.hub.bus().now().unix_ms.saturating_sub(age);
    values
        .filter(|value| value.time_ms >= oldest_kept)
        .collect()
}
