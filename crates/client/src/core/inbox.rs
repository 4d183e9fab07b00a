//! Events of a subscription that its reader has not taken.

use std::collections::VecDeque;

use crate::event::Event;

/// A queue with a limit. Its writer stops when it [is full](Self::is_full), so at most one event
/// exceeds the limit.
#[derive(Debug)]
pub(super) struct Inbox {
    events: VecDeque<Event>,
    bytes: usize,
    mark: usize,
}

impl Inbox {
    pub(super) fn new(mark: usize) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            mark: mark.max(1),
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.weight();
        self.events.push_back(event);
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes -= event.weight();
        if self.events.is_empty() {
            // Free the memory of a burst.
            self.events = VecDeque::new();
        }
        Some(event)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.mark
    }

    /// Whether there is room for more than a few events.
    pub(super) fn is_half_empty(&self) -> bool {
        self.bytes <= self.mark / 2
    }
}
