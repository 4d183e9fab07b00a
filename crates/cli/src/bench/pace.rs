//! Sends messages on schedule.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::sleep;

use super::load_sender::{LoadSender, Sent, Shared};
use super::plan::Schedule;

/// The runtime's timers have a resolution of a millisecond, so the last part of a wait is spent
/// spinning.
const AWAKE: Duration = Duration::from_millis(2);

/// How many due messages a thread keeps when connections accept no more. A million: by then the
/// result is clear.
const MOST_OWED: usize = 1_000_000;

/// The schedule of one thread's senders.
pub(super) struct Pace {
    senders: Vec<Rc<dyn LoadSender>>,
    shared: Rc<Shared>,
    /// The interval between two messages of this thread, in seconds.
    interval: f64,
    /// When the first message is due.
    first: Instant,
}

/// Messages that could not be sent when they were due.
#[derive(Default)]
struct Owed {
    /// Due times by sender, the oldest first.
    due: Vec<VecDeque<Instant>>,
    /// Senders with overdue messages.
    behind: VecDeque<usize>,
    count: usize,
}

impl Pace {
    /// The schedule for `senders` of `all` senders; `part` is the thread's number.
    pub(super) fn new(
        senders: Vec<Rc<dyn LoadSender>>,
        shared: Rc<Shared>,
        all: usize,
        part: usize,
    ) -> Self {
        let per_second = match shared.schedule {
            Schedule::Open { per_second } => per_second,
            Schedule::Closed { .. } => f64::INFINITY,
        };
        let interval = all as f64 / senders.len().max(1) as f64 / per_second;
        // Threads take turns in sending.
        let offset = Duration::from_secs_f64(part as f64 / per_second);
        let first = shared.window.start + offset;
        Self {
            senders,
            shared,
            interval,
            first,
        }
    }

    /// Sends on schedule until the end of the run.
    pub(super) async fn keep(self) {
        if self.senders.is_empty() {
            return;
        }
        match self.shared.schedule {
            Schedule::Closed { in_flight } => self.begin(in_flight),
            Schedule::Open { .. } => self.keep_times().await,
        }
    }

    /// Sends the first messages; each answer triggers the next message.
    fn begin(&self, in_flight: usize) {
        for sender in &self.senders {
            for _ in 0..in_flight {
                sender.send(Instant::now());
            }
        }
    }

    async fn keep_times(&self) {
        let end = self.shared.window.end;
        let mut owed = Owed {
            due: vec![VecDeque::new(); self.senders.len()],
            ..Owed::default()
        };
        let mut number: u64 = 0;
        let mut due = self.first;
        loop {
            let now = Instant::now();
            self.pay(&mut owed);
            while due <= now && due < end && owed.count < MOST_OWED {
                let sender = (number % self.senders.len() as u64) as usize;
                if !owed.due[sender].is_empty() || !self.send(sender, due) {
                    owed.add(sender, due);
                }
                number += 1;
                // Computed from the first one, so that errors do not accumulate.
                due = self.first + Duration::from_secs_f64(self.interval * number as f64);
            }
            if now >= end || owed.count >= MOST_OWED {
                break;
            }
            self.wait(due.min(end), owed.count == 0).await;
        }
        self.shared.counts.borrow_mut().unsent += owed.count as u64;
    }

    /// Sends overdue messages.
    fn pay(&self, owed: &mut Owed) {
        for _ in 0..owed.behind.len() {
            let Some(sender) = owed.behind.pop_front() else {
                return;
            };
            while let Some(due) = owed.due[sender].front() {
                if !self.send(sender, *due) {
                    owed.behind.push_back(sender);
                    break;
                }
                owed.due[sender].pop_front();
                owed.count -= 1;
            }
        }
    }

    /// Returns `true` unless the message must be sent again later.
    fn send(&self, sender: usize, due: Instant) -> bool {
        match self.senders[sender].send(due) {
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
    fn add(&mut self, sender: usize, due: Instant) {
        if self.due[sender].is_empty() {
            self.behind.push_back(sender);
        }
        self.due[sender].push_back(due);
        self.count += 1;
    }
}
