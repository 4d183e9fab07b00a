//! What depends on the time: the keep-alive, and requests that are repeated later.

use std::time::{Duration, Instant};

use super::{Reason, dialect::Mqtt};

/// The pause before a temporarily refused request is repeated, if the engine gives none. 200 ms: long
/// enough to relieve the broker, and hardly noticeable to a client.
const PAUSE: Duration = Duration::from_millis(200);

impl Mqtt {
    /// The time of day in milliseconds since 1970, derived from the time of the welcome.
    pub(super) fn unix_ms(&self) -> u64 {
        let (Some((then, ms)), Some(latest)) = (self.clock, self.latest) else {
            return 0;
        };
        let past = latest.saturating_duration_since(then).as_millis();
        ms.saturating_add(u64::try_from(past).unwrap_or(u64::MAX))
    }

    /// Schedules requests that were refused temporarily to be repeated.
    pub(super) fn try_again_after(&mut self, pause: Option<Duration>) {
        let at = self
            .latest
            .and_then(|now| now.checked_add(pause.unwrap_or(PAUSE)));
        self.again_at = self.again_at.or(at);
    }

    /// When the client has been silent for too long; none if its keep-alive is off.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        // §3.1.2.10: one and a half times the keep-alive.
        let keep_alive = self.client.keep_alive?;
        let silence = keep_alive.saturating_add(keep_alive.checked_div(2)?);
        self.seen?.checked_add(silence)
    }

    /// Does what is due.
    pub(super) fn handle_time(&mut self, now: Instant) {
        self.latest = Some(now);
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            self.publish_again();
            self.restore_some();
            self.next_page();
        }
        if self.look_at.is_some_and(|at| at <= now) {
            if !self.may_take() {
                // It may have sent something that is not read for now.
                self.seen = Some(now);
            }
            self.look_at = self.silent_at();
            if self.look_at.is_some_and(|ends| ends <= now) {
                self.look_at = None;
                let why = "nothing was received within one and a half times the keep-alive";
                self.disconnect_for(Reason::KEEP_ALIVE_TIMEOUT, why);
            }
        }
    }
}
