//! Commands: within limits, allowed, and on their way.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    broker::{BrokerRequest, ReadFrom, ReadLimit},
    channel_name::ChannelName,
    command::{Command, CommandId, Now, Since},
    delivery::{CloseReason, ConnectionId, Reply},
    error::{ErrorCode, Refusal},
    position::Position,
    publication::{Draft, Format, Key, Publisher, Tags},
    session::Identity,
};

use super::{Engine, state::Pending};

impl Engine {
    /// Takes a command from a connection. Every command gets exactly one reply, unless the connection goes
    /// first.
    pub fn handle_command(
        &mut self,
        connection: ConnectionId,
        id: CommandId,
        command: Command,
        now: Now,
    ) {
        self.now = now.instant;
        if self
            .connections
            .get(connection.into())
            .is_none_or(|l| l.closing)
        {
            return;
        }
        let publishes = matches!(command, Command::Publish { .. });
        let done = match self.admit(connection, publishes) {
            Ok(()) => self.carry_out(connection, id, command, now),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = done {
            self.refuse(connection, id, refusal);
        }
    }

    /// A connection sent what is no command: it is answered with the refusal, and costs what a command
    /// does, so that nobody can send rubbish faster than sense.
    pub fn handle_refused(
        &mut self,
        connection: ConnectionId,
        id: Option<CommandId>,
        refusal: Refusal,
        now: Now,
    ) {
        self.now = now.instant;
        if self
            .connections
            .get(connection.into())
            .is_none_or(|l| l.closing)
        {
            return;
        }
        let refusal = self.admit(connection, false).err().unwrap_or(refusal);
        self.reply(connection, id, Reply::Refused(refusal));
    }

    fn carry_out(
        &mut self,
        connection: ConnectionId,
        id: CommandId,
        command: Command,
        now: Now,
    ) -> Result<(), Refusal> {
        match command {
            Command::Publish {
                channel,
                data,
                format,
                tags,
                key,
            } => {
                let draft = self.draft(connection, channel, data, format, tags, key, now)?;
                self.in_flight(connection)?;
                let id = self.request(Pending::Publish {
                    connection,
                    command: id,
                });
                self.broker_requests
                    .push_back(BrokerRequest::Publish { id, draft });
                Ok(())
            }
            Command::Subscribe {
                channel,
                since,
                presence,
            } => self.subscribe(connection, Some(id), channel, since, presence),
            Command::Unsubscribe { channel } => self.unsubscribe(connection, id, channel),
            Command::History {
                channel,
                since,
                limit,
            } => self.history(connection, id, channel, since, limit),
            Command::Presence { channel } => self.presence(connection, id, channel),
            Command::Ack {
                channel,
                consumer,
                position,
            } => self.ack(connection, id, channel, consumer, position),
            Command::Receipts { channel, position } => {
                self.receipts(connection, id, channel, position)
            }
            Command::Ping => {
                self.reply(connection, Some(id), Reply::Pong);
                Ok(())
            }
        }
    }

    /// Rate limits; whoever runs into them for long is closed.
    fn admit(&mut self, connection: ConnectionId, publishes: bool) -> Result<(), Refusal> {
        let now_ms = self.now_ms();
        let limits = &self.limits;
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return Ok(());
        };
        let (rate, burst) = (limits.commands_per_second, limits.command_burst);
        let mut admitted = l.commands.take(rate, burst, now_ms);
        if admitted.is_ok() && publishes {
            let (rate, burst) = (limits.publishes_per_second, limits.publish_burst);
            admitted = l.publishes.take(rate, burst, now_ms);
        }
        let Err(pause) = admitted else {
            l.refused = 0;
            return Ok(());
        };
        l.refused += 1;
        if l.refused > limits.flood {
            self.close(connection, CloseReason::Flood);
        }
        let detail = "too many commands in too short a time; slow down";
        Err(Refusal::new(ErrorCode::RateLimited, detail).after(pause))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one command, taken apart once"
    )]
    fn draft(
        &self,
        connection: ConnectionId,
        channel: ChannelName,
        data: Bytes,
        format: Format,
        tags: Tags,
        key: Option<Key>,
        now: Now,
    ) -> Result<Draft, Refusal> {
        if data.len() > self.limits.data_bytes {
            let (len, limit) = (data.len(), self.limits.data_bytes);
            let detail = format!("the data has {len} bytes, at most {limit} go");
            return Err(Refusal::new(ErrorCode::TooLarge, detail));
        }
        let l = self.connections.get(connection.into()).ok_or_else(gone)?;
        let rules = self.rules_of(&channel)?;
        if !l
            .identity
            .may(rules.publish, &l.identity.may_publish, &channel)
        {
            return Err(forbidden("publish to", &channel, &l.identity));
        }
        let publisher = Some(Publisher {
            session: l.session,
            user: l.identity.user.clone(),
        });
        Ok(Draft {
            channel,
            data,
            format,
            tags,
            publisher,
            key,
            time_ms: now.unix_ms,
        })
    }

    fn history(
        &mut self,
        connection: ConnectionId,
        command: CommandId,
        channel: ChannelName,
        since: Since,
        limit: u32,
    ) -> Result<(), Refusal> {
        if !self.may_read(connection, &channel)?.history.is_kept() {
            let detail = format!("channel {channel} keeps no history");
            return Err(Refusal::new(ErrorCode::NoHistory, detail));
        }
        self.in_flight(connection)?;
        let from = match since {
            Since::Now => ReadFrom::Last(0),
            Since::Start => ReadFrom::Start,
            Since::Last(count) => ReadFrom::Last(count.min(limit).into()),
            Since::Position(position) => ReadFrom::After(position),
        };
        let limit = ReadLimit {
            count: limit.min(self.limits.page_count),
            bytes: self.limits.page_bytes,
        };
        let pending = Pending::History {
            connection,
            command,
            channel: channel.clone(),
            since,
        };
        let id = self.request(pending);
        self.broker_requests.push_back(BrokerRequest::History {
            id,
            channel,
            from,
            limit,
        });
        Ok(())
    }

    fn presence(
        &mut self,
        connection: ConnectionId,
        command: CommandId,
        channel: ChannelName,
    ) -> Result<(), Refusal> {
        if !self.may_read(connection, &channel)?.presence {
            let detail = format!("channel {channel} keeps no presence");
            return Err(Refusal::new(ErrorCode::NoPresence, detail));
        }
        self.in_flight(connection)?;
        self.ask_members(connection, Some(command), channel);
        Ok(())
    }

    fn ack(
        &mut self,
        connection: ConnectionId,
        command: CommandId,
        channel: ChannelName,
        consumer: Key,
        position: Option<Position>,
    ) -> Result<(), Refusal> {
        if !self.may_read(connection, &channel)?.history.is_kept() {
            let detail = format!("channel {channel} keeps no history to go back into");
            return Err(Refusal::new(ErrorCode::NoHistory, detail));
        }
        self.in_flight(connection)?;
        let l = self.connections.get(connection.into()).ok_or_else(gone)?;
        let scope = Arc::clone(&l.identity.user);
        let id = self.request(Pending::Ack {
            connection,
            command,
            channel: channel.clone(),
        });
        self.broker_requests.push_back(BrokerRequest::Ack {
            id,
            channel,
            scope,
            consumer,
            position,
        });
        Ok(())
    }

    fn receipts(
        &mut self,
        connection: ConnectionId,
        command: CommandId,
        channel: ChannelName,
        position: Position,
    ) -> Result<(), Refusal> {
        let named = self.may_read(connection, &channel)?.presence;
        self.in_flight(connection)?;
        let id = self.request(Pending::Receipts {
            connection,
            command,
            channel: channel.clone(),
            position,
            named,
        });
        self.broker_requests.push_back(BrokerRequest::Receipts {
            id,
            channel,
            position,
        });
        Ok(())
    }

    /// Counts a request to the broker against its connection and the worker.
    fn in_flight(&mut self, connection: ConnectionId) -> Result<(), Refusal> {
        let busy = |detail| Err(Refusal::new(ErrorCode::Busy, detail));
        if self.requests.len() >= self.limits.requests {
            return busy("the server has too many requests under way; try again with the same key");
        }
        let Some(l) = self.connections.get_mut(connection.into()) else {
            return Err(gone());
        };
        if l.in_flight >= self.limits.requests_per_connection {
            return busy("too many requests without waiting for answers");
        }
        l.in_flight += 1;
        Ok(())
    }
}

/// Never seen by anyone: who would read it is gone.
pub(super) fn gone() -> Refusal {
    Refusal::new(ErrorCode::BadRequest, "the connection is gone")
}

pub(super) fn forbidden(what: &str, channel: &ChannelName, identity: &Identity) -> Refusal {
    let who = if identity.user.is_empty() {
        "a stranger"
    } else {
        &*identity.user
    };
    Refusal::new(
        ErrorCode::Forbidden,
        format!("{who} may not {what} channel {channel}"),
    )
}
