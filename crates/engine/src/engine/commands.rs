//! Commands: checked against limits and permissions, then carried out.

use std::sync::Arc;

use crate::{
    ask::CallerId,
    channel_name::ChannelName,
    command::{Command, CommandId, Now},
    delivery::{ConnectionId, Reply},
    error::{ErrorCode, Refusal},
    grant::Verbs,
    publication::Publisher,
    rules::{Access, ChannelRules},
    session::Identity,
    subscription::{SubscriptionName, Target},
};

use super::{Engine, publishing::Given, state::Asker, subscriptions::Wished};

impl Engine {
    /// Handles a command of a connection. Every command gets exactly one reply, unless the
    /// connection ends first.
    pub fn handle_command(
        &mut self,
        connection: ConnectionId,
        id: CommandId,
        command: Command,
        now: Now,
    ) {
        self.set_now(now);
        if self.is_closing(connection) {
            return;
        }
        let done = if let Command::Publish { channel, key, .. } = &command {
            let (channel, key) = (channel.clone(), key.clone());
            let done = self
                .admit(connection, true)
                .and_then(|()| self.in_order(connection, &channel, key.as_ref()))
                .and_then(|()| self.carry_out(connection, id, command, false));
            self.keep_order(connection, &channel, key.as_ref(), &done);
            done
        } else if follows_another(&command) {
            let done = self.carry_out(connection, id, command, false);
            done.or_else(|refusal| self.admit(connection, false).and(Err(refusal)))
        } else {
            self.admit(connection, false)
                .and_then(|()| self.carry_out(connection, id, command, false))
        };
        if let Err(refusal) = done {
            self.refuse(connection, id, refusal);
        }
    }

    /// Handles a command that the dialect of a connection has found to be permitted, by an
    /// authentication of its own such as a signature. Subscribing and publishing then need no other
    /// permission, unless the rules permit it to nobody; an outside party that decides about publications
    /// is still asked. Counts like any other command.
    pub fn handle_permitted(
        &mut self,
        connection: ConnectionId,
        id: CommandId,
        command: Command,
        now: Now,
    ) {
        self.set_now(now);
        if self.is_closing(connection) {
            return;
        }
        let publishes = matches!(command, Command::Publish { .. });
        let done = self
            .admit(connection, publishes)
            .and_then(|()| self.carry_out(connection, id, command, true));
        if let Err(refusal) = done {
            self.refuse(connection, id, refusal);
        }
    }

    /// Handles a publish of a caller without a connection in the name of a session, with all
    /// permissions: the session's subscriptions without echo do not receive it.
    pub fn handle_caller_for(
        &mut self,
        caller: CallerId,
        publisher: Publisher,
        command: Command,
        now: Now,
    ) {
        self.set_now(now);
        let asker = Asker::Caller(caller);
        if let Err(refusal) = self.carry_out_for_caller(asker, None, Some(publisher), command) {
            self.answer(asker, Reply::Refused(refusal));
        }
    }

    /// Handles a command from a caller without a connection: the HTTP API, a webhook's answer,
    /// another node. It has the permissions of `identity`, or all permissions without one, and
    /// publishes in the server's name. Its single reply is returned by
    /// [`poll_caller_reply`](Self::poll_caller_reply).
    pub fn handle_caller(
        &mut self,
        caller: CallerId,
        identity: Option<&Arc<Identity>>,
        command: Command,
        now: Now,
    ) {
        self.set_now(now);
        let asker = Asker::Caller(caller);
        if let Err(refusal) = self.carry_out_for_caller(asker, identity, None, command) {
            self.answer(asker, Reply::Refused(refusal));
        }
    }

    /// A connection sent an invalid message: it is answered with the refusal and counts against the
    /// rate like a command, so that invalid messages cannot be sent faster than valid ones.
    pub fn handle_refused(
        &mut self,
        connection: ConnectionId,
        id: Option<CommandId>,
        refusal: Refusal,
        now: Now,
    ) {
        self.set_now(now);
        if self.is_closing(connection) {
            return;
        }
        let refusal = self.admit(connection, false).err().unwrap_or(refusal);
        self.reply(connection, id, Reply::Refused(refusal));
    }

    fn reply_done(
        &mut self,
        connection: ConnectionId,
        id: CommandId,
        subscription: SubscriptionName,
    ) -> Result<(), Refusal> {
        self.reply(connection, Some(id), Reply::Done { subscription });
        Ok(())
    }

    /// What the names of a session's consumers belong to: its user, or the session.
    fn scope_of(&self, connection: ConnectionId) -> Result<Arc<str>, Refusal> {
        let c = self.connections.get(connection.into()).ok_or_else(gone)?;
        Ok(c.identity.scope(c.session))
    }

