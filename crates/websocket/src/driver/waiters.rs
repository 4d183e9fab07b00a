//! The tasks that wait on a connection, by what they wait for.

use std::task::Waker;

/// Tasks that wait for the same thing, each once.
#[derive(Debug, Default)]
pub(super) struct Wakers(Vec<Waker>);

impl Wakers {
    /// Registers a waiting task.
    pub(super) fn add(&mut self, waker: &Waker) {
        if !self.0.iter().any(|known| known.will_wake(waker)) {
            self.0.push(waker.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves all of them.
    pub(super) fn append_to(&mut self, wakers: &mut Vec<Waker>) {
        wakers.append(&mut self.0);
    }
}

/// Tasks that wait for something other than a message. Boxed in the state, because few connections
/// have any.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Waiting for at most half of the send buffer to be unsent.
    pub(super) room: Wakers,
    /// Waiting for all output to be sent.
    pub(super) drained: Wakers,
    /// Waiting for a message that is written piece by piece to be finished.
    pub(super) stream: Wakers,
    /// Waiting for a pong.
    pub(super) pong: Wakers,
    /// Waiting for the connection to end.
    pub(super) end: Wakers,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            room,
            drained,
            stream,
            pong,
            end,
        } = self;
        [room, drained, stream, pong, end]
            .iter()
            .all(|wakers| wakers.is_empty())
    }
}
