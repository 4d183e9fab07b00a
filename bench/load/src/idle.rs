//! What idle connections cost the server in user-space memory.

use std::time::Duration;

use anyhow::Result;

use crate::driver::Driver;
use crate::process;
use crate::report::Memory;
use crate::ring::{Ring, Shape};
use crate::transport::Dialer;

/// How long a server is left alone before its memory is read, since it may free some of it late.
const SETTLE: Duration = Duration::from_millis(500);

/// The parameters of the measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of connections.
    pub connections: usize,
    /// Whether to offer permessage-deflate, and fail if it is declined.
    pub deflate: bool,
    /// The server's process.
    pub pid: u32,
}

/// Opens the connections, sends 32 B over each, then 64 KiB over one after the other. The result is
/// compared with the memory of a server that has served one connection, so that what is allocated
/// only once is not counted.
pub fn run(dialer: Dialer, plan: &Plan) -> Result<Memory> {
    let mut driver = Driver::new(dialer, plan.deflate)?;
    driver.open(1)?;
    let agreed = driver.agreement()?;
    let small = Ring::new(
        Shape {
            size: 32,
            json: plan.deflate,
        },
        1,
        agreed,
    )?;
    driver.carry(&small, 1)?;
    let before = settled(plan.pid)?;
    driver.open(plan.connections)?;
    driver.carry(&small, 64)?;
    let fresh = settled(plan.pid)?;
    let large = Ring::new(
        Shape {
            size: 64 * 1024,
            json: plan.deflate,
        },
        1,
        agreed,
    )?;
    driver.carry(&large, 1)?;
    let after_burst = settled(plan.pid)?;
    let each = |now: u64| (now as f64 - before as f64) / plan.connections as f64;
    Ok(Memory {
        connections: plan.connections,
        fresh_kib: each(fresh),
        after_burst_kib: each(after_burst),
    })
}

fn settled(pid: u32) -> Result<u64> {
    std::thread::sleep(SETTLE);
    process::anonymous_kib(pid)
}
