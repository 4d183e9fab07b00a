//! The two tasks that serve connections while none of the user's tasks does.
//!
//! The *flush task* writes output that was queued by a task that then did something else, and
//! continues when a full socket becomes writable. It runs when the runtime schedules it, so
//! everything a task sends before it awaits something else leaves in one write. The *timer*
//! enforces every deadline: one timer for all connections, and no clock access for connections
//! without deadlines.
//!
//! There is one pair for each runtime and thread on which connections are made: for each runtime,
//! because a task runs only in its runtime; for each thread, so that threads do not contend. The
//! tasks start when there is work and end with the last connection. If their runtime ends first,
//! they start again in the runtime of the next call.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::runtime::{Handle, Id};
use tokio::time::{Sleep, sleep_until};

use super::wheel::{Key, Wheel};
use super::{Driver, now};

thread_local! {
    /// The tasks of this thread, by runtime. Few: a thread rarely works for more than one.
    static OF_THREAD: RefCell<Vec<(Id, Weak<Tasks>)>> = const { RefCell::new(Vec::new()) };
}

/// Shared by connections; the tasks end when the last of them drops it.
#[derive(Debug)]
pub(crate) struct Tasks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
}

#[derive(Debug)]
struct Work {
    /// The runtime that the tasks run in.
    runtime: Handle,
    /// Connections to handle. Each is here at most once: `Driver` records whether it is.
    calls: Vec<Arc<Driver>>,
    flush: Task,
    wheel: Wheel,
    timer: Task,
    /// When the timer will next check the wheel.
    alarm: Option<Instant>,
    /// Whether the last connection is gone.
    over: bool,
}

/// ```text
///      begin         nothing to do         wake
/// None ─────▶ Running ────────────▶ Asleep ────▶ Running
///  ▲             │                    │
///  └─────────────┴── runtime ended ───┘
/// ```
#[derive(Debug, Default)]
enum Task {
    #[default]
    None,
    Running,
    Asleep(Waker),
}

impl Task {
    /// Takes its waker if it is asleep.
    fn rouse(&mut self) -> Option<Waker> {
        if !matches!(self, Self::Asleep(_)) {
            return None;
        }
        match mem::replace(self, Self::Running) {
            Self::Asleep(waker) => Some(waker),
            Self::Running | Self::None => None,
        }
    }
}

impl Tasks {
    /// The tasks of this thread and runtime, created if necessary. Must be called within a runtime.
    pub(crate) fn current() -> Arc<Self> {
        let runtime = Handle::current();
        OF_THREAD.with_borrow_mut(|known| {
            let id = runtime.id();
            let here = known.iter().find(|(of, _)| *of == id);
            if let Some(tasks) = here.and_then(|(_, tasks)| tasks.upgrade()) {
                return tasks;
            }
            known.retain(|(of, tasks)| *of != id && tasks.strong_count() > 0);
            let tasks = Arc::new(Self(Arc::new(Shared {
                work: Mutex::new(Work {
                    runtime,
                    calls: Vec::new(),
                    flush: Task::None,
                    wheel: Wheel::default(),
                    timer: Task::None,
                    alarm: None,
                    over: false,
                }),
            })));
            known.push((id, Arc::downgrade(&tasks)));
            tasks
        })
    }

