//! Loading channels for the writer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use offhook_engine::{BrokerFailure, ChannelName};

use super::{
    super::{loading::StateLoad, queue::Job, retained::Retained},
    Reader,
};

impl Reader {
    pub(super) fn load_for_writer(&self, channel: ChannelName) {
        let reopened = self.shared.reopened();
        let found = self.find_guarded(&channel);
        let rules = self.shared.hub.rules_of(&channel);
        let has_state = rules.is_some_and(|rules| rules.state.is_kept());
        if has_state
            && let Ok(Some(retained)) = &found
            && let Some(store) = self.store.get()
        {
            let load = StateLoad::new(channel, retained.clone(), reopened, &store);
            return self.load_state(Box::new(load));
        }
        let found = found.map(|found| found.map(Box::new));
        self.loaded_for_writer(channel, found, reopened);
    }

    /// Reads some of a state that the writer needs: it goes on behind all others.
    pub(super) fn load_state(&self, mut load: Box<StateLoad>) {
        let found = catch_unwind(AssertUnwindSafe(|| {
            let store = self.store.get().ok_or(BrokerFailure::StorageFailed)?;
            load.step(&store, &self.shared.hub.ages())
        }));
        let found = match found.unwrap_or(Err(BrokerFailure::StorageCorrupt)) {
            Ok(Some(retained)) => Ok(Some(Box::new(retained))),
            Ok(None) => return self.shared.reads.load_state(load),
            Err(failure) => Err(failure),
        };
        if found == Err(BrokerFailure::StorageCorrupt) {
            let what = "its state cannot be read".to_owned();
            self.condition.damaged(&load.channel, what);
        }
        self.loaded_for_writer(load.channel, found, load.reopened);
    }

    fn loaded_for_writer(
        &self,
        channel: ChannelName,
        found: Result<Option<Box<Retained>>, BrokerFailure>,
        reopened: u64,
    ) {
        self.shared.jobs.put_always(Job::Loaded {
            channel,
            found,
            reopened,
        });
    }
}
