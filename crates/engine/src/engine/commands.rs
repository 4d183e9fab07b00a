//! Commands: within limits, allowed, and on their way.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    broker::{BrokerRequest, ReadFrom, ReadLimit},
    channel_name::ChannelName,
    command::{Command, CommandId, Now, Since},
    delivery::{CloseReason, LineId, Reply},
    error::{ErrorCode, Refusal},
    position::Position,
    publication::{Draft, Format, Key, Publisher, Tags},
    session::Identity,
};

use super::{Engine, state::Pending};

impl Engine {
    /// Takes a command from a line. Every command gets exactly one reply, unless the line goes
    /// first.
    pub fn handle_command(&mut self, line: LineId, id: CommandId, command: Command, now: Now) {
        self.now = now.instant;
        if self.lines.get(line.into()).is_none_or(|l| l.closing) {
            return;
        }
        let publishes = matches!(command, Command::Publish { .. });
        let done = match self.admit(line, publishes) {
            Ok(()) => self.carry_out(line, id, command, now),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = done {
            self.refuse(line, id, refusal);
        }
    }

    /// A line sent what is no command: it is answered with the refusal, and costs what a command
    /// does, so that nobody can send rubbish faster than sense.
    pub fn handle_refused(
        &mut self,
        line: LineId,
        id: Option<CommandId>,
        refusal: Refusal,
        now: Now,
    ) {
        self.now = now.instant;
        if self.lines.get(line.into()).is_none_or(|l| l.closing) {
            return;
        }
        let refusal = self.admit(line, false).err().unwrap_or(refusal);
        self.reply(line, id, Reply::Refused(refusal));
    }

    fn carry_out(
        &mut self,
        line: LineId,
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
                let draft = self.draft(line, channel, data, format, tags, key, now)?;
                self.in_flight(line)?;
                let id = self.request(Pending::Publish { line, command: id });
                self.broker_requests
                    .push_back(BrokerRequest::Publish { id, draft });
                Ok(())
            }
            Command::Subscribe {
                channel,
                since,
                presence,
            } => self.subscribe(line, Some(id), channel, since, presence),
            Command::Unsubscribe { channel } => self.unsubscribe(line, id, channel),
            Command::History {
                channel,
                since,
                limit,
            } => self.history(line, id, channel, since, limit),
            Command::Presence { channel } => self.presence(line, id, channel),
            Command::Ack {
                channel,
                consumer,
                position,
            } => self.ack(line, id, channel, consumer, position),
            Command::Receipts { channel, position } => self.receipts(line, id, channel, position),
            Command::Ping => {
                self.reply(line, Some(id), Reply::Pong);
                Ok(())
            }
        }
    }

    /// Rate limits; whoever runs into them for long is closed.
    fn admit(&mut self, line: LineId, publishes: bool) -> Result<(), Refusal> {
        let now_ms = self.now_ms();
        let limits = &self.limits;
        let Some(l) = self.lines.get_mut(line.into()) else {
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
            self.close(line, CloseReason::Flood);
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
        line: LineId,
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
        let l = self.lines.get(line.into()).ok_or_else(gone)?;
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
        line: LineId,
        command: CommandId,
        channel: ChannelName,
        since: Since,
        limit: u32,
    ) -> Result<(), Refusal> {
        if !self.may_read(line, &channel)?.history.is_kept() {
            let detail = format!("channel {channel} keeps no history");
            return Err(Refusal::new(ErrorCode::NoHistory, detail));
        }
        self.in_flight(line)?;
        let from = match since {
            Since::Now => ReadFrom::Last(0),
            Since::Start => ReadFrom::After(0),
            Since::Last(count) => ReadFrom::Last(count.min(limit).into()),
            Since::Position(position) => ReadFrom::After(position.offset),
        };
        let limit = ReadLimit {
            count: limit.min(self.limits.page_count),
            bytes: self.limits.page_bytes,
        };
        let pending = Pending::History {
            line,
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
        line: LineId,
        command: CommandId,
        channel: ChannelName,
    ) -> Result<(), Refusal> {
        if !self.may_read(line, &channel)?.presence {
            let detail = format!("channel {channel} keeps no presence");
            return Err(Refusal::new(ErrorCode::NoPresence, detail));
        }
        self.in_flight(line)?;
        self.ask_members(line, Some(command), channel);
        Ok(())
    }

    fn ack(
        &mut self,
        line: LineId,
        command: CommandId,
        channel: ChannelName,
        consumer: Key,
        position: Option<Position>,
    ) -> Result<(), Refusal> {
        if !self.may_read(line, &channel)?.history.is_kept() {
            let detail = format!("channel {channel} keeps no history to go back into");
            return Err(Refusal::new(ErrorCode::NoHistory, detail));
        }
        self.in_flight(line)?;
        let l = self.lines.get(line.into()).ok_or_else(gone)?;
        let scope = Arc::clone(&l.identity.user);
        let id = self.request(Pending::Ack {
            line,
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
        line: LineId,
        command: CommandId,
        channel: ChannelName,
        position: Position,
    ) -> Result<(), Refusal> {
        let named = self.may_read(line, &channel)?.presence;
        self.in_flight(line)?;
        let id = self.request(Pending::Receipts {
            line,
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

    /// Counts a request to the broker against its line and the worker.
    fn in_flight(&mut self, line: LineId) -> Result<(), Refusal> {
        let busy = |detail| Err(Refusal::new(ErrorCode::Busy, detail));
        if self.requests.len() >= self.limits.requests {
            return busy("the server has too many requests under way; try again with the same key");
        }
        let Some(l) = self.lines.get_mut(line.into()) else {
            return Err(gone());
        };
        if l.in_flight >= self.limits.requests_per_line {
            return busy("too many requests without waiting for answers");
        }
        l.in_flight += 1;
        Ok(())
    }
}

/// Never seen by anyone: who would read it is gone.
pub(super) fn gone() -> Refusal {
    Refusal::new(ErrorCode::BadRequest, "the line is gone")
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
