//! What others than workers learn of channels: changes, and which are occupied.

use std::sync::Arc;

use offhook_engine::{BrokerEvent, PresenceChange};

use super::{Hub, members::Members};
use crate::{
    broker::Occupied,
    changes::{Changes, ChannelChange},
};

impl Hub {
    pub(crate) fn observe(&self, changes: Arc<Changes>) {
        self.bus().observe(changes);
    }

    pub(crate) fn occupied(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Occupied> {
        let registry = self.registry();
        let names = self.bus().followed(prefix, after, limit);
        let occupied = names.into_iter().map(|channel| Occupied {
            members: registry.members.count(&channel),
            users: registry.members.users(&channel),
            channel,
        });
        occupied.collect()
    }

    /// Called with the registry's lock held, so that joins and leaves are delivered in order.
    pub(super) fn tell_changes(
        &self,
        all: &Members,
        changes: impl IntoIterator<Item = PresenceChange>,
    ) {
        for change in changes {
            let channel = change.channel.clone();
            let change = Arc::new(change);
            let event = BrokerEvent::Presence(Arc::clone(&change));
            let bus = self.bus();
            bus.tell_observers(|| ChannelChange::Member {
                change,
                members: all.count(&channel),
            });
            bus.tell_followers(&channel, &event);
        }
    }
}
