//! Periodic work: the engine's deadlines, delayed marks, fresh tokens.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use offhook_engine::{BrokerRequest, CloseReason, ConnectionId, SessionId, SessionSnapshot};
use tokio::{
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    State, Worker,
    memory::{Connections, part},
    now,
    outboxes::{Outboxes, SealedToken},
    pauses::Pauses,
};
use crate::tokens::Token;

/// Twice a second: often enough for deadlines of seconds, and rare enough for few tokens if a
/// client subscribes to many channels one by one.
const TICK: Duration = Duration::from_millis(500);

/// The number of tokens sealed before other tasks run, fewer if broadcasts have to be put before them.
/// 128: takes about a millisecond.
pub(super) const SEALS: usize = 128;

/// The part of the memory budget that members may take: a quarter. With channels, which may take half,
/// they leave a quarter for connections.
const MEMBERS: usize = 4;

/// The number of ticks between two checks for tokens that are past half of their lifetime: a
/// minute.
const TICKS_A_LOOK: u32 = 120;

/// How often the delay of the event loop is measured. Ten times a second: a stall of a tenth of a
/// second is always noticed, and an idle worker hardly wakes more often than it would anyway.
const DELAY_SAMPLES: Duration = Duration::from_millis(100);

/// How often dialects are called whose timeouts have expired: the client's time for a pong is the
/// shortest of these, and should not be exceeded by more than half a percent. Many that are due at
/// about the same time are called together.
fn dialect_tick(ping_timeout: Duration) -> Duration {
    (ping_timeout / 200).clamp(Duration::from_millis(1), TICK)
}

impl Worker {
    pub(super) async fn tick(self: Rc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_look = TICKS_A_LOOK;
        loop {
            ticks.tick().await;
            self.keep_deadlines();
            self.publish_due_wills();
            self.end_expired().await;
            until_look -= 1;
            let look = until_look == 0;
            if look {
                until_look = TICKS_A_LOOK;
            }
            self.mark(look);
            let stale = self.state.borrow_mut().outboxes.take_stale();
            let mut left = &stale[..];
            while !left.is_empty() {
                left = self.seal_stale(left);
                yield_now().await;
            }
            self.keep_unsaved();
            self.mind_memory();
            self.count_subscriptions();
            self.keep_records();
            self.refused.borrow_mut().tell_in_time(now().instant);
        }
    }

    /// Calls dialects whose timeouts have expired.
    pub(super) async fn tick_dialects(self: Rc<Self>) {
        let period = dialect_tick(self.shared.config.socketio.ping_timeout);
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pauses = Pauses::new(now().instant);
        loop {
            ticks.tick().await;
            let now = now();
            if pauses.tick(now.instant, period) {
                self.keep_dialects_time(now);
            }
        }
    }

    /// Measures how late a timer fires, which is how long any other task waits that becomes ready
    /// now.
    pub(super) async fn measure_delay(self: Rc<Self>) {
        loop {
            let due = Instant::now() + DELAY_SAMPLES;
            sleep_until(due).await;
            self.metrics.loop_delay.record(due.elapsed());
        }
    }

    fn keep_deadlines(self: &Rc<Self>) {
        self.turn(|engine, now| {
            if engine.poll_timeout().is_some_and(|at| at <= now.instant) {
                engine.handle_timeout(now);
            }
        });
    }

    /// Sends marks that had to wait, and checks for old tokens.
    fn mark(&self, look: bool) {
        let outboxes = &mut self.state.borrow_mut().outboxes;
        outboxes.mark_again();
        if look {
            let half_life = self.shared.sealer.expiry().as_secs() / 2;
            let half_life = u32::try_from(half_life).unwrap_or(u32::MAX);
            outboxes.age_tokens(self.seconds().saturating_sub(half_life));
        }
    }

