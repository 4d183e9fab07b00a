//! How old publications are, whatever becomes of the wall clock.
//!
//! The time of a publication is that of the wall clock, which may be corrected later. Its age is
//! therefore not the difference between two wall-clock times: each step of the clock is noted, together
//! with the newest sequence number before it, and what was published before the step ages as if there had
//! been none. A step forward removes nothing early, and one back keeps nothing for longer.
//!
//! A step is what the wall clock deviates from the monotonic clock between two ticks. Time in which the
//! machine was suspended is such a step: it does not count as age. Between two processes there is only
//! the wall clock: a later time is believed, and an earlier one is a step back.

use bytes::{Buf, BufMut};

use super::clock::SLACK_MS;

/// Steps that are remembered. Of older ones, only the sum is known.
const STEPS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// The newest sequence number before it.
    sequence: u64,
    /// When it happened, in the time in which ages are measured.
    at_ms: u64,
    /// How far the wall clock is ahead of that time since then.
    ahead_ms: i64,
}

/// The clock of ages, and what it takes to date publications by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ages {
    steps: Vec<Step>,
    /// The present time in which ages are measured, and the wall-clock time at that moment.
    now_ms: u64,
    wall_ms: u64,
}

impl Ages {
    /// A clock that was never stepped.
    pub(crate) const fn at(now_ms: u64) -> Self {
        Self {
            steps: Vec::new(),
            now_ms,
            wall_ms: now_ms,
        }
    }

    pub(crate) const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What was published before this is older than `age`.
    pub(crate) fn oldest_kept(&self, age: Option<std::time::Duration>) -> u64 {
        let age = age.map_or(u64::MAX, |age| age.as_millis() as u64);
        self.now_ms.saturating_sub(age)
    }

    /// When something was published that has this wall-clock time and sequence number.
    pub(crate) fn of(&self, time_ms: u64, sequence: u64) -> u64 {
        if self.steps.is_empty() {
            return time_ms;
        }
        let next = self.steps.partition_point(|step| step.sequence < sequence);
        let before = next.checked_sub(1).and_then(|last| self.steps.get(last));
        let (from, ahead_ms) = before.map_or((0, 0), |step| (step.at_ms, step.ahead_ms));
        let until = self.steps.get(next).map_or(u64::MAX, |step| step.at_ms);
        // A step is noticed a moment later: what got its time before that cannot be out of these bounds.
        time_ms
            .saturating_sub_signed(ahead_ms)
            .clamp(from, until.max(from))
    }

    /// Passes the time on: the wall clock shows this, and so much has passed by the monotonic clock.
    pub(super) fn pass(&mut self, wall_ms: u64, passed_ms: u64, sequence: u64) {
        let expected_ms = self.wall_ms.saturating_add(passed_ms);
        if wall_ms.abs_diff(expected_ms) > SLACK_MS {
            self.now_ms = self.now_ms.saturating_add(passed_ms);
            self.step(wall_ms, sequence);
        } else {
            let shown = wall_ms.saturating_sub_signed(self.ahead_ms());
            self.now_ms = self.now_ms.max(shown);
            self.wall_ms = wall_ms;
        }
    }

    /// A process begins with this wall-clock time, which it believes unless it was later before.
    pub(super) fn begin(&mut self, wall_ms: u64, sequence: u64) {
        if wall_ms.saturating_add(SLACK_MS) < self.wall_ms {
            self.step(wall_ms, sequence);
        } else {
            self.pass(wall_ms, wall_ms.saturating_sub(self.wall_ms), sequence);
        }
    }

    /// The wall clock shows another time than expected.
    fn step(&mut self, wall_ms: u64, sequence: u64) {
        let ahead_ms = wall_ms.wrapping_sub(self.now_ms).cast_signed();
        if self.steps.len() == STEPS {
            self.steps.remove(0);
        }
        self.steps.push(Step {
            sequence,
            at_ms: self.now_ms,
            ahead_ms,
        });
        self.wall_ms = wall_ms;
    }

    fn ahead_ms(&self) -> i64 {
        self.steps.last().map_or(0, |step| step.ahead_ms)
    }

    /// Whether something differs from what was saved that a later process needs: a step, or the time by
    /// more than a minute.
    pub(crate) fn is_worth_saving(&self, saved: &Self) -> bool {
        self.has_stepped_since(saved) || self.now_ms.abs_diff(saved.now_ms) > 60_000
    }

    pub(crate) fn has_stepped_since(&self, saved: &Self) -> bool {
        self.steps != saved.steps
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 24 * self.steps.len());
        out.put_u64(self.now_ms);
        out.put_u64(self.wall_ms);
        for step in &self.steps {
            out.put_u64(step.sequence);
            out.put_u64(step.at_ms);
            out.put_i64(step.ahead_ms);
        }
        out
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let from = &mut bytes;
        let (now_ms, wall_ms) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
        let mut steps = Vec::new();
        while !from.is_empty() {
            steps.push(Step {
                sequence: from.try_get_u64().ok()?,
                at_ms: from.try_get_u64().ok()?,
                ahead_ms: from.try_get_i64().ok()?,
            });
        }
        Some(Self {
            steps,
            now_ms,
            wall_ms,
        })
    }
}

#[cfg(test)]
mod tests;
