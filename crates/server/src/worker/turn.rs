//! A turn: the engine is told something, then what it decides is carried out.

use std::{cell::RefMut, rc::Rc, sync::Arc};

use offhook_engine::{BrokerEvent, Engine, Now};
use tokio::{
    sync::Notify,
    task::{spawn_local, yield_now},
};

use super::{State, Worker, now, refilling::refill};

/// Events taken from the mailbox before others have a turn. 256: what they make for one connection
/// leaves in one write, and a connection that publishes waits some milliseconds at most.
const EVENTS: usize = 256;

impl Worker {
    /// Tells the engine something, and carries out what it decides.
    pub(super) fn turn<R>(self: &Rc<Self>, tell: impl FnOnce(&mut Engine, Now) -> R) -> R {
        let mut state = self.state.borrow_mut();
        let told = tell(&mut state.engine, now());
        self.carry_out(state);
        told
    }

    /// Takes answers and news of the broker, whenever the bell rings.
    pub(super) async fn take_mail(self: Rc<Self>, mail: Arc<Notify>) {
        loop {
            mail.notified().await;
            let mailbox = Arc::clone(&self.state.borrow().mailbox);
            let mut events = mailbox.take().into_iter().peekable();
            while events.peek().is_some() {
                self.take_events(events.by_ref().take(EVENTS));
                yield_now().await;
            }
        }
    }

    fn take_events(self: &Rc<Self>, events: impl Iterator<Item = BrokerEvent>) {
        let now = now();
        let mut state = self.state.borrow_mut();
        for event in events {
            state.engine.handle_broker(event, now);
            self.deliver(&mut state);
        }
        self.carry_out(state);
    }

    /// To be called after the engine was told something: what it decides is written, asked of the
    /// broker, and looked after.
    pub(super) fn carry_out(self: &Rc<Self>, mut state: RefMut<'_, State>) {
        self.deliver(&mut state);
        // Who is full then is told so, which may make something more to deliver.
        while state.outboxes.end_turn() {
            self.deliver(&mut state);
        }
        while let Some(request) = state.engine.poll_broker_request() {
            self.shared.broker.submit(state.id, request);
        }
        let State {
            engine, outboxes, ..
        } = &mut *state;
        for connection in outboxes.take_thirsty() {
            if engine.wants_writable(connection)
                && let Some(sender) = outboxes.begin_refill(connection)
            {
                spawn_local(refill(Rc::clone(self), connection, sender));
            }
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
            outboxes.put(delivery, &self.refused);
        }
    }
}
