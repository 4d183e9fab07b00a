//! A channel as it is on disk.

use offhook_engine::{BrokerFailure, ChannelName, ChannelRules};

use super::{
    open_error::failure_of,
    record::{decode, offset_of},
    retained::Retained,
    store::Store,
};
use crate::lineage::Epochs;

/// Why a channel can't be loaded.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) failure: BrokerFailure,
    pub(super) what: String,
}

/// What is retained of a channel; none when nothing was ever published in it.
pub(super) fn load(
    store: &Store,
    channel: &ChannelName,
    rules: &ChannelRules,
    epochs: &Epochs,
) -> Result<Option<Retained>, Unreadable> {
    let failed = |error: fjall::Error| Unreadable {
        failure: failure_of(&error),
        what: error.to_string(),
    };
    let corrupt = |what: String| Unreadable {
        failure: BrokerFailure::StorageCorrupt,
        what,
    };
    let Some(bytes) = store.channel(channel).map_err(failed)? else {
        return Ok(None);
    };
    let retained = Retained::decode(&bytes, epochs.origin().epoch);
    let mut retained = retained.ok_or_else(|| corrupt("what is retained".to_owned()))?;
    let mut next = retained.unsealed_from();
    let mut unreadable = None;
    let number = retained.id;
    let read = store.read(number, next, |key, value| {
        let offset = offset_of(key).unwrap_or(0);
        let at = |offset| retained.at(epochs, offset);
        let place = (at(offset.saturating_sub(1)), at(offset));
        let publication = decode(channel, place, value).filter(|_| offset == next);
        let Some(publication) = publication else {
            unreadable = Some(next);
            return false;
        };
        let weight = publication.weight() as u64;
        retained.push(offset, weight, publication.time_ms, &rules.history);
        next += 1;
        true
    });
    read.map_err(failed)?;
    match unreadable {
        Some(offset) => Err(corrupt(format!("offset {offset}"))),
        None => Ok(Some(retained)),
    }
}
