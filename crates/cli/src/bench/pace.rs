//! Sends at the right times.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::sleep;

use super::lane::{Lane, Sent, Shared};
use super::plan::Schedule;

/// The runtime's clock ticks in milliseconds, so the last of the wait is spent awake.
const AWAKE: Duration = Duration::from_millis(2);

/// Due messages that a thread holds back when connections take no more. A million: beyond that
/// nobody learns anything from more.
const MOST_OWED: usize = 1_000_000;

/// What is due at which time, for the lanes of one thread.
pub(super) struct Pace {
    lanes: Vec<Rc<dyn Lane>>,
    shared: Rc<Shared>,
    /// Between two messages of this thread, in seconds.
    interval: f64,
    /// When its first one is due.
    first: Instant,
}

/// What could not be sent when it was due.
#[derive(Default)]
struct Owed {
    /// By lane, the oldest first.
    due: Vec<VecDeque<Instant>>,
    /// Lanes that owe something.
    behind: VecDeque<usize>,
    count: usize,
}

impl Pace {
    /// For one thread's `lanes` of `all` of them; `part` is the thread's number.
    pub(super) fn new(
        lanes: Vec<Rc<dyn Lane>>,
        shared: Rc<Shared>,
        all: usize,
        part: usize,
    ) -> Self {
        let per_second = match shared.schedule {
            Schedule::Open { per_second } => per_second,
            Schedule::Closed { .. } => f64::INFINITY,
        };
        let interval = all as f64 / lanes.len().max(1) as f64 / per_second;
        // Threads take turns.
        let offset = Duration::from_secs_f64(part as f64 / per_second);
        let first = shared.window.start + offset;
        Self {
            lanes,
            shared,
            interval,
            first,
        }
    }

    /// Sends until the end.
    pub(super) async fn keep(self) {
        if self.lanes.is_empty() {
            return;
        }
        match self.shared.schedule {
            Schedule::Closed { in_flight } => self.begin(in_flight),
            Schedule::Open { .. } => self.keep_times().await,
        }
    }

    /// From here on answers ask for more.
    fn begin(&self, in_flight: usize) {
        for lane in &self.lanes {
            for _ in 0..in_flight {
                lane.send(Instant::now());
            }
        }
    }

    async fn keep_times(&self) {
        let end = self.shared.window.end;
        let mut owed = Owed {
            due: vec![VecDeque::new(); self.lanes.len()],
            ..Owed::default()
        };
        let mut number: u64 = 0;
        let mut due = self.first;
        loop {
            let now = Instant::now();
            self.pay(&mut owed);
            while due <= now && due < end && owed.count < MOST_OWED {
                let lane = (number % self.lanes.len() as u64) as usize;
                if !owed.due[lane].is_empty() || !self.send(lane, due) {
                    owed.add(lane, due);
                }
                number += 1;
                // From the first one on, so that no error adds up.
                due = self.first + Duration::from_secs_f64(self.interval * number as f64);
            }
            if now >= end || owed.count >= MOST_OWED {
                break;
            }
            self.wait(due.min(end), owed.count == 0).await;
        }
        self.shared.counts.borrow_mut().unsent += owed.count as u64;
    }

    /// Sends what lanes could not take before.
    fn pay(&self, owed: &mut Owed) {
        for _ in 0..owed.behind.len() {
            let Some(lane) = owed.behind.pop_front() else {
                return;
            };
            while let Some(due) = owed.due[lane].front() {
                if !self.send(lane, *due) {
                    owed.behind.push_back(lane);
                    break;
                }
                owed.due[lane].pop_front();
                owed.count -= 1;
            }
        }
    }

    /// Whether it need not be tried again.
    fn send(&self, lane: usize, due: Instant) -> bool {
        match self.lanes[lane].send(due) {
            Sent::Full => return false,
            Sent::Gone => self.shared.counts.borrow_mut().unsent += 1,
            Sent::Yes if due >= self.shared.window.measured_from => {
                let late = Instant::now().saturating_duration_since(due);
                self.shared.counts.borrow_mut().lateness.record(late);
            }
            Sent::Yes => {}
        }
        true
    }

    async fn wait(&self, due: Instant, is_even: bool) {
        let left = due.saturating_duration_since(Instant::now());
        if left > AWAKE && is_even {
            sleep(left - AWAKE).await;
        } else {
            yield_now().await;
        }
    }
}

impl Owed {
    fn add(&mut self, lane: usize, due: Instant) {
        if self.due[lane].is_empty() {
            self.behind.push_back(lane);
        }
        self.due[lane].push_back(due);
        self.count += 1;
    }
}
