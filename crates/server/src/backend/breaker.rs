//! The circuit breaker: after repeated failures, no requests are made to the backend for a while.
//!
//! ```text
//!         consecutive failures          after the pause, one request is let through
//!  closed ─────────────────────▶ open ────────────────────────────────────▶ half open
//!    ▲                            ▲                                             │
//!    │                            └────────── it fails: a longer pause ─────────┤
//!    └──────────────────────────────────────────── it is answered ──────────────┘
//! ```

use std::time::{Duration, Instant};

/// How many consecutive failures open it. 10: a few slow requests do not open it, and a backend
/// that is down costs no more than ten timeouts.
const FAILURES: u32 = 10;

/// The first pause, and the longest. 1 s: a restart takes seconds. 30 s: a backend that is
/// available again is used within half a minute.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// A circuit breaker.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// When the pause ends; none while the breaker is closed.
    open_until: Option<Instant>,
    pause: Duration,
    /// When the trial request was let through, while its result is unknown.
    trying: Option<Instant>,
}

/// A change of state, which the caller logs.
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
        // A trial whose result is never reported must not block all later requests.
        let tries = self.trying.is_some_and(|since| now < since + LONGEST);
        if now < until || tries {
            return false;
        }
        self.trying = Some(now);
        true
    }

    /// How long until a request may be made; none if one may be made now.
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

    /// Forgets a request that ended without telling anything about the backend.
    pub(super) fn gave_up(&mut self) {
        self.trying = None;
    }

    pub(super) fn failed(&mut self, now: Instant) -> Option<Turn> {
        self.failures = self.failures.saturating_add(1);
        let was_open = self.is_open();
        let tried = self.trying.take().is_some();
        if !was_open && self.failures < FAILURES || was_open && !tried {
            // Requests that were in flight when the breaker opened do not extend the pause.
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
    fn it_opens_after_consecutive_failures_and_allows_one_trial_after_the_pause() {
        let now = Instant::now();
        let mut breaker = broken(now);
        assert!(!breaker.lets_through(now));
        assert!(!breaker.lets_through(now + PAUSE - Duration::from_millis(1)));
        assert!(breaker.lets_through(now + PAUSE));
        assert!(
            !breaker.lets_through(now + PAUSE),
            "only one trial is allowed"
        );
        assert_eq!(breaker.succeeded(), Some(Turn::Closed));
        assert!(breaker.lets_through(now + PAUSE) && breaker.lets_through(now + PAUSE));
    }

    #[test]
    fn each_failed_trial_doubles_the_pause_up_to_the_longest() {
        let mut now = Instant::now();
        let mut breaker = broken(now);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(pause);
            assert_eq!(breaker.pause(now), Some(pause));
            // Requests that were in flight when the breaker opened do not extend the pause.
            breaker.failed(now);
            assert_eq!(breaker.pause(now), Some(pause));
            now += pause;
            assert!(breaker.lets_through(now));
            breaker.failed(now);
        }
    }

    #[test]
    fn a_success_resets_the_count_of_failures() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.failed(now);
            breaker.succeeded();
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_trial_that_is_never_reported_does_not_block_requests_forever() {
        let now = Instant::now();
        let mut breaker = broken(now);
        assert!(breaker.lets_through(now + PAUSE));
        assert!(breaker.lets_through(now + PAUSE + LONGEST));
    }
}
