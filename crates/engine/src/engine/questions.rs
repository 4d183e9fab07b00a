//! Questions that the broker answers: history, members, consumers, receipts.

use std::sync::Arc;

use crate::{
    broker::{BrokerRequest, ReadFrom, ReadLimit},
    channel_name::ChannelName,
    command::Since,
    error::{ErrorCode, Refusal},
    position::Position,
    publication::Key,
};

use super::{
    Engine,
    state::{Asker, Pending},
};

impl Engine {
    pub(super) fn history(
        &mut self,
        asker: Asker,
        channel: ChannelName,
        since: Since,
        limit: u32,
    ) -> Result<(), Refusal> {
        let from = match since {
            Since::State => {
                let detail =
                    "history cannot start at the state; request the state, or subscribe since it";
                return Err(Refusal::new(ErrorCode::BadRequest, detail));
            }
            Since::Now => ReadFrom::Last(0),
            Since::Start => ReadFrom::Start,
            Since::Last(count) => ReadFrom::Last(count.min(limit).into()),
            Since::Position(position) => ReadFrom::After(position),
        };
        self.read_once(asker, channel, from, limit, |channel| Pending::History {
            asker,
            channel,
            since,
        })
    }

    pub(super) fn history_before(
        &mut self,
        asker: Asker,
        channel: ChannelName,
        before: Position,
        limit: u32,
    ) -> Result<(), Refusal> {
        let from = ReadFrom::Before(before);
        self.read_once(asker, channel, from, limit, |channel| {
            Pending::HistoryBefore { asker, channel }
        })
    }

    /// Reads a page of history for a request.
    fn read_once(
        &mut self,
        asker: Asker,
        channel: ChannelName,
        from: ReadFrom,
        limit: u32,
        pending: impl FnOnce(ChannelName) -> Pending,
    ) -> Result<(), Refusal> {
        if !self.rules_of(&channel)?.history.is_kept() {
            let detail = format!("channel {channel} has no history");
            return Err(Refusal::new(ErrorCode::NoHistory, detail));
        }
        self.in_flight(asker)?;
        let limit = ReadLimit {
            count: limit.min(self.limits.page_count),
            bytes: self.limits.page_bytes,
        };
        let id = self.request(pending(channel.clone()));
        self.broker_requests.push_back(BrokerRequest::History {
            id,
            channel,
            from,
            limit,
        });
        Ok(())
    }

    pub(super) fn presence(&mut self, asker: Asker, channel: ChannelName) -> Result<(), Refusal> {
        if !self.rules_of(&channel)?.presence {
            let detail = format!("channel {channel} has no presence");
            return Err(Refusal::new(ErrorCode::NoPresence, detail));
        }
        self.in_flight(asker)?;
        self.ask_members(asker, channel);
        Ok(())
    }

    pub(super) fn ack(
        &mut self,
        asker: Asker,
        scope: Arc<str>,
        channel: ChannelName,
        consumer: Key,
        position: Option<Position>,
    ) -> Result<(), Refusal> {
        if !self.rules_of(&channel)?.history.is_kept() {
            let detail = format!("channel {channel} has no history to read backward");
            return Err(Refusal::new(ErrorCode::NoHistory, detail));
        }
        self.write_in_flight(asker)?;
        let name = channel.clone();
        let id = self.request(Pending::Ack { asker, channel });
        self.broker_requests.push_back(BrokerRequest::Ack {
            id,
            channel: name,
            scope,
            consumer,
            position,
        });
        Ok(())
    }

    pub(super) fn receipts(
        &mut self,
        asker: Asker,
        channel: ChannelName,
        position: Position,
    ) -> Result<(), Refusal> {
        let named = self.rules_of(&channel)?.presence;
        self.in_flight(asker)?;
        let name = channel.clone();
        let id = self.request(Pending::Receipts {
            asker,
            channel,
            position,
            named,
        });
        self.broker_requests.push_back(BrokerRequest::Receipts {
            id,
            channel: name,
            position,
        });
        Ok(())
    }
}
