//! One publisher, many subscribers of one channel: deliveries a second, and their latency.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;

use crate::connection::{Connection, Heard};
use crate::crowd::Crowd;
use crate::dialects::{Dialect, Part};
use crate::echo::{Mark, histogram};
use crate::process;
use crate::report::{FanOut, Rate};
use crate::ring::{Ring, Shape};
use crate::transport::Dialer;

/// Publications that may be under way at once, at a fixed rate: more, and the server does not
/// keep up.
const BACKLOG: usize = 4096;

/// Closer to the next publication than this, the poll is asked again and again: its own timer has
/// milliseconds.
const CLOSE: Duration = Duration::from_millis(2);

/// The parameters of a fan-out measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's protocol.
    pub dialect: Dialect,
    /// The channel's name.
    pub channel: String,
    /// The number of subscribers.
    pub subscribers: usize,
    /// Bytes of a publication.
    pub size: usize,
    /// Publications a second in the part with a fixed rate.
    pub rate: f64,
    /// Time before each measurement.
    pub warm_up: Duration,
    /// Time of each measurement.
    pub time: Duration,
    /// The server's process.
    pub pid: u32,
}

/// Measures with one publication in flight, with eight, then at the fixed rate.
pub fn run(dialer: &Dialer, plan: &Plan) -> Result<FanOut> {
    let mut broadcast = Broadcast::open(dialer, plan)?;
    let one = broadcast.closed_loop(1, plan)?;
    let eight = broadcast.closed_loop(8, plan)?;
    let paced = broadcast.paced(plan)?;
    Ok(FanOut {
        one,
        eight,
        paced,
        anonymous_kib: process::anonymous_kib(plan.pid)?,
    })
}

/// A publisher and its subscribers.
pub struct Broadcast {
    /// The publisher's connection is the first.
    pub crowd: Crowd,
    ring: Ring,
    publications: Vec<Vec<u8>>,
    /// Publications that leave together, in one write.
    outgoing: Vec<u8>,
    board: Board,
    slow: Option<SlowConnection>,
}

/// A subscriber that does not count, since it does not read.
struct SlowConnection {
    index: usize,
    times_told: u64,
}

/// Who has what.
struct Board {
    audience: u32,
    published: u64,
    /// Heard by all; the publications before are too.
    complete: u64,
    delivered: u64,
    /// Of those that are not complete: how many have not heard it, and when it was to be sent.
    waiting: Vec<(u32, Instant)>,
}

impl Board {
    fn slot(place: u64) -> usize {
        place as usize % BACKLOG
    }

    fn publish(&mut self, due: Instant) -> Result<()> {
        ensure!(
            self.published - self.complete < BACKLOG as u64,
            "the server does not keep up: {BACKLOG} publications are under way"
        );
        self.waiting[Self::slot(self.published)] = (self.audience, due);
        self.published += 1;
        Ok(())
    }

    /// Returns when it was to be sent.
    fn deliver(&mut self, place: u64) -> Result<Instant> {
        ensure!(place < self.published, "a publication that nobody sent");
        let (left, due) = &mut self.waiting[Self::slot(place)];
        *left -= 1;
        self.delivered += 1;
        if *left == 0 {
            self.complete += 1;
        }
        Ok(*due)
    }
}

impl Broadcast {
    /// Opens the publisher's connection and the subscribers'.
    pub fn open(dialer: &Dialer, plan: &Plan) -> Result<Self> {
        let shape = Shape {
            size: plan.size,
            json: false,
        };
        let ring = Ring::new(shape, 1, None)?;
        let part = |number, subscribes| {
            Rc::new(Part {
                dialect: plan.dialect,
                subscribes,
                channel: plan.channel.clone(),
                number,
            })
        };
        let mut crowd = Crowd::new()?;
        let publisher = part(0, false);
        let publications = (0..ring.lap())
            .map(|index| publisher.publication(index, ring.message(index)))
            .collect();
        crowd.open(dialer, [publisher].into_iter(), |_| {})?;
        let subscribers = (0..plan.subscribers).map(|index| part(index + 1, true));
        crowd.open(dialer, subscribers, |_| {})?;
        crowd.acknowledge_alike()?;
        crowd.watch.awake = true;
        Ok(Self {
            crowd,
            ring,
            publications,
            outgoing: Vec::new(),
            slow: None,
            board: Board {
                audience: plan.subscribers as u32,
                published: 0,
                complete: 0,
                delivered: 0,
                waiting: vec![(0, Instant::now()); BACKLOG],
            },
        })
    }

    /// Keeps `in_flight` publications under way.
    pub fn closed_loop(&mut self, in_flight: u64, plan: &Plan) -> Result<Rate> {
        self.publish_while(in_flight, plan.warm_up)?;
        let start = self.mark(plan)?;
        self.publish_while(in_flight, plan.time)?;
        let end = self.mark(plan)?;
        self.finish()?;
        Ok(start.rate(&end, None))
    }

