//! Making, starting and ending subscriptions.

use std::{sync::Arc, time::Duration};

use crate::{
    ask::Wish,
    command::{CommandId, Since},
    delivery::{ConnectionId, Notice, Reply},
    error::{ErrorCode, Refusal},
    position::Position,
    rules::ChannelRules,
    session::Unacknowledged,
    slab::Slot,
    subscription::{Flow, Subscribe, SubscriptionKey, Target},
};

use super::{
    Engine, Item, Step,
    asks::too_many_questions,
    commands::gone,
    shrinking::list,
    state::{Asked, Behind, Opening, Shared, State, Subscription, Wanted, Why, window::Window},
};

/// The origin of a subscription.
pub(super) enum Wished {
    /// The client, which waits for the reply.
    Client(CommandId),
    /// The client, which has shown its dialect that it may.
    Permitted(CommandId),
    /// An earlier connection of the session.
    Restored {
        vouched: bool,
        /// It may read channels of its filter that it could not read then.
        regained: bool,
        earlier: Option<Unacknowledged>,
    },
    /// The server's side, which needs no permission.
    Server,
}

impl Wished {
    /// A client's command; `permitted` by its connection's dialect, or to be judged.
    pub(super) fn by(id: CommandId, permitted: bool) -> Self {
        match permitted {
            true => Self::Permitted(id),
            false => Self::Client(id),
        }
    }

    /// Whether somebody else than the rules has allowed it.
    const fn vouches(&self) -> bool {
        match self {
            Self::Client(_) => false,
            Self::Permitted(_) | Self::Server => true,
            Self::Restored { vouched, .. } => *vouched,
        }
    }
}

