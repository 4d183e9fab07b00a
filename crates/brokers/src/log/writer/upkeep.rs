//! What every tick does: open again what failed, forget, trim what is too old.

use std::sync::Arc;

use offhook_engine::{BrokerEvent, ChannelName};

use super::Writer;
use crate::log::store::Store;

/// Channels on disk that one tick looks at for what is too old.
const SWEEP: usize = 64;
/// Ticks after which a channel that nobody follows or uses is closed in memory.
const CLOSE_AFTER: u64 = 600;

impl Writer {
    pub(super) fn opened(&mut self, store: &Store) {
        self.batch = store.newest().map_or(self.batch, |newest| newest.batch);
        self.channels = store.channel_count().unwrap_or(self.channels);
    }

    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        let Some(store) = self.store.writable().or_else(|| self.open_again()) else {
            return;
        };
        let now_ms = self.now_ms;
        let window = self.hub.rules().longest_key_window().as_millis() as u64;
        store.forget_keys_before(now_ms.saturating_sub(window));
        self.look_after_files(&store);
        self.trim_by_age(&store, now_ms);
        self.close_unused();
    }

    /// Keeps the manifest true, and tries a witness again that could not be written.
    fn look_after_files(&mut self, store: &Store) {
        if let Err(why) = self.files.inventory.look(store) {
            self.condition.failing(why);
            return;
        }
        if self.condition.is_failing() && self.files.witness.write(self.batch).is_ok() {
            self.condition.recovered();
        }
    }

    /// Channels that nobody uses go from memory; none whose head is in no entry: should what is
    /// newest be damaged, its entry alone tells which offsets were given.
    fn close_unused(&mut self) {
        let (ticks, hub) = (self.ticks, &self.hub);
        self.open.retain(|name, open| {
            hub.is_followed(name)
                || open.used.saturating_add(CLOSE_AFTER) > ticks
                || open.remembered < open.retained.head
        });
    }

    /// The store was closed because a write failed: perhaps it goes now.
    fn open_again(&mut self) -> Option<Arc<Store>> {
        if self.store.try_disk().is_err() {
            return None;
        }
        let store = match self.store.reopen(self.batch) {
            Ok(store) => store,
            Err(error) => {
                self.failed("the log can't be opened again", &error);
                return None;
            }
        };
        // What was read meanwhile was without what was written last.
        self.open.clear();
        let acknowledged = self.batch;
        self.opened(&store);
        if acknowledged > self.batch {
            self.store.close();
            self.condition.broken(
                "the disk lost acknowledged publications when it failed; stop the server and \
                 restore the log from a backup, or start it with storage.accept_loss = true"
                    .to_owned(),
            );
            return None;
        }
        // Says whether it takes writes again, without waiting for somebody to publish.
        self.commit(store.group()).ok()?;
        // What was written but not acknowledged is there now: followers look it up.
        self.hub.tell_all(&BrokerEvent::Lagged);
        Some(store)
    }

    /// Open channels, and some of those on disk, lose what is too old.
    fn trim_by_age(&mut self, store: &Arc<Store>, now_ms: u64) {
        let mut group = store.group();
        for (name, open) in &mut self.open {
            let old = open.retained.trim(&open.rules.history, now_ms);
            let idle = open.used.saturating_add(CLOSE_AFTER) <= self.ticks;
            if old.is_some() || idle && open.remembered < open.retained.head {
                group.remember(name, &open.retained);
                open.remembered = open.retained.head;
            }
            if let Some(old) = old {
                group.remove(open.retained.id, old);
            }
        }
        let names = store.channels_after(&self.swept, SWEEP).unwrap_or_default();
        self.swept = names.last().cloned().unwrap_or_default();
        for name in names {
            let Ok(name) = ChannelName::new(&name) else {
                continue;
            };
            let Some(rules) = self.hub.rules().rules(&name) else {
                continue;
            };
            if self.open.contains_key(&name) {
                continue;
            }
            let Ok(mut retained) = self.load(store, &name, rules) else {
                continue;
            };
            if let Some(old) = retained.trim(&rules.history, now_ms) {
                group.remove(retained.id, old);
                group.remember(&name, &retained);
            }
        }
        if !group.is_empty() {
            // Failing is told by health, and tried again with the next tick.
            let _told = self.commit(group);
        }
    }
}