    fn is_closing(&self, connection: ConnectionId) -> bool {
        let connection = self.connections.get(connection.into());
        connection.is_none_or(|c| c.closing)
    }

    /// Carries out a command that counts already; `permitted` by the connection's dialect, or to be
    /// judged by the rules and the grants.
    fn carry_out(
        &mut self,
        connection: ConnectionId,
        id: CommandId,
        command: Command,
        permitted: bool,
    ) -> Result<(), Refusal> {
        let asker = Asker::Connection(connection, id);
        match command {
            Command::Publish {
                channel,
                data,
                format,
                tags,
                key,
            } => {
                let given = Given {
                    channel,
                    data,
                    format,
                    tags,
                    key,
                };
                self.publish(connection, id, given, permitted)
            }
            Command::Subscribe(wish) => self.subscribe(connection, wish, Wished::by(id, permitted)),
            Command::Unsubscribe { subscription } => {
                self.unsubscribe(connection, id, &subscription)
            }
            Command::Done {
                subscription,
                position,
                cumulative,
            } => {
                let subscription = self.done(connection, &subscription, position, cumulative)?;
                self.reply_done(connection, id, subscription)
            }
            Command::Return {
                subscription,
                position,
            } => {
                let subscription = self.give_back(connection, &subscription, position)?;
                self.reply_done(connection, id, subscription)
            }
            Command::History {
                channel,
                since,
                limit,
            } => {
                self.may_read(connection, Verbs::HISTORY, &channel)?;
                self.history(asker, channel, since, limit)
            }
            Command::HistoryBefore {
                channel,
                before,
                limit,
            } => {
                self.may_read(connection, Verbs::HISTORY, &channel)?;
                self.history_before(asker, channel, before, limit)
            }
            Command::State {
                channel,
                after,
                limit,
            } => {
                self.may_read(connection, Verbs::STATE, &channel)?;
                self.ask_state(asker, channel, after, limit)
            }
            Command::Values {
                filter,
                after,
                limit,
            } => self.ask_values(asker, filter, after, limit),
            Command::Remember { note, at_once } => self.remember(connection, id, note, at_once),
            Command::Presence { channel } => {
                self.may_read(connection, Verbs::PRESENCE, &channel)?;
                self.presence(asker, channel)
            }
            Command::UpdateInfo { info } => {
                self.update_info(connection, info)?;
                self.reply(connection, Some(id), Reply::InfoUpdated);
                Ok(())
            }
            Command::Ack {
                channel,
                consumer,
                position,
            } => {
                self.may_read(connection, Verbs::SUBSCRIBE, &channel)?;
                let scope = self.scope_of(connection)?;
                self.ack(asker, scope, channel, consumer, position)
            }
            Command::Receipts { channel, position } => {
                self.may_read(connection, Verbs::SUBSCRIBE, &channel)?;
                self.receipts(asker, channel, position)
            }
            call @ Command::Call { .. } => {
                let c = self.connections.get(connection.into()).ok_or_else(gone)?;
                let identity = Arc::clone(&c.identity);
                self.call(asker, Some(&identity), call)
            }
            Command::Ping => {
                self.reply(connection, Some(id), Reply::Pong);
                Ok(())
            }
        }
    }

    fn carry_out_for_caller(
        &mut self,
        asker: Asker,
        identity: Option<&Arc<Identity>>,
        publisher: Option<Publisher>,
        command: Command,
    ) -> Result<(), Refusal> {
        let may_read = |engine: &Self, verb, channel: &ChannelName| {
            let rules = engine.rules_of(channel)?;
            let Some(identity) = identity else {
                return Ok(());
            };
            if identity.may(rules.subscribe, verb, channel) {
                return Ok(());
            }
            Err(forbidden("read", &channel.clone().into(), identity))
        };
        match command {
            Command::Publish {
                channel,
                data,
                format,
                tags,
                key,
            } => {
                let rules = self.rules_of(&channel)?;
                if let Some(identity) = identity
                    && !identity.may(rules.publish, Verbs::PUBLISH, &channel)
                {
                    return Err(forbidden("publish to", &channel.into(), identity));
                }
                let given = Given {
                    channel,
                    data,
                    format,
                    tags,
                    key,
                };
                let draft = self.draft(given, publisher)?;
                self.write_in_flight(asker)?;
                self.send_publish(asker, draft);
                Ok(())
            }
            Command::History {
                channel,
                since,
                limit,
            } => {
                may_read(self, Verbs::HISTORY, &channel)?;
                self.history(asker, channel, since, limit)
            }
            Command::HistoryBefore {
                channel,
                before,
                limit,
            } => {
                may_read(self, Verbs::HISTORY, &channel)?;
                self.history_before(asker, channel, before, limit)
            }
            Command::State {
                channel,
                after,
                limit,
            } => {
                may_read(self, Verbs::STATE, &channel)?;
                self.ask_state(asker, channel, after, limit)
            }
            Command::Presence { channel } => {
                may_read(self, Verbs::PRESENCE, &channel)?;
                self.presence(asker, channel)
            }
            Command::Ack {
                channel,
                consumer,
                position,
            } => {
                may_read(self, Verbs::SUBSCRIBE, &channel)?;
                let scope =
                    identity.map_or_else(|| "".into(), |identity| Arc::clone(&identity.user));
                self.ack(asker, scope, channel, consumer, position)
            }
            Command::Receipts { channel, position } => {
                may_read(self, Verbs::SUBSCRIBE, &channel)?;
                self.receipts(asker, channel, position)
            }
            call @ Command::Call { .. } => self.call(asker, identity, call),
            Command::Ping => {
                self.answer(asker, Reply::Pong);
                Ok(())
            }
            Command::Subscribe(_)
            | Command::Unsubscribe { .. }
            | Command::Done { .. }
            | Command::Return { .. }
            | Command::Values { .. }
            | Command::Remember { .. }
            | Command::UpdateInfo { .. } => {
                let detail = "only a connection can do this; name the session to act for";
                Err(Refusal::new(ErrorCode::BadRequest, detail))
            }
        }
    }

