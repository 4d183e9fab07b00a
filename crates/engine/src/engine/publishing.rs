//! Publishing: checks limits and permissions, and keeps the order.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    broker::{BrokerFailure, BrokerRequest},
    channel_name::ChannelName,
    command::{CommandId, Now},
    delivery::ConnectionId,
    error::{ErrorCode, Refusal, Retry},
    grant::Verbs,
    publication::{Draft, Format, Key, Publisher, Tags},
    rules::Access,
};

use super::{
    Engine,
    asks::too_many_questions,
    commands::{forbidden, gone},
    state::{Asker, Pending},
};

/// How long publishes of a connection wait for an earlier one that was refused temporarily to be sent
/// again: 5 s after the delay that was given. A client that has not sent it by then has given it up.
const COMES_AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// A publish as received from a client.
pub(super) struct Given {
    pub(super) channel: ChannelName,
    pub(super) data: Bytes,
    pub(super) format: Format,
    pub(super) tags: Tags,
    pub(super) key: Option<Key>,
}

impl Engine {
    /// Refuses a publish that would overtake an earlier one in its channel that was refused
    /// temporarily.
    pub(super) fn in_order(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
        key: Option<&Key>,
    ) -> Result<(), Refusal> {
        let now = self.now;
        let extra = self
            .connections
            .get_mut(connection.into())
            .and_then(|c| c.extra.as_mut());
        if extra.is_none_or(|extra| extra.ordered.is_next(channel, key, now)) {
            return Ok(());
        }
        let detail =
            "an earlier publication in this channel was refused temporarily; send that first";
        Err(Refusal::new(ErrorCode::RateLimited, detail))
    }

    /// Remembers which publish must be sent again before others of its channel are accepted.
    pub(super) fn keep_order(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
        key: Option<&Key>,
        done: &Result<(), Refusal>,
    ) {
        match done {
            Err(refusal) if refusal.code.retry() == Retry::Later => {
                let after = refusal.retry_after.unwrap_or_default();
                self.await_again(connection, channel, key, after);
            }
            Ok(()) | Err(_) => self.go_on_after(connection, channel, key),
        }
    }

    /// A publish was refused temporarily: later ones in its channel are, too, until it is sent again.
    fn await_again(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
        key: Option<&Key>,
        after: Duration,
    ) {
        let until = self.now + COMES_AGAIN_WITHIN + after;
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        // Without a key, a repeated publish cannot be recognised.
        if let Some(key) = key.filter(|_| !c.closing) {
            c.extra().ordered.refused(channel, key, until);
        }
    }

    /// A publish was accepted, or never will be. If it was awaited, later ones continue.
    pub(super) fn go_on_after(
        &mut self,
        connection: ConnectionId,
        channel: &ChannelName,
        key: Option<&Key>,
    ) {
        let c = self.connections.get_mut(connection.into());
        if let Some(c) = c.filter(|c| c.extra.is_some()) {
            c.extra().ordered.taken(channel, key);
            c.settle();
        }
    }

    /// The broker has no room for these requests of
    /// [`poll_broker_request`](Self::poll_broker_request). They are refused as
    /// [`ErrorCode::Busy`]. Call this before the engine handles anything else: publishes that a
    /// connection makes later must not overtake these. What has a key is awaited like a publish that was
    /// refused for its rate. A dialect that repeats publishes without keys keeps their order itself.
    pub fn handle_not_accepted(&mut self, requests: Vec<BrokerRequest>, now: Now) {
        self.set_now(now);
        for request in requests {
            let (BrokerRequest::Publish { id, .. } | BrokerRequest::Ack { id, .. }) = request
            else {
                debug_assert!(false, "a broker accepts all others: {request:?}");
                continue;
            };
            let Some(pending) = self.requests.take(id) else {
                continue;
            };
            if let BrokerRequest::Publish { draft, .. } = &request
                && let Pending::Publish { asker } = &pending
                && let Asker::Connection(connection, _) = *asker
            {
                let (channel, key) = (&draft.channel, draft.key.as_ref());
                self.await_again(connection, channel, key, Duration::ZERO);
            }
            self.request_failed(id, &pending, &BrokerFailure::Busy.into());
        }
    }

    pub(super) fn publish(
        &mut self,
        connection: ConnectionId,
        command: CommandId,
        given: Given,
        permitted: bool,
    ) -> Result<(), Refusal> {
        let c = self.connections.get(connection.into()).ok_or_else(gone)?;
        let identity = &c.identity;
        let rules = self.rules_of(&given.channel)?;
        let permitted = permitted && rules.publish != Access::Nobody;
        let asked = (rules.publish == Access::Asked).then_some(rules.ask);
        let channel = &given.channel;
        let may = permitted || identity.may(rules.publish, Verbs::PUBLISH, channel);
        if asked.is_none() && !may {
            return Err(forbidden("publish to", &channel.clone().into(), identity));
        }
        let user = self
            .face(c, channel)
            .map_or(&identity.user, |face| &face.user);
        let publisher = Publisher {
            session: c.session,
            user: Arc::clone(user),
        };
        let waits = c
            .extra
            .as_ref()
            .is_some_and(|extra| extra.ordered.is_waiting(channel));
        if asked.is_some() && self.asks.len() >= self.limits.requests {
            return Err(too_many_questions());
        }
        let draft = self.draft(given, Some(publisher))?;
        let asker = Asker::Connection(connection, command);
        self.write_in_flight(asker)?;
        if asked.is_some() || waits {
            self.publish_later(connection, command, draft, asked);
        } else {
            self.send_publish(asker, draft);
        }
        Ok(())
    }

    pub(super) fn draft(
        &self,
        given: Given,
        publisher: Option<Publisher>,
    ) -> Result<Draft, Refusal> {
        let Given {
            channel,
            data,
            format,
            tags,
            key,
        } = given;
        self.within_size(&data)?;
        Ok(Draft {
            channel,
            data,
            format,
            tags,
            publisher,
            key,
            time_ms: self.now_unix_ms,
        })
    }

    pub(super) fn within_size(&self, data: &Bytes) -> Result<(), Refusal> {
        let (len, limit) = (data.len(), self.limits.data_bytes);
        if len <= limit {
            return Ok(());
        }
        let detail = format!("data is {len} bytes; the limit is {limit}");
        Err(Refusal::new(ErrorCode::TooLarge, detail))
    }

    /// Whether a publication of the server itself would be accepted, as far as the engine can tell
    /// before it is published.
    ///
    /// # Errors
    /// The refusal that [`handle_caller`](Self::handle_caller) would answer with.
    pub fn check_publish(&self, channel: &ChannelName, data: &Bytes) -> Result<(), Refusal> {
        self.rules_of(channel)?;
        self.within_size(data)
    }

    pub(super) fn send_publish(&mut self, asker: Asker, draft: Draft) {
        let id = self.request(Pending::Publish { asker });
        self.broker_requests
            .push_back(BrokerRequest::Publish { id, draft });
    }
}
