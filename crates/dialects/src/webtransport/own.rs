//! The streams of subscriptions.

use std::collections::HashMap;

use offhook_engine::{ChannelName, SubscriptionId, SubscriptionKey};

/// The streams of subscriptions: of those with a number by their number, of others by their channel.
#[derive(Debug, Default)]
pub(super) struct Own {
    by_number: HashMap<SubscriptionId, u32>,
    by_channel: HashMap<ChannelName, u32>,
    /// How many streams there were.
    opened: u32,
}

impl Own {
    pub(super) fn get(&self, number: Option<SubscriptionId>, channel: &ChannelName) -> Option<u32> {
        match number {
            Some(number) => self.by_number.get(&number).copied(),
            None => self.by_channel.get(channel).copied(),
        }
    }

    pub(super) fn of(&self, key: &SubscriptionKey) -> Option<u32> {
        match key {
            SubscriptionKey::Id(number) => self.by_number.get(number).copied(),
            SubscriptionKey::Target(target) => self.by_channel.get(target.channel()?).copied(),
        }
    }

    pub(super) fn add(&mut self, key: &SubscriptionKey) -> Option<u32> {
        let number = self.opened.checked_add(1)?;
        match key {
            SubscriptionKey::Id(id) => self.by_number.insert(*id, number),
            SubscriptionKey::Target(target) => {
                self.by_channel.insert(target.channel()?.clone(), number)
            }
        };
        self.opened = number;
        Some(number)
    }

    pub(super) fn remove(&mut self, key: &SubscriptionKey) -> Option<u32> {
        match key {
            SubscriptionKey::Id(number) => self.by_number.remove(number),
            SubscriptionKey::Target(target) => self.by_channel.remove(target.channel()?),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len().saturating_add(self.by_channel.len())
    }
}
