//! Sends acknowledgements and the server's events.

use offhook_engine::{CloseReason, CommandId, ErrorCode, Refusal, Reply, SubscriptionName};

use super::{
    answer::{self, Content},
    dialect::{Call, Purpose, SocketIo},
    packet::{Kind, Packet},
    recovery,
};
use crate::{dialect::Payload, json::Object, jsonrpc};

impl SocketIo {
    /// Acknowledges an event. If the client requested no acknowledgement, only a refusal is
    /// reported.
    pub(super) fn answer(
        &mut self,
        call: &Call,
        result: Result<Content, Refusal>,
        out: &mut Vec<Payload>,
    ) {
        let content = match (result, call.ack) {
            (Ok(_), None) => return,
            (Ok(content), Some(_)) => content,
            (Err(refusal), Some(_)) => answer::error(&refusal),
            (Err(refusal), None) => {
                let refused = Object::part().text("event", &call.event);
                let refused = answer::refused(refused, &refusal).into();
                return self.event(&call.namespace, "refused", refused, out);
            }
        };
        if let Some(ack) = call.ack
            && self.spaces.find(&call.namespace).is_some()
        {
            answer::acknowledgement(&call.namespace, ack, content).write(out);
        }
    }

    /// Sends an event of the server.
    pub(super) fn event(
        &self,
        namespace: &str,
        name: &str,
        content: Content,
        out: &mut Vec<Payload>,
    ) {
        if self.spaces.find(namespace).is_some() {
            let offset = self.offset(namespace);
            answer::event(namespace, name, content, offset.as_deref()).write(out);
        }
    }

    /// The offset for events in a namespace, if the client requested recovery.
    pub(super) fn offset(&self, namespace: &str) -> Option<String> {
        let recovery = self.recovery.as_ref();
        let recovery = recovery.filter(|recovery| *recovery.namespace == *namespace)?;
        let all = self.spaces.numbered(namespace);
        let positions = all.filter_map(|(number, s)| Some((number, s.position?)));
        Some(recovery::offset(recovery.stamp, positions))
    }

    pub(super) fn answered(&mut self, id: CommandId, reply: &Reply, out: &mut Vec<Payload>) {
        match self.pending.remove(&id) {
            Some(Purpose::Call(call)) => {
                let result = match call.is_free {
                    true => answer::bare(reply),
                    false => answer::result(reply),
                };
                self.answer(&call, result, out);
            }
            Some(Purpose::Subscribe { call, key, goes_on }) => {
                self.subscribed(call, key, goes_on, reply, out);
            }
            Some(Purpose::Unsubscribe { call, key }) => self.unsubscribed(call, &key, reply, out),
            Some(Purpose::Restore(number)) => self.restored(number, reply, out),
            Some(Purpose::Remember(held)) => self.remembered(held, reply, out),
            Some(Purpose::Enter(namespace)) => {
                if let Reply::Refused(refusal) = reply {
                    self.not_entered(&namespace, refusal, out);
                }
            }
            Some(Purpose::Leave) => {
                if let Reply::Refused(refusal) = reply
                    && refusal.code != ErrorCode::NotSubscribed
                {
                    self.end(1008, "a namespace could not be left");
                }
            }
            None => {}
        }
    }

    /// Handles a reply that answers no event of the client.
    pub(super) fn unasked(&mut self, reply: &Reply, out: &mut Vec<Payload>) {
        match reply {
            Reply::Subscribed {
                subscription,
                position,
                ..
            } => {
                let Some(namespace) = self.spaces.advance(subscription, None) else {
                    return;
                };
                if subscription.id.is_none() {
                    self.spaces.add_plain(&namespace, &subscription.target);
                }
                let at = answer::named(subscription);
                let at = jsonrpc::answer::position(at, *position).into();
                self.event(&namespace, "subscribed", at, out);
            }
            Reply::Members {
                channel,
                subscription,
                members,
                total,
            } => {
                let subscription = SubscriptionName {
                    target: channel.clone().into(),
                    id: *subscription,
                };
                let Some(namespace) = self.spaces.advance(&subscription, None) else {
                    return;
                };
                let all = members.iter().map(|member| &**member);
                let content = Object::part()
                    .text("channel", channel.as_str())
                    .raw("members", jsonrpc::answer::members(all))
                    .raw("total", total);
                self.event(&namespace, "members", content.into(), out);
            }
            // Refusals without an event that could be answered.
            Reply::Refused(_)
            | Reply::Published { .. }
            | Reply::Unsubscribed { .. }
            | Reply::Done { .. }
            | Reply::InfoUpdated
            | Reply::Called { .. }
            | Reply::History { .. }
            | Reply::State { .. }
            | Reply::Values { .. }
            | Reply::Remembered
            | Reply::Acked { .. }
            | Reply::Receipts { .. }
            | Reply::Pong => {}
        }
    }

    /// Ends the connection. A stock client does not reconnect by itself if it is disconnected from
    /// its namespaces first, but does if it only loses the connection.
    pub(super) fn dismiss(&self, reason: CloseReason, out: &mut Vec<Payload>) {
        match reason {
            CloseReason::Flood | CloseReason::Replaced | CloseReason::Disconnected => {
                for namespace in self.spaces.all() {
                    Packet::new(Kind::Disconnect, namespace, "").write(out);
                }
            }
            CloseReason::TooSlow | CloseReason::Expired => {}
        }
    }
}