    /// Whether a session may read a channel without being subscribed to it.
    pub(super) fn may_read(
        &self,
        connection: ConnectionId,
        verb: Verbs,
        channel: &ChannelName,
    ) -> Result<&Arc<ChannelRules>, Refusal> {
        let c = self.connections.get(connection.into()).ok_or_else(gone)?;
        let rules = self.rules_of(channel)?;
        let identity = &c.identity;
        let allowed = if rules.subscribe == Access::Asked {
            // A session that was allowed to subscribe may read.
            self.is_vouched(connection, channel)
        } else {
            identity.may(rules.subscribe, verb, channel)
        };
        if !allowed {
            return Err(forbidden("read", &channel.clone().into(), identity));
        }
        Ok(rules)
    }

    /// Whether an outside party has allowed the session to subscribe to a channel.
    pub(super) fn is_vouched(&self, connection: ConnectionId, channel: &ChannelName) -> bool {
        let Some(feed) = self.names.get(channel) else {
            return false;
        };
        let Some(c) = self.connections.get(connection.into()) else {
            return false;
        };
        let mut all = c.subscriptions.as_slice().iter();
        all.any(|slot| {
            let s = self.subscriptions.get(*slot);
            s.is_some_and(|s| s.feed == *feed && s.is_vouched())
        })
    }

    /// Counts a request to the broker against its connection and the worker.
    pub(super) fn in_flight(&mut self, asker: Asker) -> Result<(), Refusal> {
        self.in_flight_within(asker, self.limits.requests)
    }

    /// The same for a request that is answered once something is on disk. Of all requests, these may be
    /// three quarters: while a disk stalls, subscribing and reading go on.
    pub(super) fn write_in_flight(&mut self, asker: Asker) -> Result<(), Refusal> {
        let all = self.limits.requests;
        self.in_flight_within(asker, all - all / 4)
    }

    fn in_flight_within(&mut self, asker: Asker, limit: usize) -> Result<(), Refusal> {
        let busy = |detail| Err(Refusal::new(ErrorCode::Busy, detail));
        if self.requests.len() >= limit {
            return busy("the server has too many requests in flight; try again with the same key");
        }
        let Asker::Connection(connection, _) = asker else {
            return Ok(());
        };
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return Err(gone());
        };
        let limits = self.limits.of_client(c.identity.class.as_ref());
        if c.in_flight >= limits.requests_per_connection {
            return busy("too many requests without waiting for answers");
        }
        c.in_flight += 1;
        Ok(())
    }
}

/// Whether a command is bounded by another that was counted: an acknowledgement by what was delivered,
/// the end of a subscription by its beginning, and what a dialect asks for by itself by what its client
/// asked for. Only if it is refused, it counts against the rate.
fn follows_another(command: &Command) -> bool {
    matches!(
        command,
        Command::Done { .. }
            | Command::Unsubscribe { .. }
            | Command::Remember { .. }
            | Command::Values { .. }
    )
}

/// Never seen by a client: the connection that would receive it is gone.
pub(super) fn gone() -> Refusal {
    Refusal::new(ErrorCode::BadRequest, "the connection is gone")
}

pub(super) fn forbidden(what: &str, target: &Target, identity: &Identity) -> Refusal {
    let who = named(identity);
    let detail = format!("{who} may not {what} {target}");
    Refusal::new(ErrorCode::Forbidden, detail)
}

pub(super) fn named(identity: &Identity) -> String {
    match &*identity.user {
        "" => "a client without a user name".to_owned(),
        user => format!("user {user}"),
    }
}
