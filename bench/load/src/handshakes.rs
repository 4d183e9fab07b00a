//! Connection lifecycles: connect, upgrade, one small echo, closing handshake, repeat.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::driver::Driver;
use crate::echo::{Mark, histogram};
use crate::report::Rate;
use crate::ring::{Ring, Shape};
use crate::transport::Dialer;

/// How many connections at a time, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of connections in progress at a time.
    pub connections: usize,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Time of the measurement.
    pub time: Duration,
    /// The server's process.
    pub pid: u32,
}

/// Warms up, then measures. A connection counts when the server has closed it, which the server
/// does first (RFC 6455 §7.1.1); its time runs from the connect until then.
pub fn run(dialer: Dialer, plan: &Plan) -> Result<Rate> {
    let mut driver = Driver::new(dialer, false)?;
    let ring = Ring::new(
        Shape {
            size: 20,
            json: false,
        },
        1,
        None,
    )?;
    for _ in 0..plan.connections {
        driver.dial(None)?;
    }
    let mut lives = Lives {
        driver,
        ring,
        ended: 0,
        bytes: 0,
        times: histogram()?,
    };
    lives.run_until(Instant::now() + plan.warm_up)?;
    lives.times.clear();
    let start = Mark::now(lives.ended, lives.bytes, plan.pid)?;
    lives.run_until(Instant::now() + plan.time)?;
    let end = Mark::now(lives.ended, lives.bytes, plan.pid)?;
    Ok(start.rate(&end, Some(&lives.times)))
}

struct Lives {
    driver: Driver,
    ring: Ring,
    ended: u64,
    bytes: u64,
    times: Histogram<u64>,
}

impl Lives {
    fn run_until(&mut self, deadline: Instant) -> Result<()> {
        while Instant::now() < deadline {
            let ring = &self.ring;
            let ended = self.driver.spin(ring, |link, turn| {
                if turn.opened {
                    link.send(ring, 1)?;
                }
                if turn.messages > 0 {
                    link.close(ring)?;
                }
                Ok(())
            })?;
            let now = Instant::now();
            for slot in ended {
                let link = &self.driver.links[slot];
                self.ended += 1;
                self.bytes += link.received;
                self.times
                    .saturating_record((now - link.sent_at).as_nanos() as u64);
                self.driver.dial(Some(slot))?;
            }
        }
        Ok(())
    }
}
