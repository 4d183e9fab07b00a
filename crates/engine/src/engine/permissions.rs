//! What sessions may read and subscribe to, and what filters announce when that changes.

use std::sync::Arc;

use crate::{
    channel_name::ChannelName,
    delivery::ConnectionId,
    error::{ErrorCode, Refusal},
    filter::Filter,
    grant::Verbs,
    rules::{Access, ChannelRules, RuleBook},
    session::{Identity, SubscriptionSnapshot},
    slab::Slot,
    subscription::Target,
};

use super::{
    Engine,
    commands::{forbidden, gone},
    state::{Behind, State},
};

/// The rules before they were replaced by others that differ in who may read.
#[derive(Debug)]
pub(super) struct Earlier {
    rules: Arc<RuleBook>,
    /// When the others applied to every subscription, in milliseconds since 1970.
    until_ms: u64,
}

impl Engine {
    pub(super) fn rules_of(&self, channel: &ChannelName) -> Result<&Arc<ChannelRules>, Refusal> {
        let open = self
            .names
            .get(channel)
            .and_then(|slot| self.feeds.get(*slot));
        // One that does not have the present rules yet does not count.
        if let Some(open) = open.filter(|open| open.book == self.book) {
            return Ok(&open.rules);
        }
        self.rules.rules(channel).ok_or_else(|| {
            let detail = format!("no rule of the server's configuration allows channel {channel}");
            Refusal::new(ErrorCode::UnknownChannel, detail)
        })
    }

    /// The rules of a target, and whether a permission must be requested before subscribing.
    pub(super) fn may_subscribe(
        &self,
        connection: ConnectionId,
        target: &Target,
    ) -> Result<(Arc<ChannelRules>, bool), Refusal> {
        let identity = &self
            .connections
            .get(connection.into())
            .ok_or_else(gone)?
            .identity;
        let (rules, access, allowed) = match target {
            Target::Channel(channel) => {
                let rules = self.rules_of(channel)?;
                let access = rules.subscribe;
                let allowed = identity.may(access, Verbs::SUBSCRIBE, channel);
                (rules, access, allowed)
            }
            // Each publication is checked again: the channels that a filter matches have rules of
            // their own.
            Target::Filter(filter) => {
                let access = self.rules.filter_access();
                let allowed = identity.may_filter(access, filter);
                (&self.filter_rules, access, allowed)
            }
        };
        let asked = access == Access::Asked;
        if allowed || asked {
            return Ok((Arc::clone(rules), asked));
        }
        Err(forbidden("subscribe to", target, identity))
    }

    /// Whether a connection may subscribe to a channel without anybody being asked.
    #[must_use]
    pub fn may_subscribe_to(&self, connection: ConnectionId, channel: &ChannelName) -> bool {
        let target = Target::Channel(channel.clone());
        let found = self.may_subscribe(connection, &target);
        found.is_ok_and(|(_rules, is_asked)| !is_asked)
    }

    /// Whether a connection may ask for the members of a channel.
    #[must_use]
    pub fn may_see_members(&self, connection: ConnectionId, channel: &ChannelName) -> bool {
        let allowed = self.may_read(connection, Verbs::PRESENCE, channel);
        allowed.is_ok()
    }

    /// The rules of a target for a client that has shown that it may subscribe, unless nobody may.
    pub(super) fn open_to_some(
        &self,
        connection: ConnectionId,
        target: &Target,
    ) -> Result<Arc<ChannelRules>, Refusal> {
        let rules = self.rules_of_target(target)?;
        if rules.subscribe != Access::Nobody {
            return Ok(rules);
        }
        let c = self.connections.get(connection.into()).ok_or_else(gone)?;
        Err(forbidden("subscribe to", target, &c.identity))
    }

    pub(super) fn rules_of_target(&self, target: &Target) -> Result<Arc<ChannelRules>, Refusal> {
        match target {
            Target::Channel(channel) => self.rules_of(channel).cloned(),
            Target::Filter(_) => Ok(Arc::clone(&self.filter_rules)),
        }
    }

    /// A connection got another identity than this: its subscriptions to filters announce that
    /// publications which it was not allowed to read are missing.
    pub(super) fn identity_changed(&mut self, connection: ConnectionId, old: &Identity) {
        for slot in self.subscriptions_of(connection) {
            let Some((filter, vouched)) = self.filter_of(slot) else {
                continue;
            };
            let c = self.connections.get(connection.into());
            if c.is_some_and(|c| c.identity.may_read_more_than(old))
                && is_withheld_by_grants(&self.rules, &filter, old, vouched)
            {
                self.regained(slot);
            }
        }
    }

