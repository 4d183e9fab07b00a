//! Reads states: that of one channel, or those of all channels that match a filter, in the order of
//! their names. It reads a few channels or values at a time, so that other reads continue in between.

use std::{
    mem,
    sync::{Arc, Weak},
    time::Duration,
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, ChannelName, Filter, Publication, ReadLimit, RequestId,
};

use super::{
    filters::{literal_prefix, retained},
    open_error::failure_of,
    shared::Shared,
    store::{Moment, Store},
};
use crate::{hub::Page, mailbox::Mailbox};

/// How many channels are checked before other reads have their turn. It takes about a millisecond.
const SLICE: usize = 64;

/// How many values of one state are read before other reads have their turn, and how many bytes of
/// them: a few milliseconds, also if they have to be read from disk.
pub(super) const VALUES: usize = 1024;
const VALUE_BYTES: usize = 1 << 20;

/// The state of one channel that is being read, all of it as it was at one moment.
pub(super) struct Reading {
    /// The store that the moment is of. If it was opened again, the reading begins anew.
    store: Weak<Store>,
    moment: Moment,
    after: Option<Vec<u8>>,
    values: Vec<Arc<Publication>>,
}

impl Reading {
    pub(super) fn new(store: &Arc<Store>) -> Self {
        Self {
            store: Arc::downgrade(store),
            moment: store.moment(),
            after: None,
            values: Vec::new(),
        }
    }

    /// Reads some of the values. Returns all of them, in the order of offsets, once they are read.
    pub(super) fn step(
        &mut self,
        store: &Arc<Store>,
        channel: (u32, &ChannelName),
    ) -> Result<Option<Vec<Arc<Publication>>>, BrokerFailure> {
        if !self.store.ptr_eq(&Arc::downgrade(store)) {
            *self = Self::new(store);
        }
        let (after, limit) = (self.after.as_deref(), (VALUES, VALUE_BYTES));
        let some = store.values_after(&self.moment, channel, after, limit);
        let some = some.map_err(|error| failure_of(&error))?;
        self.values.extend(some.values.into_iter().map(Arc::new));
        self.after = some.last;
        if self.after.is_some() {
            return Ok(None);
        }
        let mut values = mem::take(&mut self.values);
        values.sort_unstable_by_key(|value| value.position.offset);
        Ok(Some(values))
    }
}

/// A channel of a filter whose state is being read.
struct OfFilter {
    channel: ChannelName,
    number: u32,
    age: Option<Duration>,
    reading: Reading,
}

pub(super) struct ValuesJob {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) id: RequestId,
    filter: Filter,
    limit: ReadLimit,
    /// Names on disk up to this one were checked.
    reached: Option<String>,
    /// The channel after that, if its state is being read.
    reading: Option<OfFilter>,
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
            reading: None,
            page: Page::new(limit),
        }
    }

    /// Checks some of the channels, or reads some of the values of one.
    pub(super) fn step(&mut self, shared: &Shared, store: &Arc<Store>) -> Slice {
        if self.reading.is_some() {
            self.read_on(shared, store)?;
            return Ok(None);
        }
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
            self.reading = reading(shared, store, channel)?;
            if !self.read_on(shared, store)? {
                // It is large: other reads have their turn.
                return Ok(None);
            }
        }
        Ok(names.is_empty().then(|| self.end(false)))
    }

    /// Reads some of the values of the channel whose state is being read. Returns whether that was all.
    fn read_on(&mut self, shared: &Shared, store: &Arc<Store>) -> Result<bool, BrokerFailure> {
        let Some(of) = &mut self.reading else {
            return Ok(true);
        };
        let values = of.reading.step(store, (of.number, &of.channel))?;
        let Some(values) = values else {
            return Ok(false);
        };
        let values = not_older(shared, values.into_iter(), of.age);
        if !values.is_empty() {
            self.page.add(&of.channel, values);
        }
        self.reading = None;
        Ok(true)
    }

    fn end(&mut self, more: bool) -> BrokerEvent {
        let page = mem::replace(&mut self.page, Page::new(self.limit));
        let (values, next) = page.end(more);
        let id = self.id;
        BrokerEvent::Values { id, values, next }
    }
}

/// Begins to read the state of a channel, if it has one.
fn reading(
    shared: &Shared,
    store: &Arc<Store>,
    channel: ChannelName,
) -> Result<Option<OfFilter>, BrokerFailure> {
    let rules = shared.hub.rules_of(&channel);
    let Some(rules) = rules.filter(|rules| rules.state.is_kept()) else {
        return Ok(None);
    };
    let Some(retained) = retained(shared, store, &channel)? else {
        return Ok(None);
    };
    Ok(Some(OfFilter {
        channel,
        number: retained.id,
        age: rules.state.age,
        reading: Reading::new(store),
    }))
}

/// The values that are not too old.
pub(super) fn not_older(
    shared: &Shared,
    values: impl Iterator<Item = Arc<Publication>>,
    age: Option<Duration>,
) -> Vec<Arc<Publication>> {
    let ages = shared.hub.ages();
    let oldest_kept = ages.oldest_kept(age);
    values
        .filter(|value| ages.of(value.time_ms, value.sequence) >= oldest_kept)
        .collect()
}
