//! Puts a publication into the group that is committed next.

use std::sync::{Arc, atomic::Ordering};

use offhook_engine::{BrokerFailure, Draft, Place, Position, State};

use super::{
    super::{open_error::failure_of, record::idempotency_key, retained::Retained, store::Group},
    Channel, Outcome, Writer, telling,
};
use crate::lineage::Epochs;

impl Writer {
    pub(super) fn stage_publish(
        &mut self,
        group: &mut Group,
        draft: Box<Draft>,
    ) -> Result<Outcome, BrokerFailure> {
        let (now_ms, stamp_ms) = (self.now_ms, self.stamp_ms);
        let epochs = Arc::clone(&self.epochs);
        if self.over_budget {
            return Err(BrokerFailure::StorageFull);
        }
        if self.background.stuck {
            return Err(BrokerFailure::StorageCorrupt);
        }
        let next_number = self.numbered;
        let most_channels = self.budget.channels;
        let sequence = self.next_sequence();
        let (dated_ms, aged_ms) = (self.ages.of(draft.time_ms, sequence), self.ages.now_ms());
        let shared = Arc::clone(&self.shared);
        let channel = self.channel(&draft.channel)?;
        let number = channel.retained.id;
        if number == next_number && number >= most_channels {
            return Err(BrokerFailure::TooManyChannels);
        }
        let key = draft.key.as_ref();
        let key = key.map(|key| idempotency_key(number, &draft.key_scope(), key));
        if let Some(key) = &key
            && let Some(before) = published_before(group, channel, &epochs, key, now_ms)?
        {
            return Ok(before);
        }
        let retained = &mut channel.retained;
        let previous = retained.at(&epochs, retained.head);
        let offset = previous.offset + 1;
        let history = &channel.rules.history;
        let kept = history.is_kept();
        group.publish(number, (offset, sequence), &draft, kept);
        if let Some(key) = key {
            group.remember_key(key, offset, stamp_ms);
        }
        let begins = retained.lineage.is_new(epochs.current());
        if begins {
            Arc::make_mut(&mut retained.lineage).publish(epochs.current(), offset);
        }
        let sealed = if kept {
            let weight = draft.weight() as u64;
            retained.push(offset, weight, (dated_ms, sequence), history)
        } else {
            retained.pass(offset, sequence);
            true
        };
        let old = sealed.then(|| retained.trim(history, aged_ms)).flatten();
        if old.is_some() {
            // Before it goes: who finds it gone is to know why.
            shared.trimmed(&draft.channel, retained, history);
        }
        let place = Place {
            position: Position {
                epoch: epochs.current(),
                offset,
            },
            previous,
            sequence,
        };
        if channel.rules.state.is_kept() {
            let times = (dated_ms, aged_ms);
            set_value(group, retained, &channel.rules.state, &draft, place, times);
        }
        if sealed || begins {
            group.remember(&draft.channel, retained);
            channel.remembered = offset;
        }
        if let Some(old) = old {
            self.remove_later(group, number, old);
        }
        if number == next_number {
            self.numbered += 1;
            group.remember_channel_count(self.numbered);
            self.shared
                .disk
                .channels
                .store(self.numbered, Ordering::Relaxed);
        }
        self.sequence = sequence;
        self.staged += 1;
        Ok(Outcome::Published { draft, place })
    }

    /// The number of the next publication of the batch. The first of each slice leaves room.
    fn next_sequence(&self) -> u64 {
        let begins_slice = self.staged.is_multiple_of(telling::SLICE);
        self.sequence + 1 + if begins_slice { self.room } else { 0 }
    }
}

/// The last publication in the group becomes the value of its key, or removes it.
fn set_value(
    group: &mut Group,
    retained: &mut Retained,
    rule: &State,
    draft: &Draft,
    place: Place,
    (dated_ms, now_ms): (u64, u64),
) {
    let number = retained.id;
    let key = draft.state_key();
    // A channel whose publications have no key takes no memory for its state.
    if key.is_none() && retained.values.is_none() {
        return;
    }
    let values = retained.values.get_or_insert_default();
    match key {
        Some(key) if draft.removes_state() && values.remove(key) => {
            group.remove_value(number, key);
        }
        Some(_) if draft.removes_state() => {}
        Some(key) => {
            let size = (draft.weight() as u64, dated_ms);
            values.set(place.position.offset, key, size, ());
            group.set_value(number, key, place);
        }
        None => {}
    }
    for key in values.trim(rule, now_ms) {
        group.remove_value(number, &key);
    }
}

/// The publication that already has this key, in this group or within the key's window.
fn published_before(
    group: &Group,
    channel: &Channel,
    epochs: &Epochs,
    key: &[u8],
    now_ms: u64,
) -> Result<Option<Outcome>, BrokerFailure> {
    let at = |offset| channel.retained.at(epochs, offset);
    if let Some(offset) = group.published(key) {
        return Ok(Some(Outcome::Repeated(at(offset))));
    }
    let before = group
        .published_before(key)
        .map_err(|error| failure_of(&error))?;
    let window = channel.rules.key_window.as_millis() as u64;
    let before = before.filter(|(_, time_ms)| time_ms.saturating_add(window) >= now_ms);
    Ok(before.map(|(offset, _)| Outcome::Before(at(offset))))
}
