//! Subscriptions: made, begun, ended.

use std::{sync::Arc, time::Duration};

use crate::{
    broker::{BrokerRequest, RequestId, StreamState},
    channel_name::ChannelName,
    command::{CommandId, Since},
    delivery::{ConnectionId, Notice, Reply},
    error::{ErrorCode, Refusal},
    position::Position,
    rules::ChannelRules,
    slab::Slot,
};

use super::{
    Engine, Item, Stage, Step,
    commands::{forbidden, gone},
    state::{Again, Behind, Channel, Opening, Pending, Subscription},
};

impl Engine {
    pub(super) fn rules_of(&self, channel: &ChannelName) -> Result<&Arc<ChannelRules>, Refusal> {
        if let Some(open) = self
            .names
            .get(channel)
            .and_then(|slot| self.channels.get(*slot))
        {
            return Ok(&open.rules);
        }
        self.rules.rules(channel).ok_or_else(|| {
            let detail = format!("no rule of the server's configuration allows {channel}");
            Refusal::new(ErrorCode::UnknownChannel, detail)
        })
    }

    pub(super) fn may_read(
        &self,
        connection: ConnectionId,
        channel: &ChannelName,
    ) -> Result<&Arc<ChannelRules>, Refusal> {
        let l = self.connections.get(connection.into()).ok_or_else(gone)?;
        let rules = self.rules_of(channel)?;
        if !l
            .identity
            .may(rules.subscribe, &l.identity.may_subscribe, channel)
        {
            return Err(forbidden("subscribe to", channel, &l.identity));
        }
        Ok(rules)
    }

