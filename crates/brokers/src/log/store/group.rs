//! The writes of one group: durable with one fsync, as a whole or not at all.

use std::{collections::HashMap, ops::RangeInclusive, sync::Arc};

use fjall::OwnedWriteBatch;
use offhook_engine::{ChannelName, Draft, Place};

use super::{
    super::{
        record::{
            cursor_entry, encode, key_entry, log_key, removal_entry, removal_key, session_entry,
            session_key, value_entry, value_key,
        },
        retained::Retained,
    },
    BATCH, CHANNELS, Newest, Store,
    ages::CLOCK,
    rules::RULES,
};
use crate::{
    cursors::Cursor,
    hub::{Ages, Change},
};

/// The writes that one fsync will cover, as a whole or not at all.
pub(in crate::log) struct Group {
    batch: OwnedWriteBatch,
    store: Arc<Store>,
    /// Keys that are only in this group so far.
    keys: HashMap<Vec<u8>, u64>,
    /// Cursors that are only in this group so far; none for one that was evicted.
    cursors: HashMap<Vec<u8>, Option<Cursor>>,
    /// The buffer in which each record is encoded.
    record: Vec<u8>,
    size: Size,
}

/// How much there is in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::log) struct Size {
    /// Publications, and their bytes.
    pub(in crate::log) published: u64,
    pub(in crate::log) bytes: u64,
    /// Publications that are removed.
    pub(in crate::log) removed: u64,
}

impl Group {
    pub(super) fn new(batch: OwnedWriteBatch, store: Arc<Store>) -> Self {
        Self {
            batch,
            store,
            keys: HashMap::new(),
            cursors: HashMap::new(),
            record: Vec::new(),
            size: Size::default(),
        }
    }

    /// Records the rules that apply from now on, together with earlier ones.
    pub(in crate::log) fn remember_rules(&mut self, rules: &[u8]) {
        self.batch.insert(&self.store.node, RULES, rules);
    }

    pub(in crate::log) const fn size(&self) -> Size {
        self.size
    }

    pub(in crate::log) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The publication made with a key before this group.
    pub(in crate::log) fn published_before(&self, key: &[u8]) -> fjall::Result<Option<(u64, u64)>> {
        self.store.published(key)
    }

    /// The offset of this group's publication with a key.
    pub(in crate::log) fn published(&self, key: &[u8]) -> Option<u64> {
        self.keys.get(key).copied()
    }

    pub(in crate::log) fn publish(
        &mut self,
        channel: u32,
        (offset, sequence): (u64, u64),
        draft: &Draft,
        kept: bool,
    ) {
        encode(draft, sequence, &mut self.record);
        self.size.published += 1;
        self.size.bytes += self.record.len() as u64;
        if kept {
            self.batch
                .insert(&self.store.log, log_key(channel, offset), &*self.record);
        }
    }

    /// Makes the last publication the value of a key.
    pub(in crate::log) fn set_value(&mut self, channel: u32, key: &str, place: Place) {
        let entry = value_entry(place, &self.record);
        self.batch
            .insert(&self.store.node, value_key(channel, key), entry);
    }

    pub(in crate::log) fn remove_value(&mut self, channel: u32, key: &str) {
        self.batch.remove(&self.store.node, value_key(channel, key));
    }

    pub(in crate::log) fn remember_key(&mut self, key: Vec<u8>, offset: u64, now_ms: u64) {
        self.batch
            .insert(&self.store.keys, &*key, key_entry(offset, now_ms));
        self.keys.insert(key, offset);
    }

    /// A cursor, including this group's changes.
    pub(in crate::log) fn cursor(&self, key: &[u8]) -> fjall::Result<Option<Cursor>> {
        match self.cursors.get(key) {
            Some(staged) => Ok(*staged),
            None => self.store.cursor(key),
        }
    }

    /// All cursors whose key starts with `prefix`, including this group's changes.
    pub(in crate::log) fn cursors(&self, prefix: &[u8]) -> fjall::Result<Vec<(Vec<u8>, Cursor)>> {
        let mut all: HashMap<_, _> = self.store.cursors(prefix)?.into_iter().collect();
        for (key, staged) in &self.cursors {
            if !key.starts_with(prefix) {
                continue;
            }
            match staged {
                Some(cursor) => all.insert(key.clone(), *cursor),
                None => all.remove(key),
            };
        }
        Ok(all.into_iter().collect())
    }

    pub(in crate::log) fn move_cursor(&mut self, key: Vec<u8>, cursor: Cursor) {
        self.batch
            .insert(&self.store.cursors, &*key, cursor_entry(cursor));
        self.cursors.insert(key, Some(cursor));
    }

    pub(in crate::log) fn forget_cursor(&mut self, key: Vec<u8>) {
        self.batch.remove(&self.store.cursors, &*key);
        self.cursors.insert(key, None);
    }

    pub(in crate::log) fn remember(&mut self, name: &ChannelName, retained: &Retained) {
        self.batch
            .insert(&self.store.channels, name.as_str(), retained.encode());
    }

    pub(in crate::log) fn remember_session(&mut self, (session, saved): &Change) {
        let key = session_key(*session);
        match saved {
            Some(saved) => self
                .batch
                .insert(&self.store.node, key, session_entry(saved)),
            None => self.batch.remove(&self.store.node, key),
        }
    }

    pub(in crate::log) fn remember_channel_count(&mut self, count: u32) {
        self.batch
            .insert(&self.store.node, CHANNELS, u64::from(count).to_be_bytes());
    }

    pub(in crate::log) fn remember_ages(&mut self, ages: &Ages) {
        self.batch.insert(&self.store.node, CLOCK, ages.encode());
    }

    pub(in crate::log) fn remove(&mut self, channel: u32, offsets: RangeInclusive<u64>) {
        for offset in offsets {
            self.batch.remove(&self.store.log, log_key(channel, offset));
            self.size.removed += 1;
        }
    }

    /// Stores which offsets of a channel remain to be removed.
    pub(in crate::log) fn remember_removal(
        &mut self,
        channel: u32,
        offsets: Option<&RangeInclusive<u64>>,
    ) {
        let key = removal_key(channel);
        match offsets {
            Some(offsets) => self
                .batch
                .insert(&self.store.node, key, removal_entry(offsets)),
            None => self.batch.remove(&self.store.node, key),
        }
    }

    pub(in crate::log) fn commit(mut self, newest: Newest) -> fjall::Result<()> {
        self.batch.insert(&self.store.node, BATCH, newest.encode());
        self.batch.commit()
    }
}
