//! Replaced rules: new commands are checked against them at once, subscriptions a part at a time.
//!
//! A subscription that the rules do not allow any more receives nothing from the moment the rules are
//! replaced, whether its turn has come or not.

use std::{collections::HashSet, sync::Arc, time::Duration};

use crate::{
    channel_name::ChannelName,
    command::Now,
    error::{ErrorCode, Refusal},
    rules::{Access, RuleBook},
    slab::Slot,
    subscription::Target,
};

use super::{
    Engine,
    state::{State, Subscription},
};

/// New rules that are being applied to the subscriptions.
#[derive(Debug)]
pub(super) struct Applying {
    /// The rules before; none if everybody may read the same by both.
    old: Option<Arc<RuleBook>>,
    /// Subscriptions with a question under way when the rules were replaced, which decides by the new
    /// ones as well.
    asked_about: HashSet<Slot>,
    /// Subscriptions that could not wait for their turn.
    done: HashSet<Slot>,
    /// The place in the table of subscriptions that is next.
    next: u32,
    /// The first generation of subscriptions made by the new rules.
    since: u32,
}

impl Applying {
    /// Whether a subscription was made by the old rules, and its turn has not come.
    fn awaits(&self, slot: Slot) -> bool {
        slot.index >= self.next && !self.is_new(slot) && !self.done.contains(&slot)
    }

    fn is_new(&self, slot: Slot) -> bool {
        // Generations wrap.
        slot.generation.wrapping_sub(self.since) < u32::MAX / 2
    }
}

impl Engine {
    /// Replaces the rules. Commands are checked against the new ones at once. Channels that no rule
    /// allows any more end, as do subscriptions that are no longer allowed; where the outside decides
    /// from now on ([`Access::Asked`](crate::Access)), it is asked about the subscriptions that there
    /// are. That is done in parts, the first of them now: do other work between them, and call
    /// [`apply_on`](Self::apply_on) until it returns false.
    pub fn set_rules(&mut self, rules: Arc<RuleBook>, now: Now) {
        self.set_now(now);
        // Rules replaced twice in a row are rare: those before are applied completely.
        while self.apply_on(now) {}
        let old = std::mem::replace(&mut self.rules, rules);
        self.book = self.book.wrapping_add(1);
        let alike = old.reads_alike(&self.rules);
        if !alike {
            self.note_earlier_rules(Arc::clone(&old));
        }
        self.check_each_recipient();
        self.applying = Some(Box::new(Applying {
            old: (!alike).then_some(old),
            asked_about: self.asks.subscriptions(),
            done: HashSet::new(),
            next: 0,
            since: self.subscriptions.generation(),
        }));
        self.apply_on(now);
    }

    /// Whether new rules are still to be applied to some subscriptions: [`apply_on`](Self::apply_on) has
    /// something to do.
    #[must_use]
    pub fn is_applying(&self) -> bool {
        self.applying.is_some()
    }

    /// Applies new rules to the next part of the subscriptions, as
    /// [`Limits::rules_at_once`](crate::Limits) says. Returns whether there are more.
    /// [`handle_timeout`](Self::handle_timeout) does the same.
    pub fn apply_on(&mut self, now: Now) -> bool {
        self.set_now(now);
        for _ in 0..self.limits.rules_at_once.max(1) {
            let Some(index) = self.applying.as_ref().map(|applying| applying.next) else {
                return false;
            };
            if let Some((slot, _)) = self.subscriptions.at(index) {
                self.apply_to(slot);
            }
            if let Some(applying) = &mut self.applying {
                applying.next = index + 1;
            }
            if index + 1 >= self.subscriptions.end() {
                self.applying = None;
                self.rules_are_applied();
                return false;
            }
        }
        true
    }

    /// A subscription is about to do something: its turn has come.
    pub(super) fn apply_first(&mut self, slot: Slot) {
        let applying = self.applying.as_ref();
        if applying.is_some_and(|applying| applying.awaits(slot)) {
            self.apply_to(slot);
            if let Some(applying) = &mut self.applying {
                applying.done.insert(slot);
            }
        }
    }

    fn apply_to(&mut self, slot: Slot) {
        let Some(feed) = self.subscriptions.get(slot).map(|s| s.feed) else {
            return;
        };
        if let Err(refusal) = self.renew_feed(feed) {
            return self.end_unasked(slot, refusal);
        }
        self.apply_presence(slot, feed);
        let Some(applying) = self.applying.as_ref().filter(|a| a.awaits(slot)) else {
            return;
        };
        let (is_asked_about, old) = (applying.asked_about.contains(&slot), applying.old.clone());
        self.end_if_forbidden(slot, "the server's rules have changed");
        if !is_asked_about {
            self.ask_if_required(slot);
        }
        if let Some(old) = old {
            self.rules_changed(slot, &old);
        }
    }

    /// Lets a feed have the present rules. Fails if its channel does not exist any more.
    pub(super) fn renew_feed(&mut self, feed: Slot) -> Result<(), Refusal> {
        let Some(f) = self.feeds.get_mut(feed).filter(|f| f.book != self.book) else {
            return Ok(());
        };
        if let Target::Channel(channel) = &f.target {
            let rules = self.rules.rules(channel).cloned();
            f.rules = rules.ok_or_else(|| {
                let detail = format!(
                    "no rule of the server's configuration allows channel {channel} any more"
                );
                Refusal::new(ErrorCode::UnknownChannel, detail)
            })?;
        }
        f.book = self.book;
        Ok(())
    }

    /// A subscription makes its session a member if its channel has presence now, and only then.
    fn apply_presence(&mut self, slot: Slot, feed: Slot) {
        let has_presence = self.feeds.get(feed).is_some_and(|f| f.rules.presence);
        let Some(s) = self.subscriptions.get(slot) else {
            return;
        };
        if !has_presence {
            self.leave(slot, Duration::ZERO);
            self.stop_watching(slot);
            return;
        }
        let has_begun = !matches!(s.state, State::Opening(_) | State::Ended);
        if has_begun && !s.joined {
            self.join(slot);
            self.watch_again(slot);
        }
    }

    /// Whether a subscriber may receive a publication of a channel, or its joins and leaves, while new
    /// rules are applied.
    pub(super) fn may_get(&self, slot: Slot, s: &Subscription, channel: &ChannelName) -> bool {
        let Some(target) = self.feeds.get(s.feed).map(|f| &f.target) else {
            return false;
        };
        let is_filter = matches!(target, Target::Filter(_));
        let Some(applying) = self.applying.as_ref().filter(|a| a.awaits(slot)) else {
            return !is_filter || self.may_see(s, channel);
        };
        if self.rules.rules(channel).is_none() {
            return false;
        }
        if !s.is_vouched() && self.may_subscribe(s.connection, target).is_err() {
            return false;
        }
        if !is_filter {
            return true;
        }
        // What it could not read before is announced when its turn comes, and not delivered before that.
        let could = applying.old.as_ref().is_none_or(|old| {
            let rules = old.rules(channel);
            rules.is_some_and(|rules| self.may_see_by(rules.subscribe, s, channel))
        });
        could && self.may_see(s, channel)
    }

    /// Whether a subscriber may read a channel that its filter matches, with this access.
    pub(super) fn may_see_by(
        &self,
        access: Access,
        s: &Subscription,
        channel: &ChannelName,
    ) -> bool {
        if access == Access::Asked {
            return s.is_vouched();
        }
        let Some(connection) = self.connections.get(s.connection.into()) else {
            return false;
        };
        let verb = crate::grant::Verbs::SUBSCRIBE;
        connection.identity.may(access, verb, channel)
    }
}