impl Engine {
    pub(super) fn subscribe(
        &mut self,
        connection: ConnectionId,
        wish: Subscribe,
        by: Wished,
    ) -> Result<(), Refusal> {
        let (rules, asked) = match by {
            Wished::Server => (self.rules_of_target(&wish.target)?, false),
            Wished::Client(_) => self.may_subscribe(connection, &wish.target)?,
            Wished::Permitted(_) => (self.open_to_some(connection, &wish.target)?, false),
            // It was allowed from the outside, or made by the server.
            Wished::Restored { vouched: true, .. } => (self.rules_of_target(&wish.target)?, false),
            Wished::Restored { .. } => self.may_subscribe(connection, &wish.target)?,
        };
        if asked && self.asks.len() >= self.limits.requests {
            return Err(too_many_questions());
        }
        let known = self.feed_of(&wish.target);
        self.check(connection, &wish, known, &rules, &by)?;
        if wish.share.is_some() {
            self.may_share(connection, &wish.target, by.vouches())?;
        }
        let feed = match known {
            Some(feed) => {
                self.renew_feed(feed)?;
                feed
            }
            None => self.open_feed(wish.target.clone(), Arc::clone(&rules))?,
        };
        let restored = matches!(by, Wished::Restored { .. });
        let regained = matches!(by, Wished::Restored { regained: true, .. });
        let (command, vouched, earlier) = match by {
            Wished::Client(command) => (Some(command), false, None),
            Wished::Permitted(command) => (Some(command), true, None),
            Wished::Restored {
                vouched, earlier, ..
            } => (None, vouched, earlier),
            Wished::Server => (None, true, None),
        };
        let since = wish.since;
        let opening = Opening {
            command,
            restored,
            regained,
            // Members may have left while the session was disconnected.
            members: wish.members || command.is_none(),
            since,
            asked: None,
            earlier,
        };
        let mut new = Subscription::new(connection, feed, wish.id, opening);
        new.presence = wish.presence && rules.presence;
        new.echo = wish.echo;
        if vouched {
            new.set_vouched();
        }
        if let Flow::Acknowledged { window } = wish.flow {
            let size = window.clamp(1, self.limits.window.max(1));
            match wish.share {
                Some(share) => new.shared = Some(Box::new(Shared::new(share, size))),
                None => new.window = Some(Box::new(Window::new(size, Position::new(0, 0)))),
            }
        }
        self.without_echo += usize::from(!new.echo);
        let slot = self.subscriptions.insert(new);
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.subscriptions.add(slot, &mut self.subscriptions);
            if let Some(face) = wish.face {
                c.extra().faces.insert(feed, face);
            }
        }
        if let Some(f) = self.feeds.get_mut(feed) {
            f.subscribers += 1;
            if f.tail.is_none() {
                let most = f.subscribers;
                let opening = &mut f.catching_up().opening;
                list(slot, opening, &self.subscriptions, most);
            } else if !asked {
                self.items.push_back(Item::Begin { subscription: slot });
            }
        }
        if asked {
            let target = wish.target;
            let ask = self.ask(
                Asked::Subscribe { subscription: slot },
                rules.ask,
                Some(connection),
                Wish::Subscribe { target },
            );
            let s = self.subscriptions.get_mut(slot);
            if let Some(State::Opening(opening)) = s.map(|s| &mut s.state) {
                opening.asked = Some(ask);
            }
        }
        self.session_changed(connection);
        Ok(())
    }

    pub(super) fn feed_of(&self, target: &Target) -> Option<Slot> {
        match target {
            Target::Channel(channel) => self.names.get(channel).copied(),
            Target::Filter(filter) => self.filters.get(filter).copied(),
        }
    }

    /// Whether a subscription may be added to a session.
    fn check(
        &self,
        connection: ConnectionId,
        wish: &Subscribe,
        feed: Option<Slot>,
        rules: &ChannelRules,
        by: &Wished,
    ) -> Result<(), Refusal> {
        let refused = |code, detail: String| Err(Refusal::new(code, detail));
        let c = self.connections.get(connection.into()).ok_or_else(gone)?;
        let wanted = match (wish.id, feed) {
            (Some(id), _) => Some(Wanted::Id(id)),
            (None, feed) => feed.map(Wanted::Feed),
        };
        let twice = wanted.and_then(|wanted| c.subscriptions.find(wanted, &self.subscriptions));
        if twice.is_some() {
            let name = wish.name();
            let detail =
                format!("this session has a {name} already; use another subscription number");
            return refused(ErrorCode::AlreadySubscribed, detail);
        }
        let limit = self
            .limits
            .of_client(c.identity.class.as_ref())
            .subscriptions;
        if c.subscriptions.len() >= limit {
            let detail = format!("this session has {limit} subscriptions, which is the limit");
            return refused(ErrorCode::TooManySubscriptions, detail);
        }
        if wish.id.is_some_and(|id| !Subscription::is_number(id)) {
            let detail = "the subscription's number is too large; the limit is 4294967294";
            return refused(ErrorCode::BadRequest, detail.into());
        }
        let target = &wish.target;
        let of_one_channel = matches!(wish.since, Since::Last(_) | Since::State);
        if of_one_channel && target.channel().is_none() {
            let detail = "state and the newest so many are of one channel; begin a filter with \
                          \"now\", \"start\" or a position";
            return refused(ErrorCode::BadRequest, detail.into());
        }
        if wish.since == Since::State && !rules.state.is_kept() {
            let detail = format!("{target} has no state");
            return refused(ErrorCode::NoState, detail);
        }
        if wish.presence && !rules.presence && !matches!(by, Wished::Restored { .. }) {
            let detail = format!("{target} has no presence; subscribe without it");
            return refused(ErrorCode::NoPresence, detail);
        }
        if self.members_full && rules.presence && !matches!(by, Wished::Restored { .. }) {
            let detail = format!(
                "{target} has presence, and the memory for members is full; try again later"
            );
            return refused(ErrorCode::Busy, detail);
        }
        if wish.flow != Flow::Pushed && !rules.history.is_kept() {
            let detail =
                format!("{target} has no history to redeliver from; subscribe without a window");
            return refused(ErrorCode::NoHistory, detail);
        }
        Self::check_share(wish)
    }

    /// Ends a subscription without a request of its client, which is told.
    pub(super) fn end_unasked(&mut self, slot: Slot, refusal: Refusal) {
        let Some(subscription) = self.name_of(slot) else {
            return;
        };
        let Some(connection) = self.subscriptions.get(slot).map(|s| s.connection) else {
            return;
        };
        // A subscription ended by an error may be made again before others notice.
        let grace = if refusal.code == ErrorCode::StorageCorrupt {
            self.limits.presence_grace
        } else {
            Duration::ZERO
        };
        match self.end(slot, grace) {
            Some(State::Opening(opening)) if opening.command.is_some() => {
                if let Some(command) = opening.command {
                    self.refuse(connection, command, refusal);
                }
            }
            Some(_begun) => self.notice(
                connection,
                Notice::Unsubscribed {
                    subscription,
                    refusal,
                },
            ),
            None => {}
        }
    }

    /// Starts a subscription whose stream is known: live at once, or behind with a position to read
    /// from.
    pub(super) fn begin(&mut self, slot: Slot) -> Option<Step> {
        self.apply_first(slot);
        let s = self.subscriptions.get_mut(slot)?;
        let (connection, feed) = (s.connection, s.feed);
        let f = self.feeds.known(feed)?;
        let tail = f.tail?;
        let history = f.rules.history.is_kept();
        let State::Opening(opening) = &mut s.state else {
            return None;
        };
        if opening.asked.is_some() {
            return None;
        }
        let (command, since, restored) = (opening.command, opening.since, opening.restored);
        let members = opening.members;
        let earlier = opening.earlier.take();
        let mut behind = start(since, tail, history);
        if opening.regained {
            // Even if it is up to date: it has not received what it could not read.
            behind
                .get_or_insert_with(|| Behind::at(tail, Why::Confirmed))
                .regain();
        }
        let is_shared = s.shared.is_some();
        let acknowledged = s.window.is_some() || is_shared;
        let live = behind.is_none() || is_shared;
        let from = behind.as_ref().map_or(tail, |behind| behind.cursor);
        s.begin_after(from);
        if let Some(window) = &mut s.window {
            let size = window.size();
            **window = match earlier {
                Some(earlier) => Window::resumed(size, from, earlier),
                None => Window::new(size, from),
            };
        }
        let paced = s.window.is_some();
        match behind {
            behind if is_shared => {
                let lenient = behind.is_some_and(|b| b.why == Why::Given { lenient: true });
                self.join_group(slot, from, lenient);
            }
            Some(behind) => self.fall_behind(slot, behind),
            None if paced => self.fall_behind(slot, Behind::at(tail, Why::Paced)),
            None => self.go_live(slot),
        }
        if !is_shared {
            self.queue_advance(slot);
        }
        self.join(slot);
        self.watch(slot);
        if restored {
            self.restored_one(connection);
        }
        if members {
            self.tell_members(slot);
        }
        self.settle(feed);
        let reply = Reply::Subscribed {
            subscription: self.name_of(slot)?,
            position: tail,
            live,
            by_server: command.is_none() && !restored,
            acknowledged,
        };
        let notice = Notice::Reply { id: command, reply };
        Some(Step::Notice { connection, notice })
    }

    /// The subscription that a client refers to.
    pub(super) fn subscription_of(
        &self,
        connection: ConnectionId,
        key: &SubscriptionKey,
    ) -> Result<Slot, Refusal> {
        let c = self.connections.get(connection.into()).ok_or_else(gone)?;
        let wanted = match key {
            SubscriptionKey::Id(id) => Some(Wanted::Id(*id)),
            SubscriptionKey::Target(target) => self.feed_of(target).map(Wanted::Feed),
        };
        let found = wanted.and_then(|wanted| c.subscriptions.find(wanted, &self.subscriptions));
        found.ok_or_else(|| {
            let detail = format!("this session has no {key}");
            Refusal::new(ErrorCode::NotSubscribed, detail)
        })
    }

    pub(super) fn unsubscribe(
        &mut self,
        connection: ConnectionId,
        id: CommandId,
        key: &SubscriptionKey,
    ) -> Result<(), Refusal> {
        let slot = self.subscription_of(connection, key)?;
        let subscription = self.name_of(slot).ok_or_else(gone)?;
        if let Some(State::Opening(opening)) = self.end(slot, Duration::ZERO)
            && let Some(unanswered) = opening.command
        {
            let detail = "unsubscribed before the subscription began";
            let refusal = Refusal::new(ErrorCode::NotSubscribed, detail);
            self.refuse(connection, unanswered, refusal);
        }
        self.session_changed(connection);
        self.reply(connection, Some(id), Reply::Unsubscribed { subscription });
        Ok(())
    }

    pub(super) fn subscriptions_of(&self, connection: ConnectionId) -> Vec<Slot> {
        let connection = self.connections.get(connection.into());
        connection.map_or_else(Vec::new, |c| c.subscriptions.as_slice().to_vec())
    }

    /// Removes a subscription from everything that refers to it.
    pub(super) fn end(&mut self, slot: Slot, grace: Duration) -> Option<State> {
        self.leave_group(slot);
        self.leave(slot, grace);
        self.stop_watching(slot);
        self.leave_live(slot);
        let connection = self.subscriptions.get(slot)?.connection;
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.subscriptions.remove(slot, &mut self.subscriptions);
            let feed = self.subscriptions.get(slot).map(|s| s.feed);
            if let (Some(extra), Some(feed)) = (&mut c.extra, feed)
                && extra.faces.remove(&feed).is_some()
            {
                c.settle();
            }
        }
        let s = self.subscriptions.remove(slot)?;
        self.without_echo -= usize::from(!s.echo);
        let f = self.feeds.known_mut(s.feed)?;
        match &s.state {
            State::Behind(_) => f.not_behind(slot),
            // Its entry among the opening ones stays: beginning finds no subscription.
            State::Opening(_) | State::Live { .. } | State::Ended => {}
        }
        f.subscribers -= 1;
        f.settle();
        if f.subscribers == 0 {
            self.close_feed(s.feed);
        }
        if let State::Opening(opening) = &s.state {
            if let Some(ask) = opening.asked {
                self.asks.forget(ask);
            }
            if opening.restored {
                self.restored_one(connection);
            }
        }
        Some(s.state)
    }

    pub(super) fn settle(&mut self, feed: Slot) {
        if let Some(f) = self.feeds.get_mut(feed) {
            f.settle();
        }
    }
}

/// Where a subscription starts to read; none if it is live at once.
fn start(since: Since, tail: Position, history: bool) -> Option<Behind> {
    let at = |offset| Position {
        epoch: tail.epoch,
        offset,
    };
    match since {
        Since::Now => None,
        Since::State => Some(Behind::at(at(0), Why::ReadsState { slow: false })),
        Since::Start | Since::Last(_) if !history || tail.offset == 0 => None,
        Since::Last(0) => None,
        Since::Start => Some(Behind::given(at(0), true)),
        Since::Last(n) => {
            let before = tail.offset.saturating_sub(n.into());
            Some(Behind::given(at(before), true))
        }
        Since::Position(position) if position == tail => None,
        Since::Position(position) => Some(Behind::given(position, false)),
    }
}
