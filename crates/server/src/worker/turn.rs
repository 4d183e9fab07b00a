//! A turn of the event loop: the engine handles an event, then its decisions are carried out.

use std::{
    cell::{Cell, RefMut},
    rc::Rc,
    sync::Arc,
};

use offhook_dialects::Intent;
use offhook_engine::{
    BrokerEvent, ConnectionId, Delivery, Engine, ErrorCode, Notice, Now, Refusal, Reply, Verdict,
};
use tokio::task::{spawn_local, yield_now};

use super::{State, Worker, now, outboxes::Outboxes, refilling::refill};
use crate::refused::Client;

/// How many events are taken from the mailbox before other tasks run. 256: what they produce for
/// one connection is sent in one write, and a connection that publishes waits a few milliseconds at
/// most.
const EVENTS: usize = 256;

/// How many outboxes broadcasts are put into before other tasks run. 64: each is a write of up to 32
/// messages, so this takes about a millisecond at most, whatever the size of the audience.
pub(super) const DELIVERIES: usize = 64;

impl Worker {
    /// Passes an event to the engine, and carries out its decisions.
    pub(super) fn turn<R>(self: &Rc<Self>, tell: impl FnOnce(&mut Engine, Now) -> R) -> R {
        let now = now();
        self.tell(now, |engine| tell(engine, now))
    }

    /// As [`turn`](Self::turn), for a caller that has already read the clock.
    pub(super) fn tell<R>(self: &Rc<Self>, now: Now, tell: impl FnOnce(&mut Engine) -> R) -> R {
        let mut state = self.state.borrow_mut();
        let told = tell(&mut state.engine);
        self.carry_out_at(state, now);
        told
    }

    /// Takes the broker's events for this worker whenever the mailbox wakes this task, puts
    /// broadcasts into outboxes, and ends the subscriptions of closed connections.
    pub(super) async fn take_mail(self: Rc<Self>) {
        let mailbox = Arc::clone(&self.state.borrow().mailbox);
        loop {
            self.mail.notified().await;
            self.take_all(mailbox.take()).await;
            // The subscriptions of closed connections end in parts. What the broker has to say in
            // the meantime comes first: a thousand connections may be ending.
            while self.leave_on() {
                yield_now().await;
                self.take_all(mailbox.take()).await;
            }
        }
    }

    /// Ends some of the subscriptions of closed connections. Returns whether there are more.
    fn leave_on(self: &Rc<Self>) -> bool {
        let is_leaving = self.state.borrow().engine.is_leaving();
        is_leaving && self.turn(|engine, _| engine.leave_on())
    }

