//! The members of channels: reported to the broker, which keeps them; joins and leaves delivered to
//! watchers.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    broker::{BrokerRequest, PresenceChange, RequestId},
    channel_name::ChannelName,
    delivery::{ConnectionId, Reply},
    error::{ErrorCode, Refusal},
    session::{Identity, Member},
    slab::Slot,
    subscription::{Face, Target},
};

use super::{
    Engine, Step,
    commands::gone,
    state::{Again, Asker, Connection, Pending, State, Subscription},
};

/// A join or leave in progress: its recipients are taken in parts.
#[derive(Debug)]
pub(super) struct Telling {
    feed: Slot,
    change: Arc<PresenceChange>,
    /// The current audience; all earlier ones are done.
    audience: usize,
    /// How many of its recipients are done.
    told: usize,
}

/// How many times a lease is renewed before it would expire.
const RENEWALS: u32 = 3;

impl Engine {
    /// The channel of a subscription, if it keeps presence.
    fn presence_channel(&self, slot: Slot) -> Option<ChannelName> {
        let feed = self.subscriptions.get(slot)?.feed;
        let f = self.feeds.get(feed).filter(|f| f.rules.presence)?;
        match &f.target {
            Target::Channel(channel) => Some(channel.clone()),
            Target::Filter(_) => None,
        }
    }

    /// A subscription makes its session a member, unless another subscription does already.
    pub(super) fn join(&mut self, slot: Slot) {
        let Some(channel) = self.presence_channel(slot) else {
            return;
        };
        let Some(s) = self.subscriptions.get(slot) else {
            return;
        };
        let (connection, feed) = (s.connection, s.feed);
        let Some(c) = self.connections.known_mut(connection.into()) else {
            return;
        };
        let first = c.subscriptions.joined(feed, &self.subscriptions) == 0;
        c.subscriptions
            .set_joined(slot, true, &mut self.subscriptions);
        self.memberships += 1;
        if self.renew_at.is_none() {
            self.renew_at = Some(self.now);
            self.renew_lease();
        }
        if first {
            self.claim(connection, channel);
        }
    }

