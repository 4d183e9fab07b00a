//! The health of the log, as reported by its threads.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use offhook_engine::ChannelName;

use crate::broker::Health;

/// How many damaged channels are named; of the others, only the number is reported.
const NAMED: usize = 20;
/// How many damaged channels are remembered: only their names cost memory.
const REMEMBERED: usize = 10_000;

/// Shared by the threads of a log.
#[derive(Debug, Default)]
pub(super) struct Condition(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    /// Why nothing can be stored at present.
    failing: Option<String>,
    /// The store's own work is suspended.
    suspended: Option<String>,
    /// The log is larger than it may be.
    over_budget: Option<String>,
    /// What an operator must fix before anything can be stored again.
    broken: Option<String>,
    /// Damage by channel.
    damaged: BTreeMap<ChannelName, String>,
    /// Damage outside of channels.
    damaged_index: Option<String>,
}

impl Condition {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing can be stored at present; the log keeps retrying.
    pub(super) fn failing(&self, why: String) {
        self.found().failing = Some(why);
    }

    /// Nothing can be stored until an operator acts.
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

    /// A write succeeded. Damage remains.
    pub(super) fn recovered(&self) {
        self.found().failing = None;
    }

    /// Data of a channel cannot be read.
    pub(super) fn damaged(&self, channel: &ChannelName, what: String) {
        let mut found = self.found();
        if found.damaged.len() < REMEMBERED || found.damaged.contains_key(channel) {
            found.damaged.insert(channel.clone(), what);
        }
    }

    /// Data that belongs to no channel, or to many, cannot be read.
    pub(super) fn damaged_index(&self, what: String) {
        self.found().damaged_index = Some(what);
    }

    /// A channel was found to be undamaged.
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
        let mut text = String::from("the disk returned other data than was written: ");
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

#[cfg(test)]
mod tests;
