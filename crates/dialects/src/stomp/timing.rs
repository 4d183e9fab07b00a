//! Timers for heart-beats and for requests that are repeated later.

use std::time::{Duration, Instant};

use super::{
    dialect::{Phase, Stomp},
    frame::Invalid,
};
use crate::dialect::{Intent, Payload};

/// The pause before a temporarily refused request is repeated, if the engine gives none. 200 ms: long
/// enough to relieve the broker, and hardly noticeable to a client.
const PAUSE: Duration = Duration::from_millis(200);

impl Stomp {
    /// Schedules requests that were refused temporarily to be repeated.
    pub(super) fn try_again_after(&mut self, pause: Option<Duration>) {
        let at = self
            .latest
            .and_then(|now| now.checked_add(pause.unwrap_or(PAUSE)));
        self.again_at = self.again_at.or(at);
    }

    /// Starts the timers of heart-beats.
    pub(super) fn start_beating(&mut self) {
        self.beat_at = self.latest.and_then(|now| self.next_beat(now));
        self.look_at = self.silent_at();
    }

    /// When the server sends its next heart-beat: after three quarters of the interval, because
    /// timers may be up to half a second late, and the network adds a delay of its own.
    fn next_beat(&self, now: Instant) -> Option<Instant> {
        let interval = self.client.server_beats?;
        now.checked_add(interval.saturating_mul(3).checked_div(4)?)
    }

    /// The time at which the client will have been silent for too long; `None` if this is not
    /// checked here.
    fn silent_at(&self) -> Option<Instant> {
        let interval = self.client.client_beats?;
        if !self.settings.enforces_heart_beats {
            return None;
        }
        // 1.2 "Heart-beating" requires "an error margin". Twice the interval, as common clients
        // use.
        self.seen?.checked_add(interval.saturating_mul(2))
    }

    /// Handles the timers that are due.
    pub(super) fn handle_time(&mut self, now: Instant) {
        self.latest = Some(now);
        if !matches!(self.phase, Phase::Open | Phase::Leaving) {
            return;
        }
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            self.try_again();
        }
        if self.beat_at.is_some_and(|at| at <= now) {
            self.beat_at = self.next_beat(now);
            let beat = Payload::Text("\n".to_owned());
            self.queue.push_back(Intent::Say(beat));
        }
        if self.look_at.is_some_and(|at| at <= now) {
            if self.is_paused() {
                // Reading is paused, so the client may have sent something that has not been read
                // yet.
                self.seen = Some(now);
            }
            self.look_at = self.silent_at();
            if self.look_at.is_some_and(|ends| ends <= now) {
                let detail = "nothing was received within twice the interval of heart-beats";
                self.fail(&Invalid::new("no heart-beat", detail).code(1008), None);
            }
        }
    }
}
