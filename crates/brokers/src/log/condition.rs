//! How the log is, as its threads find it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use offhook_engine::ChannelName;

use crate::broker::Health;

/// Damaged channels that are named; of more, only the count is told.
const NAMED: usize = 20;
/// Damaged channels that are remembered: their names are all that they cost.
const REMEMBERED: usize = 10_000;

/// Shared by the threads of a log.
#[derive(Debug, Default)]
pub(super) struct Condition(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    /// Why nothing can be stored now.
    failing: Option<String>,
    /// The store's own work is suspended.
    suspended: Option<String>,
    /// The log is larger than it may be.
    over_budget: Option<String>,
    /// What an operator has to mend before anything can be stored again.
    broken: Option<String>,
    /// What can't be read, by channel.
    damaged: BTreeMap<ChannelName, String>,
    /// The same, outside of channels.
    damaged_index: Option<String>,
}

impl Condition {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing can be stored; it is tried again.
    pub(super) fn failing(&self, why: String) {
        self.found().failing = Some(why);
    }

    /// Nothing can be stored until an operator has done something.
    pub(super) fn broken(&self, why: String) {
        self.found().broken = Some(why);
    }

    /// The log is larger than it may be, or no longer.
    pub(super) fn over_budget(&self, why: Option<String>) {
        self.found().over_budget = why;
    }

    /// The store's own work is suspended, or no longer.
    pub(super) fn suspended(&self, why: Option<String>) {
        self.found().suspended = why;
    }

    pub(super) fn is_failing(&self) -> bool {
        self.found().failing.is_some()
    }

    /// A write went well. What can't be read stays so.
    pub(super) fn recovered(&self) {
        self.found().failing = None;
    }

    /// Something of a channel can't be read.
    pub(super) fn damaged(&self, channel: &ChannelName, what: String) {
        let mut found = self.found();
        if found.damaged.len() < REMEMBERED || found.damaged.contains_key(channel) {
            found.damaged.insert(channel.clone(), what);
        }
    }

    /// Something that belongs to no channel, or to many, can't be read.
    pub(super) fn damaged_index(&self, what: String) {
        self.found().damaged_index = Some(what);
    }

    /// The channels that were found good.
    pub(super) fn whole(&self, channel: &ChannelName) {
        self.found().damaged.remove(channel);
    }

    pub(super) fn health(&self) -> Health {
        let found = self.found();
        if let Some(why) = &found.broken {
            return Health::Corrupt(why.clone());
        }
        if let Some(why) = found.failing.as_ref().or(found.over_budget.as_ref()) {
            return Health::Failing(why.clone());
        }
        let is_damaged = !found.damaged.is_empty() || found.damaged_index.is_some();
        match (&found.suspended, is_damaged) {
            (None, false) => Health::Good,
            (None, true) => Health::Corrupt(found.damage()),
            (Some(why), false) => Health::Corrupt(why.clone()),
            (Some(why), true) => Health::Corrupt(format!("{why}. Moreover, {}", found.damage())),
        }
    }
}

impl Found {
    fn damage(&self) -> String {
        let mut text = String::from("the disk returned something else than was written: ");
        text.push_str(self.damaged_index.as_deref().unwrap_or_default());
        for (at, (channel, what)) in self.damaged.iter().take(NAMED).enumerate() {
            if at > 0 || self.damaged_index.is_some() {
                text.push_str(", ");
            }
            let _infallible = write!(text, "channel {channel}: {what}");
        }
        let more = self.damaged.len().saturating_sub(NAMED);
        if more > 0 {
            let _infallible = write!(text, " and {more} more channels");
        }
        text.push_str(
            "; publishing, live messages and everything else in the history work, subscribers are \
             told of the damaged part as a gap. Check the disk, and restore the log from a backup \
             if the messages matter",
        );
        text
    }
}