    /// The rules were replaced: the same for a subscription of one that could not read everything by the
    /// old ones.
    pub(super) fn rules_changed(&mut self, slot: Slot, old: &RuleBook) {
        let Some((filter, vouched)) = self.filter_of(slot) else {
            return;
        };
        let s = self.subscriptions.get(slot);
        let c = s.and_then(|s| self.connections.get(s.connection.into()));
        let may_read_more = |identity: &Identity| {
            is_withheld_no_longer((old, &self.rules), &filter, identity, vouched)
        };
        if c.is_some_and(|c| may_read_more(&c.identity)) {
            self.regained(slot);
        }
    }

    /// Keeps the rules that were replaced, for sessions that resume.
    pub(super) fn note_earlier_rules(&mut self, old: Arc<RuleBook>) {
        self.earlier_rules = Some(Earlier {
            rules: old,
            until_ms: u64::MAX,
        });
    }

    /// The new rules apply to every subscription, and what they withheld before was announced.
    pub(super) fn rules_are_applied(&mut self) {
        if let Some(earlier) = &mut self.earlier_rules {
            earlier.until_ms = earlier.until_ms.min(self.now_unix_ms);
        }
    }

    /// Whether a session that resumes with this identity may read channels of a filter that it could
    /// not read when the snapshot was taken.
    pub(super) fn has_regained(
        &self,
        identity: &Identity,
        snapshot: (&Identity, u64),
        subscription: &SubscriptionSnapshot,
    ) -> bool {
        let (Target::Filter(filter), None) = (&subscription.target, &subscription.share) else {
            return false;
        };
        let ((old, taken_ms), vouched) = (snapshot, subscription.vouched);
        let earlier = self.earlier_rules.as_ref();
        earlier
            .filter(|earlier| taken_ms <= earlier.until_ms)
            .is_some_and(|earlier| {
                is_withheld_no_longer((&earlier.rules, &self.rules), filter, old, vouched)
            })
            || identity.may_read_more_than(old)
                && is_withheld_by_grants(&self.rules, filter, old, vouched)
    }

    /// The filter of a subscription that is not shared, and whether it is vouched for. Members of a
    /// group may read all that their filter matches.
    fn filter_of(&self, slot: Slot) -> Option<(Filter, bool)> {
        let s = self
            .subscriptions
            .get(slot)
            .filter(|s| s.shared.is_none())?;
        match &self.feeds.known(s.feed)?.target {
            Target::Filter(filter) => Some((filter.clone(), s.is_vouched())),
            Target::Channel(_) => None,
        }
    }

    /// A subscription to a filter may read more than before.
    fn regained(&mut self, slot: Slot) {
        let Some(s) = self.subscriptions.get_mut(slot) else {
            return;
        };
        match &mut s.state {
            State::Opening(opening) => opening.regained |= opening.restored,
            State::Behind(behind) => behind.regain(),
            State::Live { .. } => {
                // So that the gap comes exactly between what it could not read and what it can.
                let Some(handed_out) = self.leave_live(slot) else {
                    return;
                };
                let mut behind = Behind::slow(handed_out);
                behind.regain();
                self.fall_behind(slot, behind);
                self.queue_advance(slot);
            }
            State::Ended => {}
        }
    }
}

/// Whether a filter may match channels that a subscriber may not read for lack of a grant or a name.
fn is_withheld_by_grants(
    rules: &RuleBook,
    filter: &Filter,
    identity: &Identity,
    vouched: bool,
) -> bool {
    let withheld = rules.withheld(filter, |access, pattern| {
        access == Access::Asked || identity.may_read_all(access, (filter, pattern), vouched)
    });
    withheld.is_some()
}

/// Whether a filter may match channels that a subscriber could not read by the old rules and may read by
/// the new ones. May be true although there are none.
fn is_withheld_no_longer(
    (old, new): (&RuleBook, &RuleBook),
    filter: &Filter,
    identity: &Identity,
    vouched: bool,
) -> bool {
    let withheld = old.withheld(filter, |access, pattern| {
        let may =
            access != Access::Nobody && identity.may_read_all(access, (filter, pattern), vouched);
        may || new.keeps(old, pattern, access)
    });
    withheld.is_some()
}
