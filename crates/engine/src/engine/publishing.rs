//! Publishing: checks limits and permissions, and keeps the order.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    broker::BrokerRequest,
    channel_name::ChannelName,
    command::CommandId,
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

/// How long publishes of a connection wait for an earlier one that was refused because of its rate
/// to be sent again: 5 s after the delay that was given. A client that has not sent it by then has
/// given it up.
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
        let until = self.now + COMES_AGAIN_WITHIN;
        let Some(c) = self.connections.get_mut(connection.into()) else {
            return;
        };
        match done {
            Err(refusal) if refusal.code.retry() == Retry::Later => {
                // Without a key, a repeated publish cannot be recognised.
                let Some(key) = key.filter(|_| !c.closing) else {
                    return;
                };
                let until = until + refusal.retry_after.unwrap_or_default();
                c.extra().ordered.refused(channel, key, until);
            }
            Ok(()) | Err(_) => {
                if let Some(extra) = &mut c.extra {
                    extra.ordered.taken(channel, key);
                    c.settle();
                }
            }
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
