//! What every tick does: open again what failed, forget, trim what is too old.

use std::sync::Arc;

use offhook_engine::{BrokerEvent, ChannelName};

use super::Writer;
use crate::{broker::Health, log::store::Store};

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
        let Some(store) = self.store.get().or_else(|| self.open_again()) else {
            return;
        };
        let now_ms = self.now_ms;
        let window = self.hub.rules().longest_key_window().as_millis() as u64;
        store.forget_keys_before(now_ms.saturating_sub(window));
        let (ticks, hub) = (self.ticks, &self.hub);
        self.open.retain(|name, open| {
            hub.is_followed(name) || open.used.saturating_add(CLOSE_AFTER) > ticks
        });
        self.trim_by_age(&store, now_ms);
    }

    /// The store was closed because a write failed: perhaps it goes now.
    fn open_again(&mut self) -> Option<Arc<Store>> {
        let store = match self.store.reopen() {
            Ok(store) => store,
            Err(error) => {
                self.failed("the log can't be opened again", &error);
                return None;
            }
        };
        self.opened(&store);
        if self.witness.read() > Some(self.batch) {
            self.store.close();
            self.set_health(Health::Corrupt(
                "the disk lost acknowledged publications when it failed; stop the server and \
                 restore the log from a backup, or start it accepting the loss"
                    .to_owned(),
            ));
            return None;
        }
        // What was written but not acknowledged is there now: followers look it up.
        self.hub.tell_all(&BrokerEvent::Lagged);
        Some(store)
    }

    /// Open channels, and some of those on disk, lose what is too old.
    fn trim_by_age(&mut self, store: &Arc<Store>, now_ms: u64) {
        let mut group = store.group();
        for (name, open) in &mut self.open {
            if let Some(old) = open.retained.trim(&open.rules.history, now_ms) {
                group.remove(open.retained.id, old);
                group.remember(name, &open.retained);
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