    /// Sends new tokens to the first of the connections whose tokens are outdated. Returns the others.
    pub(super) fn seal_stale<'a>(&self, stale: &'a [ConnectionId]) -> &'a [ConnectionId] {
        let now = now();
        let State {
            engine, outboxes, ..
        } = &mut *self.state.borrow_mut();
        outboxes.seal_stale(stale, SEALS, self.seconds(), |connection| {
            self.seal(&engine.snapshot(connection, now)?)
        })
    }

    /// Stores what clients have acknowledged at the broker.
    fn keep_unsaved(&self) {
        let mut state = self.state.borrow_mut();
        for connection in state.outboxes.take_unsaved() {
            self.keep_again(&state, connection);
        }
    }

    fn count_subscriptions(&self) {
        let engine = &self.state.borrow().engine;
        let subscriptions = engine.subscriptions() as u64;
        self.metrics.subscriptions.set(subscriptions);
        self.metrics.followed_channels.set(engine.channels() as u64);
    }

    /// Forgets what was recorded too long ago.
    fn keep_records(&self) {
        let now = now();
        let state = &mut *self.state.borrow_mut();
        state.recorder.expire(now.unix_ms);
        state.busiest.keep_time(now.instant);
    }

    /// Measures what connections and channels hold, and keeps it within the budget of the process.
    fn mind_memory(self: &Rc<Self>) {
        let memory = &self.shared.memory;
        let held = self.shared.broker.held();
        memory.note_channels(held.memory_bytes);
        let members_full = held.member_bytes > memory.limit() / MEMBERS;
        self.state
            .borrow_mut()
            .engine
            .set_members_full(members_full);
        let within = self.shared.config.messages.receive_within;
        let now = now().instant;
        let (of_sockets, late) = self.unfinished.count(now, within);
        if late > 0 {
            self.note_refused("unfinished", format_args!("{late} messages took too long"));
        }
        let (slowest, unfinished) = {
            let outboxes = &mut self.state.borrow_mut().outboxes;
            let (of_dialects, mut slowest) = outboxes.count_partial(now, within);
            let unsent = outboxes.count_unsent();
            let of_streams = self.unread.count();
            let unfinished = of_sockets + of_dialects + self.strangers.count() + of_streams;
            let too_much = memory.note(self.number, Connections { unsent, unfinished });
            outboxes.set_pressure(memory.pressure());
            // First those whose clients nobody knows.
            let (freed, cut) = self.strangers.shed(too_much.unfinished);
            if cut > 0 {
                self.note_refused("memory", format_args!("{cut} unfinished first packets"));
            }
            let too_many = too_much.unfinished.saturating_sub(freed);
            let (freed, cut) = self.unread.shed(part(too_many, of_streams, unfinished));
            if cut > 0 {
                let what = "connections of HTTP/2 with data that was received and not read";
                self.note_refused("memory", format_args!("{cut} {what}"));
            }
            let too_many = too_many.saturating_sub(freed);
            let (largest, freed) = outboxes.largest_partial(too_many);
            slowest.extend(largest);
            slowest.extend(outboxes.slowest(too_much.unsent));
            (slowest, too_many.saturating_sub(freed))
        };
        let shed = self.unfinished.shed(unfinished);
        if shed > 0 {
            self.note_refused("memory", format_args!("{shed} unfinished messages"));
        }
        for connection in slowest {
            self.close_connection(connection, CloseReason::TooSlow);
        }
    }

    /// The resume token of a session; none if it cannot have one. What the token does not contain
    /// is stored by the broker.
    pub(super) fn seal(&self, session: &SessionSnapshot) -> Option<SealedToken> {
        let Token { text, kept } = self.shared.sealer.seal(session)?;
        let kept = kept.map(|bytes| {
            let len = bytes.len();
            self.keep(session.session, bytes);
            (session.session, len)
        });
        Some(SealedToken { text, kept })
    }

    /// Stores a session at the broker for as long as its token is valid.
    fn keep(&self, session: SessionId, bytes: Bytes) {
        let expiry = self.shared.sealer.expiry();
        let save = BrokerRequest::SaveSession {
            id: None,
            session,
            bytes,
            expiry,
        };
        self.shared.broker.submit(self.id, save);
    }

    /// Stores the present state of a session, if the broker has a copy.
    pub(super) fn keep_again(&self, state: &State, connection: ConnectionId) {
        if !state.outboxes.is_kept(connection) {
            return;
        }
        // A connection that is being closed was stored before.
        let session = state.engine.snapshot(connection, now());
        let bytes = session.as_ref().and_then(SessionSnapshot::to_bytes);
        if let (Some(session), Some(bytes)) = (session, bytes) {
            self.keep(session.session, bytes.into());
        }
    }

    /// A subscription of a large session has ended: the broker's copy of the session is deleted at
    /// once, and stored again with the next token. Storing it with each subscription that ends
    /// would cost as much as there are subscriptions, each time.
    pub(super) fn forget_kept(&self, outboxes: &mut Outboxes, connection: ConnectionId) {
        if let Some(session) = outboxes.forget_kept(connection) {
            let drop = BrokerRequest::DropSession { session };
            self.shared.broker.submit(self.id, drop);
        }
    }

    /// Seconds since the server's start.
    pub(super) fn seconds(&self) -> u32 {
        let past = self.shared.started.elapsed().as_secs();
        u32::try_from(past).unwrap_or(u32::MAX)
    }
}
