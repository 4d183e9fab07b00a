//! Pauses of the whole process: it was stopped and continued, or its machine was suspended.

use std::time::{Duration, Instant};

/// How late a tick has to be to count as a pause. One second: a busy event loop is not that late, and
/// shorter pauses fit into the margin that keep-alives and heart-beats have anyway.
const LATE: Duration = Duration::from_secs(1);

/// How long dialects are not told the time after a pause. One second: enough to read what 100,000
/// clients have sent meanwhile.
const READING: Duration = Duration::from_secs(1);

/// Whether clients can be judged by the time that has passed.
///
/// After a pause, what clients have sent in the meantime lies in the buffers of their sockets. Until
/// that is read, every client seems to have been silent.
///
/// ```text
///            a late tick
///  Running ───────────────▶ Reading
///      ▲                       │
///      └───────────────────────┘
///        a tick after READING, late or not
/// ```
#[derive(Debug)]
pub(super) struct Pauses {
    /// The time of the last tick.
    ticked: Instant,
    /// While clients' sockets are read after a pause: until when.
    reading: Option<Instant>,
}

impl Pauses {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            ticked: now,
            reading: None,
        }
    }

    /// Handles a tick, which was due one `period` after the last one. Returns whether timeouts of
    /// clients may be enforced now. A loop that is always late enforces them after every second tick at
    /// the latest.
    pub(super) fn tick(&mut self, now: Instant, period: Duration) -> bool {
        let since = now.saturating_duration_since(self.ticked);
        self.ticked = now;
        if let Some(until) = self.reading {
            let is_over = until <= now;
            if is_over {
                self.reading = None;
            }
            return is_over;
        }
        let was_paused = since > period.saturating_add(LATE);
        if was_paused {
            self.reading = now.checked_add(READING);
        }
        !was_paused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::now;

    const PERIOD: Duration = Duration::from_millis(100);

    #[test]
    fn clients_are_not_judged_after_a_pause_until_their_sockets_were_read() {
        let mut now = now().instant;
        let mut pauses = Pauses::new(now);
        let mut tick = |time| {
            now += time;
            pauses.tick(now, PERIOD)
        };
        assert!(tick(PERIOD));
        assert!(tick(LATE), "a busy loop was not paused");
        assert!(!tick(Duration::from_secs(9)));
        for _ in 0..9 {
            assert!(!tick(PERIOD), "sockets are still read");
        }
        assert!(tick(PERIOD));
        assert!(tick(PERIOD));
    }

    #[test]
    fn a_loop_that_is_always_late_judges_clients_all_the_same() {
        let mut now = now().instant;
        let mut pauses = Pauses::new(now);
        let mut judged = 0;
        for _ in 0..10 {
            now += Duration::from_secs(2);
            judged += u32::from(pauses.tick(now, PERIOD));
        }
        assert_eq!(judged, 5);
    }
}