    fn publish_while(&mut self, in_flight: u64, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            while self.board.published - self.board.complete < in_flight {
                self.publish(now)?;
            }
            self.hear(None, None)?;
        }
    }

    /// Publishes at a fixed rate, whether or not the server keeps up; a delivery's time runs from
    /// the moment when its publication was to be sent.
    pub fn paced(&mut self, plan: &Plan) -> Result<Rate> {
        self.paced_with(plan, plan.time, || Ok(()))
    }

    /// The same, with a look at something now and then.
    pub fn paced_with(
        &mut self,
        plan: &Plan,
        every: Duration,
        mut look: impl FnMut() -> Result<()>,
    ) -> Result<Rate> {
        let mut times = histogram()?;
        self.publish_at_rate(plan, plan.warm_up, None)?;
        let start = self.mark(plan)?;
        let mut left = plan.time;
        while !left.is_zero() {
            let time = every.min(left);
            self.publish_at_rate(plan, time, Some(&mut times))?;
            look()?;
            left -= time;
        }
        let end = self.mark(plan)?;
        Ok(start.rate(&end, Some(&times)))
    }

    /// Opens one more subscriber, which does not read.
    pub fn open_slow_connection(&mut self, dialer: &Dialer, plan: &Plan) -> Result<()> {
        let index = self.crowd.connections.len();
        let part = Rc::new(Part {
            dialect: plan.dialect,
            subscribes: true,
            channel: plan.channel.clone(),
            number: index,
        });
        self.crowd.open(dialer, [part].into_iter(), |_| {})?;
        let connection = &mut self.crowd.connections[index];
        connection.heard = self.board.published;
        connection.deaf = true;
        let times_told = 0;
        self.slow = Some(SlowConnection { index, times_told });
        Ok(())
    }

    /// Publishes until the slow connection has missed so many.
    pub fn fall_behind(&mut self, count: u64) -> Result<()> {
        while self.missed().context("there is no slow connection")? < count {
            self.publish_while(8, Duration::from_millis(100))?;
        }
        self.finish()
    }

    /// How many publications the slow connection has not read.
    #[must_use]
    pub fn missed(&self) -> Option<u64> {
        let slow = self.slow.as_ref()?;
        Some(self.board.published - self.crowd.connections[slow.index].heard)
    }

    /// Lets the slow connection read until it has everything, and says how often it was told that it is
    /// catching up.
    pub fn catch_up(&mut self) -> Result<u64> {
        let SlowConnection { index, times_told } =
            self.slow.as_mut().context("there is no slow connection")?;
        let index = *index;
        self.crowd.connections[index].deaf = false;
        // The poll reported what waits in the socket long ago.
        self.crowd.turn_of(index, &self.ring, |_, heard| {
            *times_told += u64::from(heard == Heard::CatchingUp);
            Ok(())
        })?;
        while self.crowd.connections[index].heard < self.board.published {
            self.hear(None, None)?;
        }
        Ok(self.slow.as_ref().map_or(0, |slow| slow.times_told))
    }

    fn publish_at_rate(
        &mut self,
        plan: &Plan,
        time: Duration,
        mut times: Option<&mut Histogram<u64>>,
    ) -> Result<()> {
        let pause = Duration::from_secs_f64(1.0 / plan.rate);
        let mut due = Instant::now() + pause;
        let end = due + time;
        while due < end {
            let now = Instant::now();
            if now >= due {
                self.publish(due)?;
                due += pause;
            }
            let left = due.saturating_duration_since(Instant::now());
            self.hear(Some(left.saturating_sub(CLOSE)), times.as_deref_mut())?;
        }
        while self.board.complete < self.board.published {
            self.hear(None, times.as_deref_mut())?;
        }
        Ok(())
    }

    fn publish(&mut self, due: Instant) -> Result<()> {
        let place = self.board.published as usize % self.publications.len();
        self.board.publish(due)?;
        self.outgoing.extend_from_slice(&self.publications[place]);
        Ok(())
    }

    fn hear(
        &mut self,
        time: Option<Duration>,
        mut times: Option<&mut Histogram<u64>>,
    ) -> Result<()> {
        if !self.outgoing.is_empty() {
            self.crowd.connections[0].say(&self.outgoing)?;
            self.outgoing.clear();
        }
        let (board, slow) = (&mut self.board, &mut self.slow);
        self.crowd
            .turn(&self.ring, time, |connection, index, heard| {
                if let Some(slow) = slow.as_mut().filter(|slow| slow.index == index) {
                    slow.times_told += u64::from(heard == Heard::CatchingUp);
                    return Ok(());
                }
                if heard != Heard::Publication {
                    return judge(connection, heard);
                }
                let due = board.deliver(connection.heard - 1)?;
                if let Some(times) = &mut times {
                    times.saturating_record(due.elapsed().as_nanos() as u64);
                }
                Ok(())
            })
    }

    fn finish(&mut self) -> Result<()> {
        while self.board.complete < self.board.published {
            self.hear(None, None)?;
        }
        Ok(())
    }

    fn mark(&self, plan: &Plan) -> Result<Mark> {
        let bytes = self
            .crowd
            .connections
            .iter()
            .map(|connection| connection.received)
            .sum();
        let mark = Mark::now(self.board.delivered, bytes, plan.pid)?;
        Ok(mark.with_idle(self.crowd.watch.idle))
    }
}

/// Whatever else a subscriber or the publisher may hear while publications go round.
fn judge(connection: &Connection, heard: Heard) -> Result<()> {
    let is_fine = matches!(heard, Heard::Taken(_) | Heard::Live | Heard::CatchingUp);
    ensure!(
        is_fine,
        "unexpected {heard:?} on a connection of {:?}",
        connection.part.dialect
    );
    Ok(())
}
