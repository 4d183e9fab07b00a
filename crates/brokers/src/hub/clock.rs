//! The wall clock as what expires at a certain time believes it: a step forward is followed at a bounded
//! speed. The age of publications is measured otherwise (`ages.rs`).
//!
//! A clock that is a month ahead for one tick would remove all idempotency keys and sessions. The wall clock is therefore trusted only as far as the monotonic clock
//! confirms that time has passed. If it is further ahead, the process was asleep or the clock was
//! stepped; that difference is caught up at [`CATCH_UP`] times the normal speed. A step back is
//! followed immediately, since it removes nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::Now;

use super::ages::Ages;

/// A month is caught up within half a day: a clock that is wrong for a minute ages nothing by more than
/// an hour.
const CATCH_UP: u32 = 60;

/// How far a clock may be ahead without being distrusted: clocks are slewed, and ticks are late.
const SLACK: Duration = Duration::from_secs(2);
pub(super) const SLACK_MS: u64 = SLACK.as_millis() as u64;

/// What is to be kept for some time from now on is marked with [`stamp_ms`](Clock::stamp_ms) and expires
/// by the trusted time: otherwise it would age as fast as a step is caught up, and a process that
/// starts in the meantime, and trusts the clock at once, would remove it.
#[derive(Debug)]
pub(super) struct Clock {
    instant: Instant,
    unix_ms: u64,
    /// The wall-clock time last told.
    told_ms: u64,
    ages: Arc<Ages>,
}

impl Clock {
    pub(super) fn new(now: Now) -> Self {
        let Now { instant, unix_ms } = now;
        Self {
            instant,
            unix_ms,
            told_ms: unix_ms,
            ages: Arc::new(Ages::at(unix_ms)),
        }
    }

    /// Goes on with the ages of an earlier process, which published up to this sequence number.
    pub(super) fn restore_ages(&mut self, mut saved: Ages, sequence: u64) {
        saved.begin(self.told_ms, sequence);
        self.ages = Arc::new(saved);
    }

    pub(super) fn ages(&self) -> &Arc<Ages> {
        &self.ages
    }

    /// The later of the trusted time and the wall clock.
    pub(super) fn stamp_ms(&self) -> u64 {
        self.unix_ms.max(self.told_ms)
    }

    /// The trusted time, given this wall-clock time, and the newest sequence number of a publication.
    pub(super) fn tell(&mut self, told: Now, sequence: u64) -> Now {
        let passed = told.instant.saturating_duration_since(self.instant);
        Arc::make_mut(&mut self.ages).pass(told.unix_ms, millis(passed), sequence);
        self.instant = self.instant.max(told.instant);
        self.told_ms = told.unix_ms;
        let expected = self.unix_ms.saturating_add(millis(passed));
        let doubted = told.unix_ms > expected.saturating_add(millis(SLACK));
        self.unix_ms = if doubted {
            let most = expected.saturating_add(millis(passed.saturating_mul(CATCH_UP)));
            told.unix_ms.min(most)
        } else {
            told.unix_ms
        };
        Now {
            unix_ms: self.unix_ms,
            ..told
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_is_followed_and_a_step_of_the_clock_only_at_a_limited_speed() {
        let start = Instant::now();
        let at = |seconds: u64, unix_s: u64| Now {
            instant: start + Duration::from_secs(seconds),
            unix_ms: unix_s * 1_000,
        };
        let mut clock = Clock::new(at(0, 1_000));
        assert_eq!(clock.tell(at(1, 1_001), 0).unix_ms, 1_001_000);
        assert_eq!(
            clock.tell(at(100, 1_100), 0).unix_ms,
            1_100_000,
            "a late tick"
        );
        assert_eq!(
            clock.tell(at(101, 1_102), 0).unix_ms,
            1_102_000,
            "a little ahead"
        );
        // A month ahead: one second advances the trusted time by a minute and a second.
        let month = 30 * 24 * 3600;
        assert_eq!(clock.tell(at(102, month), 0).unix_ms, 1_163_000);
        assert_eq!(clock.tell(at(103, month), 0).unix_ms, 1_224_000);
        assert_eq!(clock.stamp_ms(), month * 1_000, "what is kept from now on");
        // And back.
        assert_eq!(clock.tell(at(104, 1_104), 0).unix_ms, 1_104_000);
        assert_eq!(
            clock.tell(at(105, 500), 0).unix_ms,
            500_000,
            "it takes nothing away"
        );
    }
}
