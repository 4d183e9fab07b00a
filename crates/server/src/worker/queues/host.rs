//! A queue is a client of its own: a durable session with one acknowledged subscription, whose
//! publications go to the queue's consumers instead of a transport.
//!
//! Therefore the engine keeps the queue's position, its unprocessed messages and the counts of their
//! deliveries, as it does for every durable session.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use offhook::protocol::CloseCode;
use offhook_dialects::{
    Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
};
use offhook_engine::{
    ChannelName, CloseReason, CommandId, ErrorCode, GapReason, Notice, PresenceChange, Publication,
    Refusal,
};

use super::{
    FromQueue, ToQueue,
    counts::Counts,
    sharing::{Queued, Sharing},
};
use crate::worker::{
    Order, Orders,
    outlet::{Gone, Kind, Transport},
};

/// What a queue shares, and how it reaches its consumers.
#[derive(Clone, Debug)]
pub(super) struct Hosting {
    pub(super) queue: ChannelName,
    pub(super) sharing: Rc<RefCell<Sharing>>,
    pub(super) counts: Rc<Counts>,
    pub(super) orders: Arc<Orders>,
    /// The worker that hosts the queue.
    pub(super) worker: u16,
}

impl Hosting {
    /// Gives waiting messages to consumers.
    pub(super) fn deal(&self) {
        let dealt = self.sharing.borrow_mut().deal();
        for (consumer, times, message) in dealt {
            let what = FromQueue::Message {
                subscription: consumer.subscription,
                times,
                message,
            };
            let connection = consumer.connection;
            let order = Order::FromQueue { connection, what };
            self.orders.give(consumer.worker, order);
        }
    }
}

/// The dialect of a queue's session.
#[derive(Debug)]
pub(super) struct Host(pub(super) Hosting);

/// Nothing is encoded: consumers encode the messages.
#[derive(Debug)]
pub(super) struct Unencoded;

impl Encoding for Unencoded {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn publication(&self, _publication: &Publication) -> Shared {
        Shared::whole(String::new())
    }

    fn has_heads(&self) -> bool {
        true
    }

    fn presence(&self, _change: &PresenceChange) -> Option<Shared> {
        None
    }
}

impl Host {
    fn failed(&self, refusal: Refusal) {
        let queue = self.0.queue.clone();
        let what = ToQueue::Failed(refusal);
        self.0
            .orders
            .give(self.0.worker, Order::ToQueue { queue, what });
    }

    fn missing(&self, reason: GapReason) {
        tracing::warn!(
            queue = %self.0.queue,
            reason = reason.name(),
            "messages of a queue were removed before anybody consumed them"
        );
    }
}

impl Dialect for Host {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        &Unencoded
    }

    fn receive(&mut self, _incoming: Incoming<'_>, _now: Instant, _intents: &mut Vec<Intent>) {}

    fn has_tokens(&self) -> bool {
        false
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        if let Some(publication) = &shared.publication {
            let message = Queued {
                publication: Arc::clone(publication),
                place: recipient.place,
                earlier: self.0.counts.of(recipient.place, recipient.redelivered),
            };
            self.0.sharing.borrow_mut().add(message);
            self.0.deal();
        }
        Head::Nothing
    }

    fn welcome(&mut self, _welcome: &Welcome<'_>, _out: &mut Vec<Payload>) {}

    fn refused(&mut self, _id: Option<CommandId>, _refusal: &Refusal, _out: &mut Vec<Payload>) {}

    fn notice(&mut self, notice: &Notice, _out: &mut Vec<Payload>) {
        match notice {
            Notice::Unsubscribed { refusal, .. } => self.failed(refusal.clone()),
            Notice::Close { .. } => {
                let detail = "the queue was disconnected by the server's side; subscribe again";
                self.failed(Refusal::new(ErrorCode::Busy, detail));
            }
            Notice::Gap { reason, .. } => self.missing(*reason),
            Notice::Reply { .. }
            | Notice::ChannelGap { .. }
            | Notice::Own { .. }
            | Notice::CatchingUp { .. }
            | Notice::Live { .. }
            | Notice::Restored
            | Notice::Told { .. }
            | Notice::Reconnect { .. } => {}
        }
    }

    fn close_code(&self, _reason: CloseReason) -> u16 {
        CloseCode::NORMAL.get()
    }
}

/// The transport of a queue's session: nothing is sent. A server that shuts down serves a queue until
/// its consumers have left.
#[derive(Debug)]
pub(super) struct NoTransport;

impl Transport for NoTransport {
    fn put(&self, _kind: Kind, _message: &[u8]) -> Result<usize, Gone> {
        Ok(0)
    }

    fn unsent(&self) -> usize {
        0
    }

    fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Poll::Ready(Ok(()))
    }

    fn close(&self, _code: CloseCode, _reason: &str) {}
}