    /// Requests that a connection be handled. `false` if there is no runtime for it.
    pub(super) fn call(&self, driver: Arc<Driver>) -> bool {
        let mut work = self.0.lock();
        if matches!(work.flush, Task::None) {
            drop(work);
            // Before the connection is added to the list: a task that cannot start empties it.
            if !self.0.begin_again() {
                return false;
            }
            work = self.0.lock();
        }
        work.calls.push(driver);
        let waker = work.flush.rouse();
        drop(work);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Requests that a connection be handled at this time or slightly later, replacing the time set
    /// under this key before.
    pub(super) fn call_at(&self, key: Option<Key>, driver: &Weak<Driver>, at: Instant) -> Key {
        let mut work = self.0.lock();
        let key = work.wheel.set(key, driver, at, now());
        let early = work.alarm.is_none_or(|alarm| at < alarm);
        let waker = if early { work.timer.rouse() } else { None };
        let begin = matches!(work.timer, Task::None);
        drop(work);
        if let Some(waker) = waker {
            waker.wake();
        } else if begin {
            self.0.begin_timer();
        }
        key
    }

    /// Removes a connection that has ended.
    pub(super) fn forget(&self, key: Key) {
        self.0.lock().wheel.forget(key);
    }
}

impl Drop for Tasks {
    /// No connection needs the tasks any more: they end.
    fn drop(&mut self) {
        let mut work = self.0.lock();
        work.over = true;
        let wakers = [work.flush.rouse(), work.timer.rouse()];
        drop(work);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the flush task, and the timer if it ended with its runtime.
    #[cold]
    fn begin_again(self: &Arc<Self>) -> bool {
        let begun = self.begin(
            |work| &mut work.flush,
            |shared| {
                let calls = Vec::new();
                let mut task = FlushTask { shared, calls };
                async move { poll_fn(|cx| task.poll(cx)).await }
            },
        );
        if begun {
            self.begin_timer();
        }
        begun
    }

    #[cold]
    fn begin_timer(self: &Arc<Self>) {
        self.begin(
            |work| &mut work.timer,
            |shared| {
                let mut task = Timer {
                    shared,
                    sleep: None,
                };
                async move { poll_fn(|cx| task.poll(cx)).await }
            },
        );
    }

    /// Starts a task in its runtime, or in the current one if that has ended.
    fn begin<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        which: impl Fn(&mut Work) -> &mut Task,
        task: impl Fn(Arc<Self>) -> F,
    ) -> bool {
        for _ in 0..2 {
            let mut work = self.lock();
            match which(&mut work) {
                begun @ Task::None => *begun = Task::Running,
                // Another thread was faster.
                Task::Running | Task::Asleep(_) => return true,
            }
            let runtime = work.runtime.clone();
            drop(work);
            // A runtime that has ended drops the task at once, which its destructor reports.
            runtime.spawn(task(Arc::clone(self)));
            let mut work = self.lock();
            if !matches!(which(&mut work), Task::None) {
                return true;
            }
            match Handle::try_current() {
                Ok(here) if here.id() != work.runtime.id() => work.runtime = here,
                Ok(_) | Err(_) => return false,
            }
        }
        false
    }
}

/// Handles connections. Dropped with the runtime, if it has not ended before.
struct FlushTask {
    shared: Arc<Shared>,
    /// The connections of this turn; empty between turns. Swapped with the shared list, so that
    /// neither is reallocated.
    calls: Vec<Arc<Driver>>,
}

/// The capacity up to which a list is reused after a larger turn.
const CALLS: usize = 1024;

impl Drop for FlushTask {
    fn drop(&mut self) {
        let mut work = self.shared.lock();
        work.flush = Task::None;
        let calls = mem::take(&mut work.calls);
        drop(work);
        for driver in calls {
            // A later call may find another runtime.
            driver.called.store(false, Ordering::Release);
        }
    }
}

impl FlushTask {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut work = self.shared.lock();
            if work.over {
                return Poll::Ready(());
            }
            if work.calls.is_empty() {
                work.flush = Task::Asleep(cx.waker().clone());
                return Poll::Pending;
            }
            work.flush = Task::Running;
            mem::swap(&mut work.calls, &mut self.calls);
            drop(work);
            for driver in self.calls.drain(..) {
                driver.look_after();
            }
            self.calls.shrink_to(CALLS);
        }
    }
}

/// Enforces every deadline. Dropped with the runtime, if it has not ended before.
struct Timer {
    shared: Arc<Shared>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.lock().timer = Task::None;
    }
}

impl Timer {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut work = self.shared.lock();
            if work.over {
                return Poll::Ready(());
            }
            let due = work.wheel.due(now());
            if due.is_empty() {
                work.timer = Task::Asleep(cx.waker().clone());
                work.alarm = work.wheel.next_due();
                let alarm = work.alarm;
                drop(work);
                return self.poll_sleep(alarm, cx);
            }
            work.timer = Task::Running;
            drop(work);
            for driver in due {
                if let Some(driver) = driver.upgrade() {
                    driver.keep_time();
                }
            }
        }
    }

    fn poll_sleep(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = until else {
            self.sleep = None;
            return Poll::Pending;
        };
        let until = tokio::time::Instant::from_std(until);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        if sleep.as_mut().poll(cx).is_ready() {
            self.sleep = None;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
