//! Who waits for what on a connection.

use std::task::Waker;

/// Tasks that wait for one thing, each once.
#[derive(Debug, Default)]
pub(super) struct Wakers(Vec<Waker>);

impl Wakers {
    /// Notes a task that waits.
    pub(super) fn add(&mut self, waker: &Waker) {
        if !self.0.iter().any(|known| known.will_wake(waker)) {
            self.0.push(waker.clone());
        }
    }
}

/// Tasks that wait for something other than a message, by what they wait for. Boxed in the state:
/// hardly any connection has some.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// For at most half of the send buffer to be unsent.
    pub(super) room: Wakers,
    /// For nothing to be unsent.
    pub(super) drained: Wakers,
    /// For a message that is written piece by piece to be finished.
    pub(super) stream: Wakers,
    /// For a pong.
    pub(super) pong: Wakers,
    /// For the connection to end.
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

/// Tasks to be woken once the lock is released: a waker is not ours, and may run anything.
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
