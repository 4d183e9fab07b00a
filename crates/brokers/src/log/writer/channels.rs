//! Channels as they are on disk, opened when they are used.

use offhook_engine::{BrokerFailure, ChannelName, ChannelRules};

use super::{Open, Writer};
use crate::{
    broker::Health,
    log::{
        open_error::failure_of,
        record::{decode, offset_of},
        retained::Retained,
        store::Store,
    },
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
        let corrupt = |what: &str| {
            self.set_health(Health::Corrupt(format!(
                "the log can't be read at channel {channel}: {what}; restore it from a backup"
            )));
            BrokerFailure::StorageCorrupt
        };
        let failed = |error: fjall::Error| {
            let failure = failure_of(&error);
            if failure == BrokerFailure::StorageCorrupt {
                return corrupt(&error.to_string());
            }
            failure
        };
        let Some(bytes) = store.channel(channel).map_err(failed)? else {
            return Ok(Retained::new(self.channels));
        };
        let retained = Retained::decode(&bytes, self.epochs.origin().epoch);
        let mut retained = retained.ok_or_else(|| corrupt("what is retained"))?;
        let mut next = retained.unsealed_from();
        let mut unreadable = None;
        let number = retained.id;
        let read = store.read(number, next, |key, value| {
            let offset = offset_of(key).unwrap_or(0);
            let at = |offset| retained.at(&self.epochs, offset);
            let publication = decode(channel, (at(offset.saturating_sub(1)), at(offset)), value);
            let Some(publication) = publication.filter(|_| offset == next) else {
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
            Some(offset) => Err(corrupt(&format!("offset {offset}"))),
            None => Ok(retained),
        }
    }
}
