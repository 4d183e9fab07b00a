//! Loading a channel from disk.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use offhook_engine::{
    BrokerFailure, CONFLATION_TAG, ChannelName, ChannelRules, Epoch, Position, Publication,
};

use super::{
    condition::Condition,
    damage,
    open_error::failure_of,
    record::{decode, offset_of},
    retained::Retained,
    states::Reading,
    store::Store,
};
use crate::{hub::Ages, lineage::Epochs};

/// For data that is only counted.
pub(super) const NOWHERE: Position = Position {
    epoch: Epoch(0),
    offset: 0,
};

/// A channel that the writer requested and that has a state, whose keys the writer needs too: they are
/// read a part at a time.
pub(super) struct StateLoad {
    pub(super) channel: ChannelName,
    retained: Retained,
    /// The value of `Shared::reopened` before it was loaded.
    pub(super) reopened: u64,
    reading: Reading,
}

impl StateLoad {
    pub(super) fn new(
        channel: ChannelName,
        retained: Retained,
        reopened: u64,
        store: &Arc<Store>,
    ) -> Self {
        let reading = Reading::new(store);
        Self {
            channel,
            retained,
            reopened,
            reading,
        }
    }

    /// Reads some of the values. Returns the channel once all of them are read.
    pub(super) fn step(
        &mut self,
        store: &Arc<Store>,
        ages: &Ages,
    ) -> Result<Option<Retained>, BrokerFailure> {
        let number = self.retained.id;
        let Some(values) = self.reading.step(store, (number, &self.channel))? else {
            return Ok(None);
        };
        let mut retained = self.retained.clone();
        for value in &values {
            set_value(&mut retained, value, ages);
        }
        Ok(Some(retained))
    }
}

fn set_value(retained: &mut Retained, value: &Publication, ages: &Ages) {
    let dated_ms = ages.of(value.time_ms, value.sequence);
    let size = (value.weight() as u64, dated_ms);
    if let Some(key) = value.tags.get(CONFLATION_TAG) {
        let values = retained.values.get_or_insert_default();
        values.set(value.position.offset, key, size, ());
    }
}

/// The retained range of a channel, without the keys of its state; none if it never had a publication.
pub(super) fn load(
    store: &Store,
    channel: &ChannelName,
    rules: &ChannelRules,
    (epochs, ages): (&Epochs, &Ages),
    condition: &Condition,
) -> Result<Option<Retained>, BrokerFailure> {
    let failed = |error: fjall::Error| {
        let failure = failure_of(&error);
        if failure == BrokerFailure::StorageCorrupt {
            let what = format!("its entry cannot be read: {error}");
            condition.damaged(channel, what);
        }
        failure
    };
    let Some(bytes) = store.channel(channel).map_err(failed)? else {
        return Ok(None);
    };
    let retained = Retained::decode(&bytes, epochs.origin().epoch);
    let mut retained = retained.ok_or_else(|| {
        let what = "its entry cannot be read".to_owned();
        condition.damaged(channel, what);
        BrokerFailure::StorageCorrupt
    })?;
    let known = retained.head;
    let mut next = retained.unsealed_from();
    loop {
        let scanned = scan(store, channel, (rules, ages), &mut retained, &mut next);
        match scanned {
            Err(failure) if failure != BrokerFailure::StorageCorrupt => return Err(failure),
            Ok(()) if next > known => break,
            Ok(()) | Err(_) => {}
        }
        if first_now(store, channel) > Some(next) {
            // The writer has trimmed it meanwhile: that is no damage.
            return load(store, channel, rules, (epochs, ages), condition);
        }
        // Publications continue after the damaged ones, at an offset that was never used.
        condition.damaged(channel, format!("damaged at offset {next}"));
        let number = retained.id;
        let last = last_offset(store, number).unwrap_or(0).max(known).max(next);
        match damage::next_readable(store, channel, number, next, last) {
            Some(readable) => next = readable,
            None => {
                retained.head = last;
                break;
            }
        }
    }
    Ok(Some(retained))
}

/// The oldest offset that is retained as of now.
fn first_now(store: &Store, channel: &ChannelName) -> Option<u64> {
    let bytes = catch_unwind(AssertUnwindSafe(|| store.channel(channel)));
    let retained = Retained::decode(&bytes.ok()?.ok()??, Epoch(0))?;
    Some(retained.first())
}

/// The newest offset on disk, if that part of it can be read.
fn last_offset(store: &Store, number: u32) -> Option<u64> {
    let last = catch_unwind(AssertUnwindSafe(|| store.last_offset(number)));
    last.ok()?.ok().flatten()
}

/// Counts publications that are in no bucket yet, up to the end or to unreadable data.
fn scan(
    store: &Store,
    channel: &ChannelName,
    (rules, ages): (&ChannelRules, &Ages),
    retained: &mut Retained,
    next: &mut u64,
) -> Result<(), BrokerFailure> {
    let number = retained.id;
    let (from, mut unreadable) = (*next, false);
    let each = |key: &[u8], value: &[u8]| {
        let offset = offset_of(key).unwrap_or(0);
        // Only its size and age matter here, not its position.
        let publication = decode(channel, (NOWHERE, NOWHERE), value);
        let Some(publication) = publication.filter(|_| offset == *next) else {
            unreadable = true;
            return false;
        };
        let weight = publication.weight() as u64;
        let dated_ms = ages.of(publication.time_ms, publication.sequence);
        retained.push(
            offset,
            weight,
            (dated_ms, publication.sequence),
            &rules.history,
        );
        *next += 1;
        true
    };
    damage::read(store, number, from, each)?;
    if unreadable {
        return Err(BrokerFailure::StorageCorrupt);
    }
    Ok(())
}
