//! A connection that sends messages and receives the answers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::plan::{Schedule, Window};
use super::tally::{Counts, Glance};

/// A connection that sends.
pub(super) trait LoadSender {
    /// Sends the next message, which should be sent at this time.
    fn send(&self, intended: Instant) -> Sent;

    /// When the messages without an answer should have been sent.
    fn unanswered(&self) -> Vec<Instant>;
}

/// The result of sending a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// The connection accepts no more for now.
    Full,
    /// The connection was lost.
    Gone,
}

/// State shared by the senders of a thread.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) window: Window,
    pub(super) schedule: Schedule,
    pub(super) counts: RefCell<Counts>,
    pub(super) glance: RefCell<Glance>,
}

impl Shared {
    pub(super) fn new(window: Window, schedule: Schedule) -> Rc<Self> {
        Rc::new(Self {
            window,
            schedule,
            counts: RefCell::default(),
            glance: RefCell::default(),
        })
    }

    /// Records the answer to a message.
    pub(super) fn answered(&self, intended: Instant, now: Instant) {
        self.counts
            .borrow_mut()
            .answers
            .note(intended, now, &self.window);
    }

    /// Adds it to the live display.
    pub(super) fn show(&self, intended: Instant, now: Instant) {
        self.glance
            .borrow_mut()
            .note(now.saturating_duration_since(intended));
    }

    /// Records a lost connection.
    pub(super) fn lost(&self, why: String) {
        let mut counts = self.counts.borrow_mut();
        counts.lost += 1;
        counts.why.get_or_insert(why);
    }

    /// Whether an answer is followed by the next message.
    pub(super) fn goes_on(&self, now: Instant) -> bool {
        matches!(self.schedule, Schedule::Closed { .. }) && now < self.window.end
    }
}

/// An error with all its causes, on one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