    /// What a connection's session is in a channel, if that is not its identity.
    pub(super) fn face<'a>(&self, c: &'a Connection, channel: &ChannelName) -> Option<&'a Face> {
        let faces = &c.extra.as_ref()?.faces;
        if faces.is_empty() {
            return None;
        }
        faces.get(self.names.get(channel)?).map(|face| &**face)
    }

    fn claim(&mut self, connection: ConnectionId, channel: ChannelName) {
        let Some(c) = self.connections.get(connection.into()) else {
            return;
        };
        let member = Arc::new(match self.face(c, &channel) {
            Some(face) => Member {
                session: c.session,
                user: Arc::clone(&face.user),
                info: face.info.clone(),
            },
            None => Member {
                session: c.session,
                user: Arc::clone(&c.identity.user),
                info: c.identity.info.clone(),
            },
        });
        let generation = c.generation;
        self.broker_requests.push_back(BrokerRequest::Join {
            channel,
            member,
            generation,
        });
    }

    /// A subscription no longer makes its session a member; the session leaves with the last one.
    pub(super) fn leave(&mut self, slot: Slot, grace: Duration) {
        let Some(s) = self.subscriptions.get(slot).filter(|s| s.joined) else {
            return;
        };
        let (connection, feed) = (s.connection, s.feed);
        let Some(c) = self.connections.known_mut(connection.into()) else {
            return;
        };
        c.subscriptions
            .set_joined(slot, false, &mut self.subscriptions);
        self.memberships -= 1;
        let last = c.subscriptions.joined(feed, &self.subscriptions) == 0;
        let (session, generation) = (c.session, c.generation);
        let channel = self
            .feeds
            .get(feed)
            .and_then(|f| f.target.channel().cloned());
        if let Some(channel) = channel.filter(|_| last) {
            self.broker_requests.push_back(BrokerRequest::Leave {
                channel,
                session,
                generation,
                grace,
            });
        }
    }

    pub(super) fn renew_lease(&mut self) {
        let Some(at) = self.renew_at.filter(|at| *at <= self.now) else {
            return;
        };
        self.renew_at = None;
        if self.memberships > 0 {
            let lease = self.limits.presence_lease;
            self.renew_at = Some(at.max(self.now) + lease / RENEWALS);
            self.broker_requests
                .push_back(BrokerRequest::Renew { lease });
        }
    }

    /// The lease expired and this worker's members left: reports every member to the broker again.
    pub(super) fn lease_ended(&mut self) {
        let mut told = HashSet::new();
        let joined = self.subscriptions.iter().filter(|(_, s)| s.joined);
        let members: Vec<_> = joined
            .filter(|(_, s)| told.insert((s.connection, s.feed)))
            .map(|(slot, s)| (slot, s.connection))
            .collect();
        for (slot, connection) in members {
            if let Some(channel) = self.presence_channel(slot) {
                self.claim(connection, channel);
            }
        }
    }

    /// A member shows itself differently to the others, in every channel.
    pub(super) fn update_info(
        &mut self,
        connection: ConnectionId,
        info: Bytes,
    ) -> Result<(), Refusal> {
        let c = self.connections.get_mut(connection.into());
        let c = c.ok_or_else(gone)?;
        if c.identity.info_is_fixed {
            let detail =
                "the session's info was given by its token; have a token with another one made";
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        let identity = Identity {
            info,
            ..Identity::clone(&c.identity)
        };
        c.identity = Arc::new(identity);
        let mut told = HashSet::new();
        for slot in self.subscriptions_of(connection) {
            let s = self.subscriptions.get(slot).filter(|s| s.joined);
            if s.is_some_and(|s| told.insert(s.feed))
                && let Some(channel) = self.presence_channel(slot)
            {
                self.claim(connection, channel);
            }
        }
        self.session_changed(connection);
        Ok(())
    }

    pub(super) fn presence_changed(&mut self, change: &Arc<PresenceChange>) {
        let Some(&feed) = self.names.get(&change.channel) else {
            return;
        };
        let watchers = self.feeds.get(feed).and_then(|f| f.watchers.as_ref());
        if watchers.is_some_and(|watchers| !watchers.is_empty()) {
            self.telling = Some(Telling {
                feed,
                change: Arc::clone(change),
                audience: 0,
                told: 0,
            });
        }
    }

    /// The next part of the join or leave in progress, with at most this many recipients.
    pub(super) fn next_watchers(&mut self, limit: usize) -> Option<Step> {
        loop {
            let telling = self.telling.as_ref()?;
            let watchers = self
                .feeds
                .get(telling.feed)
                .and_then(|f| f.watchers.as_ref());
            let Some(next) = watchers.and_then(|watchers| watchers.get(telling.audience)) else {
                self.telling = None;
                return None;
            };
            let (audience, told) = (telling.audience, telling.told);
            if told >= next.len() {
                let telling = self.telling.as_mut()?;
                (telling.audience, telling.told) = (audience + 1, 0);
                continue;
            }
            let mut until = next.len().min(told.saturating_add(limit.max(1)));
            if self.applying.is_some() {
                let channel = &telling.change.channel;
                let may_get = |at: &usize| {
                    let found = self.subscriptions.at(next.places()[*at]);
                    found.is_some_and(|(slot, s)| self.may_get(slot, s, channel))
                };
                until = (told..until).find(|at| !may_get(at)).unwrap_or(until);
            }
            let telling = self.telling.as_mut()?;
            if until == told {
                telling.told += 1;
                continue;
            }
            telling.told = until;
            return Some(Step::Presence {
                feed: telling.feed,
                audience,
                recipients: told..until,
                change: Arc::clone(&telling.change),
            });
        }
    }

    /// Lets a subscription receive joins and leaves, if it wants them.
    pub(super) fn watch(&mut self, slot: Slot) {
        let Some(s) = self.subscriptions.get(slot) else {
            return;
        };
        if !s.presence || s.watching().is_some() {
            return;
        }
        let Some(c) = self.connections.get_mut(s.connection.into()) else {
            return;
        };
        if c.full {
            c.extra().unwatched.push(slot);
            return;
        }
        let Some(kind) = self.watcher_kind(s) else {
            return;
        };
        if let Some(f) = self.feeds.known_mut(s.feed) {
            let place = f.watchers.get_or_insert_default().add(kind, slot, s);
            if let Some(s) = self.subscriptions.get_mut(slot) {
                s.set_watching(Some(place));
            }
        }
    }

    pub(super) fn stop_watching(&mut self, slot: Slot) {
        let Some(s) = self.subscriptions.get(slot) else {
            return;
        };
        let (Some(place), Some(kind)) = (s.watching(), self.watcher_kind(s)) else {
            return;
        };
        let feed = s.feed;
        let Some(f) = self.feeds.known_mut(feed) else {
            return;
        };
        let Some(watchers) = &mut f.watchers else {
            debug_assert!(false, "a watcher is among those of its feed");
            return;
        };
        let all = &mut self.subscriptions;
        if let Some(audience) = watchers.find(kind) {
            let telling = self.telling.as_mut();
            let told = telling.filter(|t| t.feed == feed && t.audience == audience);
            let told = told.map(|telling| &mut telling.told);
            watchers.remove(audience, place, told, |index, place| {
                if let Some(moved) = all.at_mut(index) {
                    moved.set_watching(Some(place));
                }
            });
        }
        if watchers.is_empty() {
            f.watchers = None;
        }
        if let Some(s) = self.subscriptions.get_mut(slot) {
            s.set_watching(None);
        }
    }

    fn watcher_kind(&self, s: &Subscription) -> Option<super::state::Kind> {
        let class = self.connections.get(s.connection.into())?.class;
        Some(super::state::Kind {
            class,
            numbered: s.id().is_some(),
            echo: true,
        })
    }

    /// A full connection receives no joins and leaves until there is room.
    pub(super) fn watch_later(&mut self, slot: Slot) {
        let Some(s) = self.subscriptions.get(slot) else {
            return;
        };
        let connection = s.connection;
        if s.watching().is_none() {
            return;
        }
        self.stop_watching(slot);
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.extra().unwatched.push(slot);
        }
    }

    /// A full connection missed joins and leaves: sends the complete list instead.
    pub(super) fn watch_again(&mut self, slot: Slot) {
        let begun = |s: &Subscription| !matches!(s.state, State::Opening(_) | State::Ended);
        if self.subscriptions.get(slot).is_some_and(begun) {
            self.watch(slot);
            self.tell_members(slot);
        }
    }

    pub(super) fn tell_watchers_the_members(&mut self, feed: Slot) {
        let watchers = self.feeds.get(feed).and_then(|f| f.watchers.as_ref());
        let places: Vec<_> = watchers
            .iter()
            .flat_map(|watchers| watchers.iter())
            .flat_map(|audience| audience.places())
            .copied()
            .collect();
        for place in places {
            if let Some((slot, _)) = self.subscriptions.at(place) {
                self.tell_members(slot);
            }
        }
    }

    /// Sends the whole list of members to a subscription that watches, unasked. A connection
    /// receives its pending lists one after the other, and only while its outbox has room: many
    /// subscriptions to a channel with many members amount to megabytes.
    pub(super) fn tell_members(&mut self, slot: Slot) {
        if self.presence_channel(slot).is_none() {
            return;
        }
        let Some(s) = self.subscriptions.get_mut(slot).filter(|s| s.presence) else {
            return;
        };
        let connection = s.connection;
        if s.set_owed(true) {
            return;
        }
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.extra().owed.push_back(slot);
        }
        self.ask_owed(connection);
    }

    /// Requests the next pending list of members of a connection, if it has room for it.
    pub(super) fn ask_owed(&mut self, connection: ConnectionId) {
        while let Some((subscription, channel)) = self.next_owed(connection) {
            let Some(channel) = channel else { continue };
            if self.requests.len() >= self.limits.requests {
                self.try_again(Again::Members { subscription });
                return;
            }
            let id = self.request(Pending::TellMembers {
                connection,
                subscription,
            });
            let limit = self.limits.members;
            self.broker_requests
                .push_back(BrokerRequest::Members { id, channel, limit });
            if let Some(c) = self.connections.get_mut(connection.into()) {
                c.extra().members_asked = true;
            }
            return;
        }
    }

    /// The next subscription that is owed a list, and of which channel, if it still is.
    fn next_owed(&mut self, connection: ConnectionId) -> Option<(Slot, Option<ChannelName>)> {
        let c = self.connections.get_mut(connection.into())?;
        let has_room = !c.full && c.credit > 0;
        let extra = c.extra.as_mut()?;
        if !has_room || extra.members_asked {
            return None;
        }
        let Some(slot) = extra.owed.pop_front() else {
            c.settle();
            return None;
        };
        if let Some(s) = self.subscriptions.get_mut(slot) {
            s.set_owed(false);
        }
        Some((slot, self.presence_channel(slot)))
    }

    pub(super) fn ask_members(&mut self, asker: Asker, channel: ChannelName) {
        let name = channel.clone();
        let id = self.request(Pending::Members { asker, channel });
        let limit = self.limits.members;
        self.broker_requests.push_back(BrokerRequest::Members {
            id,
            channel: name,
            limit,
        });
    }

    pub(super) fn members_read(&mut self, id: RequestId, members: Vec<Arc<Member>>, total: u64) {
        match self.requests.take(id) {
            Some(Pending::Members { asker, channel }) => {
                self.answer(
                    asker,
                    Reply::Members {
                        channel,
                        subscription: None,
                        members,
                        total,
                    },
                );
            }
            Some(Pending::TellMembers {
                connection,
                subscription,
            }) => self.members_owed(connection, subscription, members, total),
            other => debug_assert!(other.is_none(), "members answer a question for members"),
        }
    }

    /// A pending list of a connection has arrived.
    fn members_owed(
        &mut self,
        connection: ConnectionId,
        subscription: Slot,
        members: Vec<Arc<Member>>,
        total: u64,
    ) {
        self.apply_first(subscription);
        let channel = self.presence_channel(subscription);
        let id = self.subscriptions.get(subscription).map(Subscription::id);
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        c.extra().members_asked = false;
        if let (Some(channel), Some(subscription)) = (channel, id) {
            let weights = members.iter().map(|member| weight(member));
            self.spend(connection, weights.sum());
            let reply = Reply::Members {
                channel,
                subscription,
                members,
                total,
            };
            self.reply(connection, None, reply);
        }
        self.ask_owed(connection);
    }

    /// The list could not be read: it stays pending.
    pub(super) fn members_failed(&mut self, connection: ConnectionId, subscription: Slot) {
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.extra().members_asked = false;
            c.settle();
        }
        self.try_again(Again::Members { subscription });
    }
}

/// Approximate bytes of a member in a list.
fn weight(member: &Member) -> usize {
    member.user.len() + member.info.len() + 64
}
