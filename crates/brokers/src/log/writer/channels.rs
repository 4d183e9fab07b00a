//! Channels as they are on disk, opened when they are used.

use std::panic::{AssertUnwindSafe, catch_unwind};

use offhook_engine::{BrokerFailure, ChannelName, ChannelRules, Epoch, Position};

use super::{Open, Writer};
use crate::log::{
    damage,
    open_error::failure_of,
    record::{decode, offset_of},
    retained::Retained,
    store::Store,
};

/// For what is only counted.
const NOWHERE: Position = Position {
    epoch: Epoch(0),
    offset: 0,
};

impl Writer {
    /// The channel as it is on disk; one without publications gets a number with its first.
    pub(super) fn open(&mut self, channel: &ChannelName) -> Result<&mut Open, BrokerFailure> {
        let used = self.ticks;
        if !self.open.contains_key(channel) {
            let store = self.store.get().ok_or(self.failure)?;
            let rules = self.hub.rules().rules(channel).cloned();
            let rules = rules.ok_or(BrokerFailure::UnknownChannel)?;
            let retained = self.load(&store, channel, &rules)?;
            let told = retained.head;
            self.open.insert(
                channel.clone(),
                Open {
                    rules,
                    retained,
                    told,
                    used,
                    remembered: told,
                },
            );
        }
        let open = self
            .open
            .get_mut(channel)
            .ok_or(BrokerFailure::UnknownChannel)?;
        open.used = used;
        if open.retained.head == 0 {
            open.retained.id = self.channels;
        }
        Ok(open)
    }

    pub(super) fn load(
        &self,
        store: &Store,
        channel: &ChannelName,
        rules: &ChannelRules,
    ) -> Result<Retained, BrokerFailure> {
        let failed = |error: fjall::Error| {
            let failure = failure_of(&error);
            if failure == BrokerFailure::StorageCorrupt {
                let what = format!("what is known of it can't be read: {error}");
                self.condition.damaged(channel, what);
            }
            failure
        };
        let Some(bytes) = store.channel(channel).map_err(failed)? else {
            return Ok(Retained::new(self.channels));
        };
        let origin = self.epochs.origin();
        let mut retained = Retained::decode(&bytes, origin.epoch).ok_or_else(|| {
            let what = "what is known of it can't be read".to_owned();
            self.condition.damaged(channel, what);
            BrokerFailure::StorageCorrupt
        })?;
        let known = retained.head;
        let mut next = retained.unsealed_from();
        loop {
            let scanned = scan(store, channel, rules, &mut retained, &mut next);
            match scanned {
                Err(failure) if failure != BrokerFailure::StorageCorrupt => return Err(failure),
                Ok(()) if next > known => break,
                Ok(()) | Err(_) => {}
            }
            // Publications go on behind what is damaged: at an offset that none of them had.
            self.condition
                .damaged(channel, format!("damaged at offset {next}"));
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
        Ok(retained)
    }
}

/// The newest offset on disk, if that part of it can be read.
fn last_offset(store: &Store, number: u32) -> Option<u64> {
    let last = catch_unwind(AssertUnwindSafe(|| store.last_offset(number)));
    last.ok()?.ok().flatten()
}

/// Counts what no bucket knows yet, up to the end or to what can't be read.
fn scan(
    store: &Store,
    channel: &ChannelName,
    rules: &ChannelRules,
    retained: &mut Retained,
    next: &mut u64,
) -> Result<(), BrokerFailure> {
    let number = retained.id;
    let (from, mut unreadable) = (*next, false);
    let each = |key: &[u8], value: &[u8]| {
        let offset = offset_of(key).unwrap_or(0);
        // Only its size and age count here, not its place.
        let publication = decode(channel, (NOWHERE, NOWHERE), value);
        let Some(publication) = publication.filter(|_| offset == *next) else {
            unreadable = true;
            return false;
        };
        let weight = publication.weight() as u64;
        retained.push(offset, weight, publication.time_ms, &rules.history);
        *next += 1;
        true
    };
    damage::read(store, number, from, each)?;
    if unreadable {
        return Err(BrokerFailure::StorageCorrupt);
    }
    Ok(())
}
