//! The circuit breaker: a backend that fails again and again is left alone for a while.
//!
//! ```text
//!            failures in a row           the pause is over: one request tries
//!  closed ─────────────────────▶ open ────────────────────────────────────▶ half open
//!    ▲                            ▲                                             │
//!    │                            └────────── it fails: a longer pause ─────────┤
//!    └──────────────────────────────────────────── it is answered ──────────────┘
//! ```

use std::time::{Duration, Instant};

/// Failures in a row that open it. 10: a single slow request is no reason, and a backend that is down
/// costs ten timeouts and no more.
const FAILURES: u32 = 10;

/// The first pause, and the longest. A restart takes seconds; nobody waits longer than half a minute
/// for a backend that is there again.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// A circuit breaker.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// Until when nobody is let through; none while it is closed.
    open_until: Option<Instant>,
    pause: Duration,
    /// Somebody tries whether the backend is there again, since then.
    trying: Option<Instant>,
}

/// What a change of the breaker is worth: the caller logs it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was closed, and is open now.
    Opened,
    /// It was open, and is closed now.
    Closed,
}

impl Breaker {
    /// Whether a request may be made now.
    pub(super) fn lets_through(&mut self, now: Instant) -> bool {
        let Some(until) = self.open_until else {
            return true;
        };
        // A trial whose end was never reported does not keep it open.
        let tries = self.trying.is_some_and(|since| now < since + LONGEST);
        if now < until || tries {
            return false;
        }
        self.trying = Some(now);
        true
    }

    /// When a request may be made again; none if now.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let left = self.open_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open_until.is_some()
    }

    pub(super) fn succeeded(&mut self) -> Option<Turn> {
        let was_open = self.is_open();
        *self = Self::default();
        was_open.then_some(Turn::Closed)
    }

    pub(super) fn failed(&mut self, now: Instant) -> Option<Turn> {
        self.failures = self.failures.saturating_add(1);
        let was_open = self.is_open();
        let tried = self.trying.take().is_some();
        if !was_open && self.failures < FAILURES || was_open && !tried {
            // Those that were under way when it opened say nothing new.
            return None;
        }
        self.pause = (self.pause * 2).clamp(PAUSE, LONGEST);
        self.open_until = Some(now + self.pause);
        (!was_open).then_some(Turn::Opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert_eq!(breaker.failed(now), None);
            assert!(breaker.lets_through(now));
        }
        assert_eq!(breaker.failed(now), Some(Turn::Opened));
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try_after_the_pause() {
        let now = Instant::now();
        let mut breaker = broken(now);
        assert!(!breaker.lets_through(now));
        assert!(!breaker.lets_through(now + PAUSE - Duration::from_millis(1)));
        assert!(breaker.lets_through(now + PAUSE));
        assert!(!breaker.lets_through(now + PAUSE), "one tries, not all");
        assert_eq!(breaker.succeeded(), Some(Turn::Closed));
        assert!(breaker.lets_through(now + PAUSE) && breaker.lets_through(now + PAUSE));
    }

    #[test]
    fn each_trial_that_fails_doubles_the_pause_up_to_the_longest() {
        let mut now = Instant::now();
        let mut breaker = broken(now);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(pause);
            assert_eq!(breaker.pause(now), Some(pause));
            // Requests that were under way when it opened do not make it longer.
            breaker.failed(now);
            assert_eq!(breaker.pause(now), Some(pause));
            now += pause;
            assert!(breaker.lets_through(now));
            breaker.failed(now);
        }
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.failed(now);
            breaker.succeeded();
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_trial_that_is_never_reported_does_not_close_the_door_for_ever() {
        let now = Instant::now();
        let mut breaker = broken(now);
        assert!(breaker.lets_through(now + PAUSE));
        assert!(breaker.lets_through(now + PAUSE + LONGEST));
    }
}