    pub(super) fn subscribe(
        &mut self,
        connection: ConnectionId,
        id: Option<CommandId>,
        channel: ChannelName,
        since: Since,
        presence: bool,
    ) -> Result<(), Refusal> {
        let presence = self.may_read(connection, &channel)?.presence && presence;
        let known = self.names.get(&channel).copied();
        let limit = self.limits.subscriptions;
        let l = self
            .connections
            .get_mut(connection.into())
            .ok_or_else(gone)?;
        if known.is_some_and(|slot| l.subscription(slot).is_some()) {
            let detail = format!("this session is subscribed to {channel} already");
            return Err(Refusal::new(ErrorCode::AlreadySubscribed, detail));
        }
        if l.subscriptions.len() >= limit {
            let detail = format!("this session has its {limit} subscriptions");
            return Err(Refusal::new(ErrorCode::TooManySubscriptions, detail));
        }
        let slot = match known {
            Some(slot) => slot,
            None => self.open_channel(channel)?,
        };
        let Some(c) = self.channels.get_mut(slot) else {
            return Err(gone());
        };
        c.subscribers += 1;
        if c.tail.is_some() {
            self.items.push_back(Item::Begin {
                connection,
                channel: slot,
            });
        } else {
            c.catching_up().opening.push(connection);
        }
        let stage = Stage::Opening(Box::new(Opening { id, since }));
        let (received, marked, joined) = (0, 0, false);
        let new = Subscription {
            channel: slot,
            stage,
            received,
            marked,
            presence,
            joined,
        };
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return Err(gone());
        };
        // Most sessions have one: no room is taken for more until there are more.
        l.subscriptions.reserve_exact(1);
        l.subscriptions.push(new);
        Ok(())
    }

    fn open_channel(&mut self, channel: ChannelName) -> Result<Slot, Refusal> {
        let rules = Arc::clone(self.rules_of(&channel)?);
        if self.requests.len() >= self.limits.requests {
            let detail = "the server has too many requests under way; try again";
            return Err(Refusal::new(ErrorCode::Busy, detail));
        }
        let slot = self.channels.insert(Channel::new(channel.clone(), rules));
        self.names.insert(channel.clone(), slot);
        self.follow(slot, channel);
        Ok(slot)
    }

    fn follow(&mut self, slot: Slot, channel: ChannelName) {
        let id = self.request(Pending::Follow { channel: slot });
        self.broker_requests
            .push_back(BrokerRequest::Follow { id, channel });
    }

    /// Asks for the heads of all streams, and for the members where joins and leaves are wanted:
    /// the broker left some of its news out.
    pub(super) fn lagged(&mut self) {
        let open = |(slot, c): (Slot, &Channel)| c.tail.is_some().then_some(slot);
        let all: Vec<_> = self.channels.iter().filter_map(open).collect();
        for slot in all {
            self.follow_again(slot);
            let Some(c) = self.channels.get(slot) else {
                continue;
            };
            for connection in c.watchers.clone() {
                self.tell_members(connection, slot);
            }
        }
    }

    pub(super) fn follow_again(&mut self, slot: Slot) {
        if let Some(channel) = self.channels.get(slot).map(|c| c.name.clone()) {
            self.follow(slot, channel);
        }
    }

    pub(super) fn followed(&mut self, id: RequestId, stream: StreamState) {
        let Some(Pending::Follow { channel }) = self.requests.take(id) else {
            return;
        };
        let Some(c) = self.channels.get_mut(channel) else {
            return;
        };
        if c.tail.is_some() {
            self.items.push_back(Item::Head { channel, stream });
            return;
        }
        c.tail = Some(stream.head);
        for connection in std::mem::take(&mut c.catching_up().opening) {
            self.items.push_back(Item::Begin {
                connection,
                channel,
            });
        }
    }

    /// No stream: everyone who waited for it is told.
    pub(super) fn follow_failed(&mut self, slot: Slot, refusal: &Refusal) {
        let Some(c) = self.channels.get_mut(slot) else {
            return;
        };
        if c.tail.is_some() {
            // It was asked because something was left out: that has to be found.
            self.try_again(Again::Follow { channel: slot });
            return;
        }
        let name = c.name.clone();
        for connection in std::mem::take(&mut c.catching_up().opening) {
            let stage = self.end(connection, slot, Duration::ZERO);
            let Some(Stage::Opening(opening)) = stage else {
                continue;
            };
            match opening.id {
                Some(id) => self.refuse(connection, id, refusal.clone()),
                None => self.unsubscribed(connection, &name, refusal.clone()),
            }
        }
    }

    pub(super) fn unsubscribed(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
        refusal: Refusal,
    ) {
        self.notice(
            connection,
            Notice::Unsubscribed {
                channel: channel.clone(),
                refusal,
            },
        );
    }

    /// A subscription whose stream is known: live at once, or behind with a place to read from.
    pub(super) fn begin(&mut self, connection: ConnectionId, channel: Slot) -> Option<Step> {
        let c = self.channels.get_mut(channel)?;
        let tail = c.tail?;
        let history = c.rules.history.is_kept();
        let name = c.name.clone();
        let stage = &self
            .connections
            .get_mut(connection.into())?
            .subscription(channel)?
            .stage;
        let Stage::Opening(opening) = stage else {
            return None;
        };
        let (id, since) = (opening.id, opening.since);
        let behind = start(since, tail, history);
        let live = behind.is_none();
        match behind {
            Some(behind) => self.fall_behind(connection, channel, behind),
            None => self.go_live(connection, channel),
        }
        self.queue_advance(connection, channel);
        self.join(connection, channel);
        self.watch(connection, channel);
        self.settle(channel);
        let reply = Reply::Subscribed {
            channel: name,
            position: tail,
            live,
        };
        Some(Step::Notice {
            connection,
            notice: Notice::Reply { id, reply },
        })
    }

    pub(super) fn unsubscribe(
        &mut self,
        connection: ConnectionId,
        id: CommandId,
        channel: ChannelName,
    ) -> Result<(), Refusal> {
        let slot = self.names.get(&channel).copied();
        let ended = slot.and_then(|slot| self.end(connection, slot, Duration::ZERO));
        let Some(ended) = ended else {
            let detail = format!("this session is not subscribed to {channel}");
            return Err(Refusal::new(ErrorCode::NotSubscribed, detail));
        };
        if let Stage::Opening(opening) = ended
            && let Some(unanswered) = opening.id
        {
            let detail = "unsubscribed before the subscription began";
            self.refuse(
                connection,
                unanswered,
                Refusal::new(ErrorCode::NotSubscribed, detail),
            );
        }
        self.reply(connection, Some(id), Reply::Unsubscribed { channel });
        Ok(())
    }

    pub(super) fn unsubscribe_all(&mut self, connection: ConnectionId, grace: Duration) {
        let Some(l) = self.connections.get(connection.into()) else {
            return;
        };
        let channels: Vec<_> = l.subscriptions.iter().map(|s| s.channel).collect();
        for channel in channels {
            self.end(connection, channel, grace);
        }
    }

    /// Takes a subscription out of everything that knows it.
    pub(super) fn end(
        &mut self,
        connection: ConnectionId,
        channel: Slot,
        grace: Duration,
    ) -> Option<Stage> {
        self.leave(connection, channel, grace);
        self.stop_watching(connection, channel);
        self.leave_live(connection, channel);
        let l = self.connections.get_mut(connection.into())?;
        let index = l.subscriptions.iter().position(|s| s.channel == channel)?;
        let stage = l.subscriptions.swap_remove(index).stage;
        let c = self.channels.get_mut(channel)?;
        match &stage {
            Stage::Behind(_) => c.behind -= 1,
            // Its place among those who wait to begin stays: beginning finds nobody.
            Stage::Opening(_) | Stage::Live { .. } => {}
        }
        c.subscribers -= 1;
        c.settle();
        if c.subscribers == 0 {
            self.close_channel(channel);
        }
        Some(stage)
    }

    fn close_channel(&mut self, slot: Slot) {
        let Some(c) = self.channels.remove(slot) else {
            return;
        };
        self.names.remove(&c.name);
        self.broker_requests
            .push_back(BrokerRequest::Unfollow { channel: c.name });
    }

    pub(super) fn settle(&mut self, channel: Slot) {
        if let Some(c) = self.channels.get_mut(channel) {
            c.settle();
        }
    }
}

/// Where a subscription begins to read; none when it is live at once.
fn start(since: Since, tail: Position, history: bool) -> Option<Behind> {
    let at = |offset| Position {
        epoch: tail.epoch,
        offset,
    };
    match since {
        Since::Now => None,
        Since::Start | Since::Last(_) if !history || tail.offset == 0 => None,
        Since::Last(0) => None,
        Since::Start => Some(Behind::resumed(at(0), true)),
        Since::Last(n) => Some(Behind::resumed(
            at(tail.offset.saturating_sub(n.into())),
            true,
        )),
        Since::Position(position) if position == tail => None,
        Since::Position(position) => Some(Behind::resumed(position, false)),
    }
}
