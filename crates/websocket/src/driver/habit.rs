//! Guesses what the task that receives does next, from what it has done so far.
//!
//! Between two calls of `recv`, a task may send nothing, one message or many, and may not come back
//! for long. The flush task copes with all of that, but calling it for each message costs a fifth of
//! what an echo server spends on a short message. Most tasks answer each message at once, with one
//! message. For a connection that has done so for a while, the reply is written by `send` itself, and
//! a check by the timer replaces the call of the flush task. A wrong guess costs one more write, or
//! delays the answer to a ping by [`CHECK`].

use std::time::Duration;

/// How many messages in a row must have been answered at once with one message. 8: a task with
/// another habit is recognised before it was guessed wrong often.
const PROMPT: u8 = 8;

/// After this time, the timer checks whether the task has come back to receive. A quarter of a
/// second: little for a peer that waits for a pong or for the answer to its Close, and the check
/// costs nothing compared with the messages of a busy connection.
pub(super) const CHECK: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Habit {
    /// Whether the last read contained one message and nothing else.
    lone: bool,
    /// Messages sent since then, if it was lone; no more than two are counted.
    replies: u8,
    /// How many lone messages in a row were answered at once with one message.
    prompt: u8,
    /// Whether the timer is set for a check.
    check: bool,
}

impl Habit {
    /// Messages of one read are handed out.
    #[inline]
    pub(super) const fn hand_out(&mut self, lone: bool) {
        self.lone = lone;
        self.replies = 0;
    }

    /// The task receives again.
    #[inline]
    pub(super) const fn come_back(&mut self) {
        self.prompt = if self.lone && self.replies == 1 {
            self.prompt.saturating_add(1)
        } else {
            0
        };
        self.lone = false;
    }

    /// The task has not come back although all other tasks were scheduled in the meantime.
    pub(super) const fn stay_away(&mut self) {
        self.prompt = 0;
    }

    /// Counts a message that was sent. Returns whether to write it at once: it is probably the only
    /// reply to a lone message.
    #[inline]
    pub(super) const fn reply(&mut self) -> bool {
        if !self.lone {
            return false;
        }
        self.replies = if self.replies == 0 { 1 } else { 2 };
        self.is_prompt() && self.replies == 1
    }

    /// Whether the task will probably send one message and then come back at once.
    #[inline]
    pub(super) const fn is_prompt(&self) -> bool {
        self.lone && self.prompt >= PROMPT
    }

    /// Requests a check. Returns whether the timer must be set for it.
    #[inline]
    pub(super) const fn request_check(&mut self) -> bool {
        !std::mem::replace(&mut self.check, true)
    }

    /// The timer is set for another time.
    #[inline]
    pub(super) const fn forget_check(&mut self) {
        self.check = false;
    }
}
