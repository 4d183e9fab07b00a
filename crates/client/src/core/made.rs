//! Subscriptions that the server's side makes for the session.
//!
//! Somebody who [accepts](Core::accept_made) them reads them like others. Unread, they are kept, since the server
//! wants them, and their messages are ignored.

use std::collections::{HashSet, VecDeque};

use offhook_dialects::native::client::{
    About, ChannelName, Filter, Position, SubscriptionId, SubscriptionKey as Name, Target,
};

use super::subscriptions::{Subscription, SubscriptionState};
use super::{Core, Signal, Subscribe, SubscriptionKey};
use crate::since::Since;

/// How many subscriptions are kept unread. 16,384: more than a session has.
const MOST_KEPT: usize = 16_384;

/// Those that nobody has taken.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// How many accept them.
    readers: usize,
    /// For the readers.
    new: VecDeque<(SubscriptionKey, Target)>,
    /// Those that the session has unread.
    kept: HashSet<Name>,
}

impl Made {
    /// Whether the session has it, unread.
    pub(super) fn has(&self, about: &About<'_>) -> bool {
        named(about).is_some_and(|name| self.kept.contains(&name))
    }

    /// As [`has`](Self::has), by its name.
    pub(super) fn keeps(&self, name: &Name) -> bool {
        self.kept.contains(name)
    }

    /// The server has ended one.
    pub(super) fn ended(&mut self, about: &About<'_>) {
        if let Some(name) = named(about) {
            self.kept.remove(&name);
        }
    }

    /// The client ends one, or subscribes itself.
    pub(super) fn left(&mut self, name: &Name) {
        self.kept.remove(name);
    }

    /// The session has ended, and with it what was kept.
    pub(super) fn session_lost(&mut self) {
        self.kept.clear();
    }
}

fn named(about: &About<'_>) -> Option<Name> {
    match about.number {
        Some(number) => Some(Name::Id(SubscriptionId(number))),
        None => ChannelName::new(&about.name).map(Name::from).ok(),
    }
}

fn target(about: &About<'_>) -> Option<Target> {
    if about.is_filter {
        return Filter::new(&about.name).map(Target::from).ok();
    }
    ChannelName::new(&about.name).map(Target::from).ok()
}

impl Core {
    /// Somebody reads subscriptions that the server makes from now on.
    pub(crate) fn accept_made(&mut self) {
        self.made.readers += 1;
    }

    /// The opposite. Once nobody does, those that were not taken stay unread.
    pub(crate) fn ignore_made(&mut self) {
        self.made.readers = self.made.readers.saturating_sub(1);
        if self.made.readers > 0 {
            return;
        }
        for (key, _) in std::mem::take(&mut self.made.new) {
            if let Some(removed) = self.subscriptions.remove(key) {
                self.unblock(key);
                self.made.kept.insert(removed.name);
            }
        }
    }

    /// The next one for a reader.
    pub(crate) fn next_made(&mut self) -> Option<(SubscriptionKey, Target)> {
        self.made.new.pop_front()
    }

    /// The server's side has made a subscription.
    pub(super) fn made(&mut self, about: &About<'_>, newest: Position, live: bool) {
        if let Some(key) = self.subscriptions.meant(about) {
            return self.made_twice(key, newest, live);
        }
        let (Some(name), Some(target)) = (named(about), target(about)) else {
            return self.unwanted(about);
        };
        if self.made.readers == 0 {
            if self.made.kept.len() < MOST_KEPT {
                self.made.kept.insert(name);
            }
            return;
        }
        let wish = Subscribe {
            target: target.clone(),
            since: Since::Now,
            presence: false,
            echo: true,
            tokens: None,
        };
        let key = SubscriptionKey(self.number());
        let new = Subscription::new(wish, name, self.settings.inbox);
        self.subscriptions.add(key, new);
        self.made.new.push_back((key, target));
        self.began(key, newest, live);
        self.signals.push_back(Signal::Made);
    }

    /// The client wants it as well. It begins now, and not where a restored one would go on.
    fn made_twice(&mut self, key: SubscriptionKey, newest: Position, live: bool) {
        let Some(entry) = self.subscriptions.get(key) else {
            return;
        };
        match entry.state {
            SubscriptionState::Wanted | SubscriptionState::Asked | SubscriptionState::Restoring => {
                let begins_here = match entry.since() {
                    Since::Now => true,
                    Since::After(position) => position == newest,
                    Since::Start | Since::Last(_) | Since::State => false,
                };
                let name = entry.name.clone();
                if self.subscriptions.is_leaving(&name) {
                    return;
                }
                if live && begins_here {
                    self.began(key, newest, live);
                } else {
                    self.begin_anew(key);
                }
            }
            SubscriptionState::Paused => {
                let name = entry.name.clone();
                self.leave(name);
            }
            SubscriptionState::Active | SubscriptionState::Ended(_) => {}
        }
    }
}
