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
            .all(|wakers| wakers.0.is_empty())
    }
}

/// Tasks to wake after the lock is released: a waker is user code and may do anything.
#[derive(Debug, Default)]
pub(super) struct Woken(Vec<Waker>);

impl Woken {
    pub(super) fn one(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    pub(super) fn all(&mut self, wakers: &mut Wakers) {
        self.0.append(&mut wakers.0);
    }
}

impl Drop for Woken {
    #[inline]
    fn drop(&mut self) {
        for waker in self.0.drain(..) {
            waker.wake();
        }
    }
}
