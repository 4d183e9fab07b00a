//! Acknowledged publications: how many per second, and their latency.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use crate::connection::Heard;
use crate::crowd::Crowd;
use crate::dialects::{Dialect, Part};
use crate::echo::{Mark, histogram};
use crate::report::Rate;
use crate::ring::{Ring, Shape};
use crate::transport::Dialer;

/// The parameters of a publishing measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's protocol.
    pub dialect: Dialect,
    /// The number of publishing connections.
    pub publishers: usize,
    /// The number of channels, assigned to the connections in turn.
    pub channels: usize,
    /// Unacknowledged publications of each connection.
    pub in_flight: usize,
    /// Bytes of a publication.
    pub size: usize,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Time of the measurement.
    pub time: Duration,
    /// The server's process.
    pub pid: u32,
}

/// Opens the connections, warms up, measures.
pub fn run(dialer: &Dialer, plan: &Plan) -> Result<Rate> {
    let mut publishers = Publishers::open(dialer, plan)?;
    publishers.begin()?;
    let mut times = histogram()?;
    publishers.publish_until(Instant::now() + plan.warm_up, None)?;
    let start = publishers.mark(plan.pid)?;
    publishers.publish_until(Instant::now() + plan.time, Some(&mut times))?;
    let end = publishers.mark(plan.pid)?;
    Ok(start.rate(&end, Some(&times)))
}

/// The publishing connections.
pub struct Publishers {
    /// The connections.
    pub crowd: Crowd,
    /// The number of acknowledged publications.
    pub taken: u64,
    /// By connection and number: the frame to send, and when it was last sent.
    frames: Vec<Vec<Vec<u8>>>,
    sent_at: Vec<Vec<Instant>>,
    /// By connection and number: what may be sent again.
    free: Vec<(usize, usize)>,
    bytes: Vec<u8>,
}

impl Publishers {
    /// Opens the connections.
    pub fn open(dialer: &Dialer, plan: &Plan) -> Result<Self> {
        let shape = Shape {
            size: plan.size,
            json: false,
        };
        let ring = Ring::new(shape, plan.in_flight, None)?;
        let parts: Vec<Rc<Part>> = (0..plan.publishers)
            .map(|number| {
                Rc::new(Part {
                    dialect: plan.dialect,
                    subscribes: false,
                    channel: format!("bench.{}", number % plan.channels),
                    number,
                })
            })
            .collect();
        let numbers = 0..plan.in_flight;
        let frames = parts.iter().map(|part| {
            let frame = |number| part.publication(number, ring.message(number));
            numbers.clone().map(frame).collect()
        });
        let frames = frames.collect();
        let mut crowd = Crowd::new()?;
        crowd.open(dialer, parts.into_iter(), |_| {})?;
        Ok(Self {
            crowd,
            taken: 0,
            frames,
            sent_at: vec![vec![Instant::now(); plan.in_flight]; plan.publishers],
            free: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Fills every connection's window.
    pub fn begin(&mut self) -> Result<()> {
        for (connection, frames) in self.frames.iter().enumerate() {
            self.free
                .extend((0..frames.len()).map(|number| (connection, number)));
        }
        self.send()
    }

    /// Sends what may be sent; frames of one connection leave in one write where they are
    /// contiguous.
    fn send(&mut self) -> Result<()> {
        let now = Instant::now();
        for same_connection in self.free.chunk_by(|one, other| one.0 == other.0) {
            self.bytes.clear();
            for (connection, number) in same_connection {
                self.sent_at[*connection][*number] = now;
                self.bytes
                    .extend_from_slice(&self.frames[*connection][*number]);
            }
            self.crowd.connections[same_connection[0].0].say(&self.bytes)?;
        }
        self.free.clear();
        Ok(())
    }

    fn publish_until(&mut self, end: Instant, times: Option<&mut Histogram<u64>>) -> Result<()> {
        let mut times = times;
        while Instant::now() < end {
            self.hear(times.as_deref_mut())?;
            self.send()?;
        }
        Ok(())
    }

    /// Publishes until the given number is acknowledged and nothing is in flight.
    pub fn publish(&mut self, count: u64) -> Result<()> {
        let in_flight = |frames: &[Vec<Vec<u8>>]| frames.iter().map(Vec::len).sum::<usize>();
        let mut left = count.saturating_sub(in_flight(&self.frames) as u64);
        self.begin()?;
        while self.taken < count {
            self.hear(None)?;
            self.free.truncate(usize::try_from(left)?);
            left -= self.free.len() as u64;
            self.send()?;
        }
        Ok(())
    }

    fn hear(&mut self, mut times: Option<&mut Histogram<u64>>) -> Result<()> {
        let (taken, free, sent_at) = (&mut self.taken, &mut self.free, &self.sent_at);
        self.crowd.turn(&Ring::empty(), None, |_, index, heard| {
            let Heard::Taken(number) = heard else {
                return Ok(());
            };
            let sent = sent_at[index]
                .get(number)
                .context("an acknowledgement of a publication that was not sent")?;
            if let Some(times) = &mut times {
                times.saturating_record(sent.elapsed().as_nanos() as u64);
            }
            *taken += 1;
            free.push((index, number));
            Ok(())
        })
    }

    fn mark(&self, pid: u32) -> Result<Mark> {
        let bytes = self
            .crowd
            .connections
            .iter()
            .map(|connection| connection.received)
            .sum();
        Mark::now(self.taken, bytes, pid)
    }
}
