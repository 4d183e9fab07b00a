//! The work of every tick: reopen the store after a failure, forget unused channels, trim old
//! publications. A tick examines only some of the channels, so that no publication waits for it.

use std::sync::{Arc, atomic::Ordering};

use offhook_engine::{BrokerEvent, BrokerFailure, ChannelName};

use super::Writer;
use crate::{
    hub::shrink,
    log::{
        read_queue::Load,
        retained::Retained,
        store::{Group, Store},
    },
};

/// How many channels in use one tick examines: about a millisecond.
const LOOKED_AT: usize = 1024;
/// After this many ticks without a publication, a channel is closed in memory.
const CLOSE_AFTER: u64 = 600;

impl Writer {
    pub(super) fn opened(&mut self, store: &Store) {
        if let Ok(newest) = store.newest() {
            self.batch = newest.batch;
            self.recorded = newest.sequence;
            // A batch may be written before the first publication: it must not record less than this.
            self.sequence = self.sequence.max(newest.sequence);
        }
        self.numbered = store.channel_count().unwrap_or(self.numbered);
        let disk = &self.shared.disk;
        disk.channels.store(self.numbered, Ordering::Relaxed);
        self.removals = store.removals().unwrap_or_default();
        self.measure(store);
    }

    /// Looks how much of the disk the log takes, and whether it may.
    fn measure(&mut self, store: &Store) {
        let Ok(bytes) = store.disk_bytes() else {
            return;
        };
        self.shared.disk.bytes.store(bytes, Ordering::Relaxed);
        let most = self.budget.disk_bytes;
        self.over_budget = most.is_some_and(|most| bytes > most);
        let over = most.filter(|_| self.over_budget);
        self.condition.over_budget(over.map(|most| {
            format!(
                "the log takes {bytes} bytes of the disk; storage.disk_bytes allows {most}: raise it, \
                 or keep less history; publications are refused until then"
            )
        }));
    }

    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        self.keep_up();
        let Some(store) = self.store.writable().or_else(|| self.open_again()) else {
            return;
        };
        self.look_after_files(&store);
        self.measure(&store);
        let now_ms = self.now_ms;
        let window = self.shared.hub.rules().longest_key_window().as_millis() as u64;
        store.forget_keys_before(now_ms.saturating_sub(window));
        store.forget_cursors_at(now_ms);
        self.tend(&store);
        self.tend_background(store);
        // Channels that are not in use are only on disk: the reader searches them.
        self.shared.reads.load(Load::Sweep);
    }

    /// Keeps the manifest up to date, and retries a witness that could not be written.
    fn look_after_files(&mut self, store: &Store) {
        if let Err(why) = self.files.inventory.look(store) {
            self.condition.failing(why);
            return;
        }
        if self.condition.is_failing() && self.files.witness.write(self.batch).is_ok() {
            self.condition.recovered();
        }
    }

    /// Opens the store again, if `quietly` without its background work. None if that fails, or if
    /// acknowledged publications are missing: then it stays closed until an operator acts, because
    /// new publications would get the positions of the lost ones.
    pub(super) fn reopen(&mut self, quietly: bool) -> Option<Arc<Store>> {
        let store = match self.store.reopen(self.batch, quietly) {
            Ok(store) => store,
            Err(error) => {
                self.failed("the log cannot be opened again", &error);
                return None;
            }
        };
        if store
            .newest()
            .is_ok_and(|newest| newest.batch >= self.batch)
        {
            return Some(store);
        }
        drop(store);
        self.store.close();
        self.lost = true;
        self.failure = BrokerFailure::StorageCorrupt;
        self.channels.clear();
        self.upkeep.clear();
        self.condition.broken(
            "the disk lost acknowledged publications when it failed; stop the server and \
             restore the log from a backup, or start it with storage.accept_loss = true"
                .to_owned(),
        );
        None
    }

    /// The store was closed because a write failed: tries to open it again.
    fn open_again(&mut self) -> Option<Arc<Store>> {
        if self.lost || self.store.try_disk().is_err() {
            return None;
        }
        let suspended = self.background.is_suspended(self.ticks);
        let store = self.reopen(suspended)?;
        self.shared.reopened.fetch_add(1, Ordering::SeqCst);
        // The state that was read does not include the latest writes.
        self.channels.clear();
        self.upkeep.clear();
        self.opened(&store);
        self.opened_again();
        // Reports whether the store accepts writes again, without waiting for a publication.
        self.commit(store.group()).ok()?;
        // Data that was written but not acknowledged is now present: followers look it up.
        let newest = store.newest().map_or(u64::MAX, |newest| newest.sequence);
        let mut bus = self.shared.hub.bus();
        bus.recent.reset(newest);
        bus.forget_durable();
        bus.tell_all(&BrokerEvent::Lagged);
        Some(store)
    }

    /// Closes channels that are not in use, and trims old publications in the others.
    fn tend(&mut self, store: &Arc<Store>) {
        let mut group = store.group();
        for _ in 0..LOOKED_AT.min(self.upkeep.len()) {
            let Some(name) = self.upkeep.pop_front() else {
                break;
            };
            let Some(channel) = self.channels.get_mut(&name) else {
                continue;
            };
            let idle = channel.used.saturating_add(CLOSE_AFTER) <= self.ticks;
            // If the newest publications were damaged, only the channel's entry would tell which
            // offsets were assigned: a channel is therefore closed only with its head saved.
            let known = channel.remembered == channel.retained.head;
            if idle && known {
                self.channels.remove(&name);
                continue;
            }
            let history = &channel.rules.history;
            let old = channel.retained.trim(history, self.ages.now_ms());
            if old.is_some() || idle {
                group.remember(&name, &channel.retained);
                channel.remembered = channel.retained.head;
            }
            let number = channel.retained.id;
            if let Some(old) = old {
                self.shared.trimmed(&name, &channel.retained, history);
                self.remove_later(&mut group, number, old);
            }
            self.upkeep.push_back(name);
        }
        self.remove_some(&mut group);
        shrink(&mut self.channels);
        if !group.is_empty() {
            // A failure is reported by health, and retried with the next tick.
            let _told = self.commit(group);
        }
    }

    /// The reader found old publications in a channel that was not in use at the time.
    pub(super) fn trim_swept(
        &mut self,
        group: &mut Group,
        name: &ChannelName,
        mut retained: Retained,
    ) {
        let rules = self.shared.hub.rules_of(name);
        let Some(rules) = rules.filter(|_| !self.channels.contains_key(name)) else {
            return;
        };
        if let Some(old) = retained.trim(&rules.history, self.ages.now_ms()) {
            self.remove_later(group, retained.id, old);
            group.remember(name, &retained);
            self.shared.trimmed(name, &retained, &rules.history);
        }
    }
}
