//! Echoes: every connection keeps a number of messages in flight for a period.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use crate::driver::Driver;
use crate::process::{self, Cpu};
use crate::report::Rate;
use crate::ring::{Ring, Shape};
use crate::transport::Dialer;

/// What to send, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of connections.
    pub connections: usize,
    /// The number of messages in flight on each connection.
    pub in_flight: usize,
    /// The messages.
    pub shape: Shape,
    /// Whether to offer permessage-deflate, and fail if it is declined.
    pub deflate: bool,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Time of the measurement.
    pub time: Duration,
    /// The server's process.
    pub pid: u32,
}

/// The counts up to a moment.
pub(crate) struct Mark {
    at: Instant,
    count: u64,
    bytes: u64,
    server: Cpu,
    load: Cpu,
    idle: Duration,
}

impl Mark {
    pub(crate) fn now(count: u64, bytes: u64, pid: u32) -> Result<Self> {
        let server = process::cpu(pid).context("the server's process")?;
        let load = process::cpu(std::process::id())?;
        Ok(Self {
            at: Instant::now(),
            count,
            bytes,
            server,
            load,
            idle: Duration::ZERO,
        })
    }

    /// Includes the time that the load generator has spent busy-waiting.
    pub(crate) fn with_idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    pub(crate) fn rate(&self, end: &Self, times: Option<&Histogram<u64>>) -> Rate {
        let count = end.count - self.count;
        let seconds = (end.at - self.at).as_secs_f64();
        let spent = |cpu: fn(&Cpu) -> Duration, before: &Cpu, after: &Cpu| {
            cpu(after).saturating_sub(cpu(before)).as_secs_f64()
        };
        let quantile = |q| times.map(|times| times.value_at_quantile(q) as f64 / 1000.0);
        let load = spent(|cpu| cpu.user + cpu.system, &self.load, &end.load);
        Rate {
            count,
            seconds,
            per_second: count as f64 / seconds,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            server_user_seconds: spent(|cpu| cpu.user, &self.server, &end.server),
            server_system_seconds: spent(|cpu| cpu.system, &self.server, &end.server),
            load_seconds: (load - (end.idle - self.idle).as_secs_f64()).max(0.0),
            bytes_each: (end.bytes - self.bytes) as f64 / count.max(1) as f64,
        }
    }
}

/// Opens the connections, warms up, measures.
pub fn run(dialer: Dialer, plan: &Plan) -> Result<Rate> {
    let mut driver = Driver::new(dialer, plan.deflate)?;
    driver.open(plan.connections)?;
    driver.watch.awake = true;
    let ring = Ring::new(plan.shape, plan.in_flight, driver.agreement()?)?;
    for link in &mut driver.links {
        link.sent_at = Instant::now();
        link.send(&ring, plan.in_flight)?;
    }
    // With several messages in flight, a response time cannot be assigned to one of them.
    let mut times = (plan.in_flight == 1).then(histogram).transpose()?;
    let mut count = 0;
    let begin = Instant::now() + plan.warm_up;
    let start = echo_until(&mut driver, &ring, begin, &mut count, None, plan.pid)?;
    let end = start.at + plan.time;
    let end = echo_until(
        &mut driver,
        &ring,
        end,
        &mut count,
        times.as_mut(),
        plan.pid,
    )?;
    Ok(start.rate(&end, times.as_ref()))
}

fn echo_until(
    driver: &mut Driver,
    ring: &Ring,
    deadline: Instant,
    count: &mut u64,
    mut times: Option<&mut Histogram<u64>>,
    pid: u32,
) -> Result<Mark> {
    let mut now = Instant::now();
    while now < deadline {
        driver.spin(ring, |link, turn| {
            if turn.messages == 0 {
                return Ok(());
            }
            *count += turn.messages as u64;
            now = Instant::now();
            if let Some(times) = &mut times {
                times.saturating_record((now - link.sent_at).as_nanos() as u64);
            }
            link.sent_at = now;
            link.send(ring, turn.messages)
        })?;
    }
    let bytes = driver.links.iter().map(|link| link.received).sum();
    Ok(Mark::now(*count, bytes, pid)?.with_idle(driver.watch.idle))
}

/// From 1 µs to one minute, in nanoseconds, with three significant digits.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?)
}