    async fn take_all(self: &Rc<Self>, events: Vec<BrokerEvent>) {
        if events.is_empty() && !self.state.borrow().outboxes.holds_any() {
            return;
        }
        let mut events = events.into_iter().peekable();
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

    /// Takes events until there is enough to put.
    pub(super) fn take_events(self: &Rc<Self>, events: &mut impl Iterator<Item = BrokerEvent>) {
        let now = now();
        let mut state = self.state.borrow_mut();
        state.outboxes.set_time(now.unix_ms);
        state.outboxes.begin_turn();
        for event in events.take(EVENTS) {
            self.count_published(&event);
            state.engine.handle_broker(event, now);
            self.deliver(&mut state);
            if state.outboxes.holds_much() {
                break;
            }
        }
        self.carry_out_at(state, now);
    }

    fn count_published(&self, event: &BrokerEvent) {
        if let BrokerEvent::Published { duplicate, .. } = event {
            self.metrics.published.add(1);
            self.metrics.duplicates.add(u64::from(*duplicate));
        }
    }

    /// Puts broadcasts into some outboxes. Returns whether some are left.
    pub(super) fn walk(self: &Rc<Self>) -> bool {
        let mut state = self.state.borrow_mut();
        if !state.outboxes.holds_any() {
            return false;
        }
        let more = state.outboxes.walk(DELIVERIES);
        // Connections that are full now are reported, which may cause further deliveries.
        self.carry_out(state);
        more
    }

    /// Carries out the engine's decisions: delivers, sends requests to the broker, and starts
    /// refills. Must be called after the engine handled an event.
    pub(super) fn carry_out(self: &Rc<Self>, state: RefMut<'_, State>) {
        self.carry_out_at(state, now());
    }

    /// As [`carry_out`](Self::carry_out), for a caller that has already read the clock.
    pub(super) fn carry_out_at(self: &Rc<Self>, mut state: RefMut<'_, State>, now: Now) {
        state.outboxes.set_time(now.unix_ms);
        loop {
            self.ask_outside(&mut state.engine);
            self.deliver(&mut state);
            let wishes = state.outboxes.take_wishes();
            let has_wishes = !wishes.is_empty();
            for (connection, intent) in wishes {
                self.grant_wish(&mut state, connection, intent, now);
            }
            if has_wishes {
                continue;
            }
            // What the broker does not accept is refused, and the dialects hear of it at once.
            if self.gathers.get() || !self.submit(&mut state.engine, now) {
                break;
            }
        }
        let State {
            engine,
            outboxes,
            callers,
            ..
        } = &mut *state;
        callers.reply(engine);
        while let Some(connection) = engine.poll_wants_writable() {
            if let Some(outlet) = outboxes.begin_refill(connection) {
                spawn_local(refill(Rc::clone(self), connection, outlet));
            }
        }
        if outboxes.holds_any() || engine.is_leaving() {
            self.mail.notify_one();
        }
    }

    /// Passes the engine's requests to the broker. Returns whether the broker did not accept some: these
    /// are refused, before a later one of the same client could overtake them.
    fn submit(&self, engine: &mut Engine, now: Now) -> bool {
        let mut requests = std::iter::from_fn(|| engine.poll_broker_request());
        let not_accepted = self.shared.broker.submit_all(self.id, &mut requests);
        if not_accepted.is_empty() {
            return false;
        }
        engine.handle_not_accepted(not_accepted, now);
        true
    }

    /// Gathers the requests to the broker that arise meanwhile, and then submits them together, which
    /// wakes the broker's threads once. For the messages of one read: they may subscribe to hundreds of
    /// channels, or publish as often.
    pub(super) fn gather<R>(self: &Rc<Self>, act: impl FnOnce() -> R) -> R {
        let gathering = Gathering::begin(&self.gathers);
        let acted = act();
        let outer = gathering.outer;
        drop(gathering);
        if !outer {
            let mut state = self.state.borrow_mut();
            if self.submit(&mut state.engine, now()) {
                self.carry_out(state);
            }
        }
        acted
    }

    /// Carries out the intents of a connection's dialect that were caused by the server's output.
    fn grant_wish(&self, state: &mut State, connection: ConnectionId, intent: Intent, now: Now) {
        let State {
            engine,
            outboxes,
            recorder,
            ..
        } = state;
        match intent {
            Intent::Command { id, command } => {
                recorder.received(connection, id, &command, now.unix_ms);
                engine.handle_command(connection, id, command, now);
            }
            Intent::Permitted { id, command } => {
                recorder.received(connection, id, &command, now.unix_ms);
                engine.handle_permitted(connection, id, command, now);
            }
            Intent::Refuse { id, refusal } => engine.handle_refused(connection, id, refusal, now),
            Intent::Say(message) => outboxes.say(connection, |_, out| out.push(message)),
            Intent::Channels { id, listing } => {
                self.list_channels(engine, outboxes, connection, (id, &listing));
            }
            Intent::Close { code, reason } => outboxes.close(connection, code, reason),
            Intent::Report(report) => self.report(&report),
            Intent::Keep(expiry) => engine.set_durable(connection, self.longest(expiry)),
            Intent::Consume { .. } | Intent::Settle { .. } | Intent::Quit { .. } => {
                self.ask_queue(connection, intent);
            }
            // These are caused only by messages of the client.
            Intent::Connect(_)
            | Intent::Granted { .. }
            | Intent::Refresh { .. }
            | Intent::Identify { .. }
            | Intent::Leave => {}
        }
    }

    /// Passes the engine's questions to the backend. Without one they are refused at once.
    fn ask_outside(&self, engine: &mut Engine) {
        while let Some(ask) = engine.poll_ask() {
            let Some(backend) = &self.shared.backend else {
                let detail = "this server has no backend to ask";
                let refusal = Refusal::new(ErrorCode::Forbidden, detail);
                engine.handle_verdict(ask.id, Verdict::Refused(refusal), now());
                continue;
            };
            let session = ask.connection.and_then(|of| engine.session(of));
            if let Err((id, verdict)) = backend.ask(self.number, ask, session) {
                engine.handle_verdict(id, verdict, now());
            }
        }
    }

    /// Puts the engine's deliveries into outboxes; broadcasts may be held.
    fn deliver(&self, state: &mut State) {
        let State {
            engine,
            outboxes,
            recorder,
            ..
        } = state;
        loop {
            while let Some(connection) = outboxes.next_full() {
                engine.handle_full(connection);
            }
            let Some(delivery) = engine.poll_delivery() else {
                break;
            };
            if let Delivery::Connection { connection, notice } = &delivery {
                recorder.decided(*connection, notice, outboxes.unix_ms());
            }
            match delivery {
                Delivery::Connection { connection, notice } if ends_subscription(&notice) => {
                    // Before the notice: a client that has received that does not resume with the
                    // subscription.
                    if outboxes.is_kept(connection) {
                        self.forget_kept(outboxes, connection);
                    } else {
                        let now_s = self.seconds();
                        outboxes.seal(connection, now_s, || {
                            self.seal(&engine.snapshot(connection, now())?)
                        });
                    }
                    outboxes.put(Delivery::Connection { connection, notice });
                }
                Delivery::Connection { connection, notice } => {
                    self.note_notice(engine, outboxes, connection, &notice);
                    outboxes.put(Delivery::Connection { connection, notice });
                }
                delivery @ (Delivery::Broadcast { .. }
                | Delivery::Publication { .. }
                | Delivery::Presence { .. }
                | Delivery::Mark { .. }) => outboxes.put(delivery),
            }
        }
    }
}

impl Worker {
    /// Logs the refusal in a notice, or the reason why it closes the connection.
    pub(super) fn note_notice(
        &self,
        engine: &Engine,
        outboxes: &mut Outboxes,
        connection: ConnectionId,
        notice: &Notice,
    ) {
        let refusal;
        let (kind, detail) = if let Notice::Reply {
            reply: Reply::Refused(refused),
            ..
        } = notice
        {
            refusal = &*refused.detail;
            (refused.code.name(), refusal)
        } else if let Notice::Close { reason } = notice {
            (reason.name(), "the connection is closed")
        } else {
            return;
        };
        let identity = engine.identity(connection);
        let client = Client {
            peer: outboxes.peer(connection),
            session: engine.session(connection),
            user: identity.map_or("", |identity| &identity.user),
            ..Client::default()
        };
        self.note_refusal(kind, detail, client);
    }
}

/// The time in which a worker gathers requests. Ends when it is dropped, so that a panic in one task
/// does not hold back the requests of all others.
struct Gathering<'a> {
    gathers: &'a Cell<bool>,
    /// Whether requests were already being gathered.
    outer: bool,
}

impl<'a> Gathering<'a> {
    fn begin(gathers: &'a Cell<bool>) -> Self {
        let outer = gathers.replace(true);
        Self { gathers, outer }
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.gathers.set(self.outer);
    }
}

fn ends_subscription(notice: &Notice) -> bool {
    match notice {
        Notice::Reply { reply, .. } => matches!(reply, Reply::Unsubscribed { .. }),
        Notice::Unsubscribed { .. } => true,
        Notice::Gap { .. }
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
