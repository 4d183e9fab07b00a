//! Reads the states of all channels that match a filter.

use std::sync::Arc;

use crate::{
    broker::{BrokerRequest, ReadLimit, RequestId},
    channel_name::ChannelName,
    delivery::{ConnectionId, Reply},
    error::Refusal,
    filter::Filter,
    grant::Verbs,
    publication::Publication,
    rules::Access,
};

use super::{
    Engine,
    state::{Asker, Pending},
};

impl Engine {
    pub(super) fn ask_values(
        &mut self,
        asker: Asker,
        filter: Filter,
        after: Option<ChannelName>,
        limit: u32,
    ) -> Result<(), Refusal> {
        self.in_flight(asker)?;
        let asked = filter.clone();
        let id = self.request(Pending::Values { asker, filter });
        let limit = ReadLimit {
            count: limit.min(self.limits.page_count),
            bytes: self.limits.page_bytes,
        };
        self.broker_requests.push_back(BrokerRequest::Values {
            id,
            filter: asked,
            after,
            limit,
        });
        Ok(())
    }

    pub(super) fn values_read(
        &mut self,
        id: RequestId,
        mut values: Vec<Arc<Publication>>,
        next: Option<ChannelName>,
    ) {
        match self.requests.take(id) {
            Some(Pending::Values { asker, filter }) => {
                if let Asker::Connection(connection, _) = asker {
                    values.retain(|value| self.may_have(connection, &value.channel));
                }
                let reply = Reply::Values {
                    filter,
                    values,
                    next,
                };
                self.answer(asker, reply);
            }
            other => debug_assert!(other.is_none(), "values answer a question for them"),
        }
    }

    /// Whether a session may subscribe to a channel, which includes reading its state.
    fn may_have(&self, connection: ConnectionId, channel: &ChannelName) -> bool {
        let Ok(rules) = self.rules_of(channel) else {
            return false;
        };
        if rules.subscribe == Access::Asked {
            return self.is_vouched(connection, channel);
        }
        let c = self.connections.get(connection.into());
        c.is_some_and(|c| c.identity.may(rules.subscribe, Verbs::SUBSCRIBE, channel))
    }
}
