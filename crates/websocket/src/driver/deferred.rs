//! What happens once a lock is released, because it runs code that is not ours.
//!
//! A waker may run any code, for example query the connection's state: under the connection's lock,
//! that would be a deadlock. There are two cases in which a waker is woken while a lock is held:
//!
//! - A turn that ends a task's wait. It collects the wakers in [`Later`].
//! - A user's stream, which is polled under the lock. An in-memory pipe, for example, wakes the
//!   reader at its other end from within a write. Such a stream is therefore not given the reader's
//!   own waker, but one that is [`Deferring`].
//!
//! Sockets are given the reader's own waker: only the runtime wakes it, and holds no lock of ours.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::ending::Shut;
use super::waiters::Wakers;
use crate::Transport;

thread_local! {
    /// The number of locks of connections over users' streams that this thread holds. More than one
    /// if such a stream is itself carried by a connection.
    static HELD: Cell<u32> = const { Cell::new(0) };
    /// Wakers to wake when `HELD` is 0 again.
    static KEPT: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

/// Wakes, or keeps the waker until this thread has released its locks.
fn wake(waker: Waker) {
    if HELD.get() == 0 {
        waker.wake();
        return;
    }
    let mut waker = Some(waker);
    let kept = KEPT.try_with(|kept| kept.borrow_mut().extend(waker.take()));
    if kept.is_err()
        && let Some(waker) = waker
    {
        // The thread ends and keeps nothing any more.
        waker.wake();
    }
}

/// Records that this thread holds the lock of a connection, if its stream is a user's.
#[must_use]
pub(super) struct LockHeld(bool);

impl LockHeld {
    #[inline]
    pub(super) fn over(transport: Option<&Transport>) -> Self {
        let held = matches!(transport, Some(Transport::Boxed(..)));
        if held {
            HELD.set(HELD.get() + 1);
        }
        Self(held)
    }
}

impl Drop for LockHeld {
    #[inline]
    fn drop(&mut self) {
        if self.0 {
            release();
        }
    }
}

fn release() {
    let held = HELD.get() - 1;
    HELD.set(held);
    if held == 0 {
        let kept = KEPT.try_with(RefCell::take).unwrap_or_default();
        kept.into_iter().for_each(Waker::wake);
    }
}

/// What to do after the lock is released. Boxed, because most turns leave nothing to do, and then
/// cost one check of a pointer.
#[derive(Default)]
pub(super) struct Later(Option<Box<Work>>);

#[derive(Default)]
struct Work {
    wakers: Vec<Waker>,
    /// Wakers to be dropped, not woken.
    stale: Vec<Waker>,
    shut: Option<Shut>,
}

impl Later {
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.work().wakers.push(waker);
        }
    }

    pub(super) fn wake_all(&mut self, wakers: &mut Wakers) {
        if !wakers.is_empty() {
            wakers.append_to(&mut self.work().wakers);
        }
    }

    /// Drops a closed transport.
    pub(super) fn shut(&mut self, shut: Shut) {
        self.work().shut = Some(shut);
    }

    /// Drops a waker.
    fn forget(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.work().stale.push(waker);
        }
    }

    #[cold]
    fn work(&mut self) -> &mut Work {
        self.0.get_or_insert_default()
    }
}

impl Drop for Later {
    #[inline]
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work.run();
        }
    }
}

impl Work {
    #[cold]
    fn run(self) {
        let Self {
            wakers,
            stale,
            shut,
        } = self;
        drop((shut, stale));
        wakers.into_iter().for_each(wake);
    }
}

/// A waker that [waits](wake) for the locks of the thread that wakes it.
#[derive(Debug)]
pub(super) struct Deferring(Waker);

impl Wake for Deferring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if HELD.get() == 0 {
            self.0.wake_by_ref();
        } else {
            wake(self.0.clone());
        }
    }
}

/// The task that waits for a message, or waited last: stored, so that its waker need not be cloned
/// each time.
#[derive(Debug)]
pub(super) enum Reader {
    /// A socket is given the task's own waker.
    OfSocket(Waker),
    /// A user's stream is given a deferred one. `None` before the first.
    OfStream(Option<Arc<Deferring>>),
}

impl Default for Reader {
    fn default() -> Self {
        Self::OfStream(None)
    }
}

impl Reader {
    /// Records the task of this waker, as one that waits on a socket.
    #[inline]
    pub(super) fn wait_on_socket(&mut self, waker: &Waker, later: &mut Later) {
        if !matches!(self, Self::OfSocket(known) if known.will_wake(waker)) {
            let known = std::mem::replace(self, Self::OfSocket(waker.clone()));
            later.forget(known.into_waker());
        }
    }

    /// Records the task of this waker, and returns the waker for a user's stream.
    pub(super) fn wait_on_stream(&mut self, waker: &Waker, later: &mut Later) -> Waker {
        if let Self::OfStream(Some(known)) = self
            && known.0.will_wake(waker)
        {
            return Waker::from(Arc::clone(known));
        }
        let deferring = Arc::new(Deferring(waker.clone()));
        let given = Waker::from(Arc::clone(&deferring));
        let known = std::mem::replace(self, Self::OfStream(Some(deferring)));
        later.forget(known.into_waker());
        given
    }

    /// The task's waker, as the transport is given it.
    pub(super) fn waker(&self) -> Option<Waker> {
        match self {
            Self::OfSocket(waker) => Some(waker.clone()),
            Self::OfStream(deferring) => deferring.clone().map(Waker::from),
        }
    }

    fn into_waker(self) -> Option<Waker> {
        match self {
            Self::OfSocket(waker) => Some(waker),
            Self::OfStream(deferring) => deferring.map(Waker::from),
        }
    }

    /// Forgets the task, and returns its waker.
    pub(super) fn take(&mut self) -> Option<Waker> {
        std::mem::take(self).into_waker()
    }
}
