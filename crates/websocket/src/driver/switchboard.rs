//! What has to happen on a connection when no task of the user's is looking after it.
//!
//! Two tasks a thread. The operator writes what was queued by a task that then went elsewhere, and
//! goes on writing when a full socket has room again. It runs when the runtime comes round to it,
//! so whatever a task sends before it waits for something leaves in one write. The timekeeper
//! keeps the time for every connection made on that thread: one timer for all of them, and no look
//! at the clock for what has no time.

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

use super::wheel::{Key, Wheel};
use super::{Driver, now};

thread_local! {
    static OF_THREAD: RefCell<Weak<Switchboard>> = const { RefCell::new(Weak::new()) };
}

#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    /// Connections to look after. Each is here at most once: `Driver` knows whether it is.
    calls: Vec<Arc<Driver>>,
    /// The operator, while it waits.
    operator: Option<Waker>,
    wheel: Wheel,
    /// The timekeeper, while it waits.
    timekeeper: Option<Waker>,
    /// When the timekeeper will look at the wheel by itself.
    alarm: Option<Instant>,
    /// The runtime is gone, and every connection's transport with it.
    closed: bool,
}

impl Switchboard {
    /// The switchboard of this thread, opened if need be. Must be called within a runtime.
    pub(crate) fn of_thread() -> Arc<Self> {
        OF_THREAD.with_borrow_mut(|known| {
            if let Some(open) = known.upgrade().filter(|board| !board.desk().closed) {
                return open;
            }
            let board = Arc::new(Self::default());
            *known = Arc::downgrade(&board);
            let mut operator = Operator {
                board: Arc::clone(&board),
                calls: Vec::new(),
            };
            tokio::spawn(async move { poll_fn(|cx| operator.poll(cx)).await });
            let mut timekeeper = Timekeeper {
                board: Arc::clone(&board),
                alarm: None,
            };
            tokio::spawn(async move { poll_fn(|cx| timekeeper.poll(cx)).await });
            board
        })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a connection to be looked after.
    pub(crate) fn call(&self, driver: Arc<Driver>) {
        let mut desk = self.desk();
        if desk.closed {
            return;
        }
        desk.calls.push(driver);
        let operator = desk.operator.take();
        drop(desk);
        if let Some(operator) = operator {
            operator.wake();
        }
    }

    /// Asks for a connection to be looked after at a time or a little later, in place of the time
    /// that was asked for under this key before.
    pub(crate) fn call_at(&self, key: Option<Key>, driver: &Weak<Driver>, at: Instant) -> Key {
        let mut desk = self.desk();
        let key = desk.wheel.set(key, driver, at, now());
        let early = desk.alarm.is_none_or(|alarm| at < alarm);
        let timekeeper = if early { desk.timekeeper.take() } else { None };
        drop(desk);
        if let Some(timekeeper) = timekeeper {
            timekeeper.wake();
        }
        key
    }

    /// Forgets a connection that is no more.
    pub(crate) fn forget(&self, key: Key) {
        self.desk().wheel.forget(key);
    }
}

/// Looks after connections. Dropped with the runtime.
struct Operator {
    board: Arc<Switchboard>,
    /// Those of this turn; empty between turns. It takes turns with the desk's list, so that
    /// neither is made anew.
    calls: Vec<Arc<Driver>>,
}

/// How long a list is kept, after a turn that had more to do.
const CALLS: usize = 1024;

impl Drop for Operator {
    fn drop(&mut self) {
        let mut desk = self.board.desk();
        desk.closed = true;
        let calls = mem::take(&mut desk.calls);
        drop(desk);
        drop(calls);
    }
}

impl Operator {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut desk = self.board.desk();
            if desk.calls.is_empty() {
                desk.operator = Some(cx.waker().clone());
                return Poll::Pending;
            }
            mem::swap(&mut desk.calls, &mut self.calls);
            drop(desk);
            for driver in self.calls.drain(..) {
                driver.look_after();
            }
            self.calls.shrink_to(CALLS);
        }
    }
}

/// Keeps the time. Dropped with the runtime.
struct Timekeeper {
    board: Arc<Switchboard>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Timekeeper {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut desk = self.board.desk();
            let due = desk.wheel.due(now());
            if due.is_empty() {
                desk.timekeeper = Some(cx.waker().clone());
                desk.alarm = desk.wheel.next_due();
                let alarm = desk.alarm;
                drop(desk);
                return self.poll_alarm(alarm, cx);
            }
            drop(desk);
            for driver in due {
                if let Some(driver) = driver.upgrade() {
                    driver.keep_time();
                }
            }
        }
    }

    fn poll_alarm(&mut self, at: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = at else {
            self.alarm = None;
            return Poll::Pending;
        };
        let at = tokio::time::Instant::from_std(at);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if alarm.deadline() != at {
            alarm.as_mut().reset(at);
        }
        if alarm.as_mut().poll(cx).is_ready() {
            self.alarm = None;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
