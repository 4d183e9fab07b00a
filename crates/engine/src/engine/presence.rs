//! Who is in a channel: told to the broker, who knows; and joins and leaves told to watchers.

use std::{sync::Arc, time::Duration};

use crate::{
    broker::{BrokerRequest, PresenceChange, RequestId},
    channel_name::ChannelName,
    command::CommandId,
    delivery::{ConnectionId, Reply},
    session::Member,
    slab::Slot,
};

use super::{Engine, Step, state::Pending};

/// A lease is renewed this many times before it would run out.
const RENEWALS: u32 = 3;

impl Engine {
    pub(super) fn join(&mut self, connection: ConnectionId, channel: Slot) {
        let Some(c) = self.channels.get(channel).filter(|c| c.rules.presence) else {
            return;
        };
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let (session, since_ms) = (l.session, l.since_ms);
        let (user, info) = (Arc::clone(&l.identity.user), l.identity.info.clone());
        let Some(s) = l.subscription(channel) else {
            return;
        };
        s.joined = true;
        let member = Arc::new(Member {
            session,
            user,
            info,
        });
        let channel = c.name.clone();
        self.memberships += 1;
        if self.renew_at.is_none() {
            self.renew_at = Some(self.now);
            self.renew_lease();
        }
        self.broker_requests.push_back(BrokerRequest::Join {
            channel,
            member,
            since_ms,
        });
    }

    /// The broker let this worker's members go: all of them join again.
    pub(super) fn join_again(&mut self) {
        let mut joined = Vec::new();
        for (connection, l) in self.connections.iter() {
            for s in l.subscriptions.iter().filter(|s| s.joined) {
                joined.push((connection.into(), s.channel));
            }
        }
        for (connection, channel) in joined {
            self.memberships -= 1;
            self.join(connection, channel);
        }
    }

    pub(super) fn leave(&mut self, connection: ConnectionId, channel: Slot, grace: Duration) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let (session, since_ms) = (l.session, l.since_ms);
        let Some(s) = l.subscription(channel) else {
            return;
        };
        let Some(c) = self.channels.get(channel) else {
            return;
        };
        if !std::mem::replace(&mut s.joined, false) {
            return;
        }
        self.memberships -= 1;
        let channel = c.name.clone();
        let leave = BrokerRequest::Leave {
            channel,
            session,
            since_ms,
            grace,
        };
        self.broker_requests.push_back(leave);
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

    pub(super) fn presence_changed(&mut self, change: Arc<PresenceChange>) -> Option<Step> {
        let channel = *self.names.get(&change.channel)?;
        let c = self.channels.get(channel)?;
        (!c.watchers.is_empty()).then_some(Step::Presence { channel, change })
    }

    /// Lets a connection hear of joins and leaves, if it wants to.
    pub(super) fn watch(&mut self, connection: ConnectionId, channel: Slot) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        let full = l.full;
        if l.subscription(channel).is_none_or(|s| !s.presence) || full {
            return;
        }
        if let Some(c) = self.channels.get_mut(channel) {
            c.watchers.push(connection);
        }
    }

    pub(super) fn stop_watching(&mut self, connection: ConnectionId, channel: Slot) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        if l.subscription(channel).is_none_or(|s| !s.presence) {
            return;
        }
        let Some(c) = self.channels.get_mut(channel) else {
            return;
        };
        if let Some(index) = c.watchers.iter().position(|l| *l == connection) {
            c.watchers.swap_remove(index);
        }
    }

    /// A full connection missed joins and leaves: it gets the whole list instead.
    pub(super) fn watch_again(&mut self, connection: ConnectionId, channel: Slot) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        if l.subscription(channel)
            .is_none_or(|s| !s.presence || !s.joined)
        {
            return;
        }
        self.watch(connection, channel);
        self.tell_members(connection, channel);
    }

    /// Gives a connection the whole list, unasked.
    pub(super) fn tell_members(&mut self, connection: ConnectionId, channel: Slot) {
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return;
        };
        l.in_flight = l.in_flight.saturating_add(1);
        if let Some(name) = self.channels.get(channel).map(|c| c.name.clone()) {
            self.ask_members(connection, None, name);
        }
    }

    pub(super) fn ask_members(
        &mut self,
        connection: ConnectionId,
        command: Option<CommandId>,
        channel: ChannelName,
    ) {
        let id = self.request(Pending::Members {
            connection,
            command,
            channel: channel.clone(),
        });
        let limit = self.limits.members;
        self.broker_requests
            .push_back(BrokerRequest::Members { id, channel, limit });
    }

    pub(super) fn members_read(&mut self, id: RequestId, members: Vec<Arc<Member>>, total: u64) {
        let Some(Pending::Members {
            connection,
            command,
            channel,
        }) = self.requests.take(id)
        else {
            return;
        };
        self.answered(connection);
        self.reply(
            connection,
            command,
            Reply::Members {
                channel,
                members,
                total,
            },
        );
    }
}
