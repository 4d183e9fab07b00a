//! When the flush task and the timer handle a connection, and what they do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Wake;
use std::time::Instant;

use offhook_protocol::ReadyState;

use super::{Driver, Fault, Receiver, State, habit, now};

impl Driver {
    /// Asks the flush task to handle this connection, once.
    #[inline]
    pub(crate) fn call(self: &Arc<Self>) {
        // The caller has changed the state under its lock, and the flush task takes that lock after
        // clearing the flag. While the flag is set, the flush task has not looked yet.
        if !self.called.load(Ordering::Acquire) && !self.called.swap(true, Ordering::AcqRel) {
            self.call_slow();
        }
    }

    fn call_slow(self: &Arc<Self>) {
        if !self.tasks.call(Arc::clone(self)) {
            // The runtime has ended and the caller is in no other one: a later call may find one.
            self.called.store(false, Ordering::Release);
        }
    }

    /// Called by the flush task: writes what no other task has written.
    pub(super) fn look_after(self: &Arc<Self>) {
        self.called.store(false, Ordering::Release);
        let mut state = self.lock();
        if state.receiver == Receiver::Away {
            state.habit.stay_away();
        }
        if state.receiver != Receiver::Waiting {
            self.listen(&mut state);
        }
        if state.has_output() {
            self.flush(&mut state);
        }
        let is_answered = std::mem::take(&mut state.answered);
        if is_answered || state.outbound.ready_state() == ReadyState::Closing {
            // The peer's Close may have arrived while no task receives: it has a deadline.
            self.set_timer(&mut state);
        }
        state.settle();
    }

    /// Called by the timer: a deadline may have passed, or the receiver may have been away for too
    /// long.
    pub(super) fn keep_time(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.receiver == Receiver::Away {
            state.habit.stay_away();
        }
        self.listen(&mut state);
        let unsent = state.buffered();
        if let Err(error) = state.outbound.handle_timeout(now()) {
            if state.outbound.wants_disconnect() {
                state.unsent = unsent;
            }
            state
                .fault
                .get_or_insert_with(|| Box::new(Fault::Peer(error)));
        }
        self.flush(&mut state);
        self.set_timer(&mut state);
        state.settle();
    }

    /// Sets the timer to the connection's next deadline. Called while a task receives, or after the
    /// flush task was called, so that the check that it replaces is not needed.
    pub(super) fn set_timer(self: &Arc<Self>, state: &mut State) {
        state.habit.forget_check();
        if let Some(at) = state.outbound.poll_timeout() {
            self.call_at(state, at);
        }
    }

    /// Makes sure that the connection is handled although no task receives for now.
    #[inline]
    pub(super) fn attend(self: &Arc<Self>, state: &mut State) {
        // The user may not call again for long, and the peer waits for its pong.
        if !state.habit.is_prompt() || state.has_output() {
            self.call();
        } else if state.habit.request_check() {
            self.check_soon(state);
        }
    }

    #[cold]
    fn check_soon(self: &Arc<Self>, state: &mut State) {
        let check = now() + habit::CHECK;
        let deadline = state.outbound.poll_timeout();
        self.call_at(
            state,
            deadline.map_or(check, |deadline| deadline.min(check)),
        );
    }

    fn call_at(self: &Arc<Self>, state: &mut State, at: Instant) {
        let key = self.tasks.call_at(state.timer, &Arc::downgrade(self), at);
        state.timer = Some(key);
    }
}

/// A transport that becomes writable wakes the flush task.
impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.call();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.call();
    }
}
