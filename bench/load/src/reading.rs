//! History: pages of a hundred publications from random positions of channels that are full.

use std::time::Instant;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use crate::connection::Heard;
use crate::dialects::{Dialect, epoch};
use crate::echo::{Mark, histogram};
use crate::publishing::{self, Publishers};
use crate::report::Rate;
use crate::ring::{Noise, Ring};
use crate::transport::Dialer;

/// Publications requested at a time.
const PAGE: usize = 100;

/// Publishes `kept` publications to each channel, then reads with one connection per channel and
/// one page in flight on each. The rate counts publications, the latency is that of a page.
pub fn run(dialer: &Dialer, plan: &publishing::Plan, kept: u64) -> Result<Rate> {
    let mut publishers = Publishers::open(dialer, plan)?;
    let published = kept * plan.channels as u64;
    publishers.publish(published)?;
    let mut readers = Readers {
        positions: positions(&publishers, plan, kept)?,
        publishers,
        noise: Noise(0x9E37_79B9_7F4A_7C15),
        sent_at: vec![Instant::now(); plan.publishers],
        read: 0,
        done: (0..plan.publishers).collect(),
    };
    let mut times = histogram()?;
    readers.read_until(Instant::now() + plan.warm_up, None)?;
    let start = readers.mark(plan.pid)?;
    readers.read_until(Instant::now() + plan.time, Some(&mut times))?;
    let end = readers.mark(plan.pid)?;
    Ok(start.rate(&end, Some(&times)))
}

/// The positions from which a connection may read: the text before the number, and the range of
/// numbers.
type Positions = Vec<(String, u64)>;

/// A JetStream stream numbers over all its channels; our channels number each for itself.
fn positions(publishers: &Publishers, plan: &publishing::Plan, kept: u64) -> Result<Positions> {
    let connections = publishers.crowd.connections.iter();
    let position = connections.map(|connection| match plan.dialect {
        Dialect::JetStream => Ok((String::new(), kept * plan.channels as u64)),
        Dialect::JetStreams => Ok((String::new(), kept)),
        _ => {
            let epoch = epoch(&connection.last_taken).context("a position without an epoch")?;
            Ok((format!("{epoch}."), kept))
        }
    });
    position.collect()
}

struct Readers {
    publishers: Publishers,
    positions: Positions,
    noise: Noise,
    sent_at: Vec<Instant>,
    read: u64,
    /// Connections whose page has arrived.
    done: Vec<usize>,
}

impl Readers {
    fn read_until(&mut self, end: Instant, times: Option<&mut Histogram<u64>>) -> Result<()> {
        let mut times = times;
        while Instant::now() < end {
            for index in std::mem::take(&mut self.done) {
                self.ask(index)?;
            }
            self.hear(times.as_deref_mut())?;
        }
        Ok(())
    }

    fn ask(&mut self, index: usize) -> Result<()> {
        let (before, numbers) = &self.positions[index];
        // A full page follows every requested position.
        let place = 1 + self.noise.next() % (numbers * 9 / 10);
        let connection = &mut self.publishers.crowd.connections[index];
        let question = connection
            .part
            .read_history(&format!("{before}{place}"), PAGE);
        self.sent_at[index] = Instant::now();
        connection.say(&question)
    }

    fn hear(&mut self, mut times: Option<&mut Histogram<u64>>) -> Result<()> {
        let (read, done, sent_at) = (&mut self.read, &mut self.done, &self.sent_at);
        let crowd = &mut self.publishers.crowd;
        crowd.turn(&Ring::empty(), None, |_, index, heard| {
            let Heard::Page(count, last) = heard else {
                return Ok(());
            };
            *read += count as u64;
            if last {
                done.push(index);
                if let Some(times) = &mut times {
                    times.saturating_record(sent_at[index].elapsed().as_nanos() as u64);
                }
            }
            Ok(())
        })
    }

    fn mark(&self, pid: u32) -> Result<Mark> {
        let connections = self.publishers.crowd.connections.iter();
        Mark::now(
            self.read,
            connections.map(|connection| connection.received).sum(),
            pid,
        )
    }
}
