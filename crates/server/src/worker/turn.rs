//! A turn of the event loop: the engine is told something, then what it decides is carried out.

use std::{cell::RefMut, rc::Rc, sync::Arc};

use offhook_engine::{
    BrokerEvent, Delivery, Engine, ErrorCode, Notice, Now, Refusal, Reply, Verdict,
};
use tokio::task::{spawn_local, yield_now};

use super::{State, Worker, now, refilling::refill};

/// Events taken from the mailbox before others have a turn. 256: what they make for one connection
/// leaves in one write, and a connection that publishes waits some milliseconds at most.
const EVENTS: usize = 256;

/// Outboxes that broadcasts are put into before others have a turn. 256: each is a write, so that this
/// takes about a millisecond, whatever the size of the audience.
const DELIVERIES: usize = 256;

impl Worker {
    /// Tells the engine something, and carries out what it decides.
    pub(super) fn turn<R>(self: &Rc<Self>, tell: impl FnOnce(&mut Engine, Now) -> R) -> R {
        let mut state = self.state.borrow_mut();
        let told = tell(&mut state.engine, now());
        self.carry_out(state);
        told
    }

    /// Takes what the broker has for this worker, whenever the mailbox wakes this task, and puts
    /// broadcasts into outboxes.
    pub(super) async fn take_mail(self: Rc<Self>) {
        loop {
            self.mail.notified().await;
            let mailbox = Arc::clone(&self.state.borrow().mailbox);
            let mut events = mailbox.take().into_iter().peekable();
            loop {
                self.take_events(&mut events);
                while self.walk() {
                    yield_now().await;
                }
                if events.peek().is_none() {
                    break;
                }
                yield_now().await;
            }
        }
    }

    /// Takes events until there is enough to put.
    pub(super) fn take_events(self: &Rc<Self>, events: &mut impl Iterator<Item = BrokerEvent>) {
        let now = now();
        let mut state = self.state.borrow_mut();
        for event in events.take(EVENTS) {
            state.engine.handle_broker(event, now);
            self.deliver(&mut state);
            if state.outboxes.holds_much() {
                break;
            }
        }
        self.carry_out(state);
    }

    /// Puts broadcasts into some outboxes. Returns whether some are left.
    pub(super) fn walk(self: &Rc<Self>) -> bool {
        let mut state = self.state.borrow_mut();
        let more = state.outboxes.walk(DELIVERIES);
        // Connections that are full now are reported, which may make more to deliver.
        self.carry_out(state);
        more
    }

    /// Carries out what the engine decided: delivers, asks the broker, and starts refills. To be called
    /// after the engine was told something.
    pub(super) fn carry_out(self: &Rc<Self>, mut state: RefMut<'_, State>) {
        refuse_asks(&mut state.engine);
        self.deliver(&mut state);
        state.answer_callers();
        while let Some(request) = state.engine.poll_broker_request() {
            self.shared.broker.submit(state.id, request);
        }
        let State {
            engine, outboxes, ..
        } = &mut *state;
        for connection in outboxes.take_wants_refill() {
            if engine.wants_writable(connection)
                && let Some(outlet) = outboxes.begin_refill(connection)
            {
                spawn_local(refill(Rc::clone(self), connection, outlet));
            }
        }
        if outboxes.holds_any() {
            self.mail.notify_one();
        }
    }

    /// Puts what the engine gives out into outboxes; broadcasts may be held.
    fn deliver(&self, state: &mut State) {
        let State {
            engine, outboxes, ..
        } = state;
        loop {
            while let Some(connection) = outboxes.next_full() {
                engine.handle_full(connection);
            }
            let Some(delivery) = engine.poll_delivery() else {
                break;
            };
            match delivery {
                Delivery::Connection { connection, notice } if ends_subscription(&notice) => {
                    // Ahead of the notice: whoever has that does not come back with a token that
                    // still has the subscription.
                    let now_s = self.seconds();
                    outboxes.seal(connection, now_s, || {
                        self.seal(&engine.snapshot(connection, now())?)
                    });
                    let delivery = Delivery::Connection { connection, notice };
                    outboxes.put(delivery, &self.refused);
                }
                delivery @ (Delivery::Broadcast { .. }
                | Delivery::Publication { .. }
                | Delivery::Presence { .. }
                | Delivery::Connection { .. }
                | Delivery::Mark { .. }) => outboxes.put(delivery, &self.refused),
            }
        }
    }
}

/// There is no backend that could be asked: who waits for its answer is told at once.
fn refuse_asks(engine: &mut Engine) {
    while let Some(ask) = engine.poll_ask() {
        let detail = "this server has no backend that it could ask";
        let refusal = Refusal::new(ErrorCode::Forbidden, detail);
        engine.handle_verdict(ask.id, Verdict::Refused(refusal), now());
    }
}

fn ends_subscription(notice: &Notice) -> bool {
    match notice {
        Notice::Reply { reply, .. } => matches!(reply, Reply::Unsubscribed { .. }),
        Notice::Unsubscribed { .. } => true,
        Notice::Gap { .. }
        | Notice::State { .. }
        | Notice::ChannelGap { .. }
        | Notice::Own { .. }
        | Notice::Told { .. }
        | Notice::Restored
        | Notice::CatchingUp { .. }
        | Notice::Live { .. }
        | Notice::Reconnect { .. }
        | Notice::Close { .. } => false,
    }
}
