//! What is done at intervals: the engine's deadlines, marks that had to wait, fresh tokens.

use std::{rc::Rc, time::Duration};

use offhook_engine::{CloseReason, SessionSnapshot};
use tokio::time::{MissedTickBehavior, interval};

use super::{State, Worker, now};

/// Twice a second: often enough for deadlines of seconds, and few enough tokens for a client that
/// subscribes to many channels one by one.
const TICK: Duration = Duration::from_millis(500);

/// Ticks between two looks at which tokens have lived half of their life: a minute.
const TICKS_A_LOOK: u32 = 120;

impl Worker {
    pub(super) async fn tick(self: Rc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_look = TICKS_A_LOOK;
        loop {
            ticks.tick().await;
            self.keep_deadlines();
            self.end_expired();
            until_look -= 1;
            let look = until_look == 0;
            if look {
                until_look = TICKS_A_LOOK;
            }
            self.mark_and_seal(look);
            self.mind_memory();
            self.refused.borrow_mut().tell_in_time(now().instant);
        }
    }

    fn keep_deadlines(self: &Rc<Self>) {
        self.turn(|engine, now| {
            if engine.poll_timeout().is_some_and(|at| at <= now.instant) {
                engine.handle_timeout(now);
            }
        });
    }

    /// Sends what had to wait for this moment.
    fn mark_and_seal(&self, look: bool) {
        let now = now();
        let now_s = self.seconds();
        let State {
            engine, outboxes, ..
        } = &mut *self.state.borrow_mut();
        outboxes.mark_again();
        if look {
            let half_life = self.shared.sealer.expiry().as_secs() / 2;
            let half_life = u32::try_from(half_life).unwrap_or(u32::MAX);
            outboxes.age_tokens(now_s.saturating_sub(half_life));
        }
        outboxes.seal_stale(now_s, |connection| {
            self.seal(&engine.snapshot(connection, now)?)
        });
    }

    /// Counts what waits to be sent, and keeps it within the budget of the process.
    fn mind_memory(self: &Rc<Self>) {
        let memory = &self.shared.memory;
        let slowest = {
            let outboxes = &mut self.state.borrow_mut().outboxes;
            let too_much = memory.note(self.number, outboxes.count_unsent());
            outboxes.set_pressure(memory.pressure());
            outboxes.slowest(too_much)
        };
        for connection in slowest {
            self.close_connection(connection, CloseReason::TooSlow);
        }
    }

    /// The resume token of a session; none if it can't have one.
    pub(super) fn seal(&self, session: &SessionSnapshot) -> Option<String> {
        self.shared.sealer.seal(session)
    }

    /// Seconds since the server's start.
    pub(super) fn seconds(&self) -> u32 {
        let past = self.shared.started.elapsed().as_secs();
        u32::try_from(past).unwrap_or(u32::MAX)
    }
}
